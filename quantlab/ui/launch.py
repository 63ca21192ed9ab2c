"""The page served: the real services, the look, and what is turned off."""

import logging
import socket
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gradio as gr
from starlette.middleware import Middleware

from quantlab.errors import QuantlabError
from quantlab.records import Comparison, Estimate, Placement, Settings
from quantlab.records.finetuning import FinetuneSettings, TrainingEvent
from quantlab.settings import ASSETS, AppSettings
from quantlab.teach.quiz import own, questions
from quantlab.ui import scripts
from quantlab.ui.api import tools
from quantlab.ui.common.looked import Looked
from quantlab.ui.common.recorded import RecordedJobs
from quantlab.ui.hosting import ending, login, zero
from quantlab.ui.hosting.gate import Gate, Open
from quantlab.ui.hosting.misread import Misread
from quantlab.ui.hosting.quota import UploadQuota
from quantlab.ui.hosting.rate import RunRate
from quantlab.ui.hosting.routes import routes
from quantlab.ui.hosting.visitors import Visitors
from quantlab.ui.hosting.work import Work
from quantlab.ui.inside.jobs import InsideJobs
from quantlab.ui.page import build_page, without_web_app
from quantlab.ui.quiz.jobs import ClassJobs
from quantlab.ui.services import Services, nothing_made
from quantlab.ui.theme import theme
from quantlab.ui.turns.replays import Replays
from quantlab.ui.turns.turns import Turns

if TYPE_CHECKING:
    from quantlab.checkpoints.export import Saved
    from quantlab.finetune.preview import Preview
    from quantlab.records.claims import Claims
    from quantlab.records.pitfalls import Pitfall
    from quantlab.teach.quiz.questions import Question

log = logging.getLogger(__name__)


#: The largest file that a public page takes in at all, in bytes; what it reads is less.
PUBLIC_UPLOAD_BYTES = 1_000_000
#: The most that all uploads may take there, in bytes and in files, until they are removed.
PUBLIC_UPLOADS_BYTES, PUBLIC_UPLOADS = 100_000_000, 500
#: Events handled at once beside the runs that wait, each of which takes one of gradio's threads.
THREADS = 64
#: Events that gradio's own queue holds. Only a flood fills it, for runs wait in `Turns`, which says at once that it is
#: full: of this one a program with gradio's client is told nothing.
QUEUED = 1_000
#: Visitors of whom something is kept in memory, 0.4 MB each; of more the one who was away longest is forgotten.
PUBLIC_SESSIONS = 250


class PortInUse(QuantlabError):
    """Something else listens where the page should."""


def serve(app: AppSettings) -> None:
    """Serve the page until interrupted; print its address. Raises PortInUse."""
    visitors = Visitors(behind_proxy=bool(app.space))
    work, answers = Work(may=RunRate(app.rate_limit, visitors).check), Open()
    services = real_services(app, work)
    _open_history(services)
    page = build_page(app, services)
    zero.load_residents(app)
    told = ending.listen()
    start(page, app, block=False, work=work, answers=answers)
    print(f"quantlab is at {page.local_url}  (Ctrl+C ends it)", flush=True)
    threading.Thread(target=_warm_up, name="imports", daemon=True).start()
    ending.serve_until(told, page, lambda: work.end(app.shutdown_seconds, answers.any))


#: What watches visitors, publishes files, or shows a stranger our errors.
_OFF = ("inbrowser", "share", "show_error", "enable_monitoring", "run_history", "ssr_mode", "pwa")


def start(
    page: gr.Blocks, app: AppSettings, *, block: bool, work: Work | None = None, answers: Open | None = None
) -> None:
    """Launch a page with everything off that watches visitors or publishes files.

    `work` is what the services are counted by, `answers` counts those on their way out. Raises PortInUse, and BadInput
    for a sign-in that cannot be.
    """
    if app.port and _taken(app.host, app.port):
        raise PortInUse(
            f"Port {app.port} is in use.", f"Stop what runs there, or choose another one: PORT={app.port + 1}."
        )
    with without_web_app():
        page.queue(max_size=QUEUED, api_open=False)
    page.launch(
        max_threads=app.queue_size + THREADS,
        server_name=app.host,
        server_port=app.port or None,
        prevent_thread_lock=not block,
        **dict.fromkeys(_OFF, False),
        **(_public_limits() if app.public else {}),
        **_hosting(app, work or Work(), answers or Open()),
        quiet=True,
        footer_links=["api"],
        mcp_server=tools.wanted(app),
        theme=theme(),
        css_paths=[ASSETS / "style.css"],
        js=scripts.ON_LOAD,
    )
    tools.fit(page)
    _begin_sessions_lightly(page)


def _begin_sessions_lightly(page: gr.Blocks) -> None:
    """Gradio describes every component anew for each session that begins, in the loop that serves everybody. That is
    for its deep links, of which this page has none; what an event changes is described when it does."""
    page.state_holder.blocks = SimpleNamespace(default_config=page.default_config, blocks={})


def _public_limits() -> dict[str, Any]:
    """What bounds the memory and the disk that strangers can fill."""
    return {"max_file_size": PUBLIC_UPLOAD_BYTES, "state_session_capacity": PUBLIC_SESSIONS}


def _hosting(app: AppSettings, work: Work, answers: Open) -> dict[str, Any]:
    """Who comes in and how often, what is told of it, and what stands before the page's own server for that."""
    logged = app.public if app.access_log is None else app.access_log
    if logged:
        ending.log_access()
    visitors = Visitors(behind_proxy=bool(app.space))
    before = [Middleware(Gate, work.metrics, visitors, answers, logged), Middleware(Misread)]
    if login.check_sign_in(app):
        before.append(Middleware(login.SignedIn, app.organisation))
    if app.public:
        before.append(Middleware(UploadQuota, PUBLIC_UPLOAD_BYTES, PUBLIC_UPLOADS_BYTES, PUBLIC_UPLOADS))
    return {
        "auth": login.by_password(app),
        "auth_message": login.ASKED_FOR,
        "app_kwargs": {"middleware": before, "routes": routes(work, told=app.metrics)},
    }


def real_services(app: AppSettings, work: Work | None = None) -> Services:
    """The layers below, each imported when it is first called: they bring torch. What runs is counted by `work`."""
    work = work or Work()
    counted, metrics = work.counted, work.metrics
    recorded, looked, replays = RecordedJobs(app), Looked(app), Replays(app)
    return Services(
        compare=counted("compare", replays.keeping(zero.on_lent_gpu(recorded.compare, app))),
        estimates=looked.estimates,
        choices=lambda: _choices(app),
        estimate_precision=lambda model, name, placement: _estimate_precision(model, name, placement, app),
        estimate_published=lambda spec, placement: _estimate_published(spec, placement, app),
        quantize=counted("quantize", _quantize),
        quality=counted("quality", zero.on_lent_gpu(recorded.quality, app)),
        no_tasks=_no_tasks,
        history=recorded.history,
        resume=counted("resume", recorded.resume),
        claims=counted("claims", _claims),
        inside=InsideJobs(app),
        quiz=lambda: own.every(app.quiz_folder),
        make_question=lambda comparison: _make_question(comparison, app),
        classroom=ClassJobs(app),
        unkept=counted("compare", zero.on_lent_gpu(recorded.unkept, app)),
        diagnose=_diagnose,
        finetune=counted("finetune", _finetune),
        preview_rows=_preview_rows,
        facts=looked.facts,
        turns=Turns(
            app.queue_size,
            app.queue_each,
            may=work.check_open,
            waited=metrics.waited,
            refused=lambda: metrics.refuse("full"),
        ),
        answered=replays.answered,
    )


def _finetune(
    model: str, data: str, folder: Path, asked: FinetuneSettings, stop: threading.Event
) -> Generator[TrainingEvent, None, None]:
    from quantlab.finetune.job import finetune

    return finetune(model, data, folder, asked, stop=stop)


def _preview_rows(model: str, data: str, asked: FinetuneSettings) -> "Preview":
    from quantlab.finetune.preview import preview

    return preview(model, data, asked)


def _open_history(services: Services) -> None:
    """Mark what earlier processes left behind. Trouble with the file is told: the page works without it."""
    try:
        services.history()
    except QuantlabError as error:
        print(f"Nothing is kept: {error}", file=sys.stderr, flush=True)


def _estimate_precision(model: str, name: str, placement: Placement, app: AppSettings) -> Estimate:
    from quantlab.runs import estimates

    return estimates.estimate_precision(model, name, placement, app)


def _estimate_published(spec: str, placement: Placement, app: AppSettings) -> Estimate:
    from quantlab.runs import estimates

    return estimates.estimate_published(spec, placement, app)


def _quantize(
    model: str, precision: str, out: str, settings: Settings, stop: threading.Event
) -> "Generator[tuple[int, int, str], None, Saved]":
    from quantlab.checkpoints import export

    return export.quantize(model, precision, out, settings.placement, settings.calibration, stop=stop)


def _claims(
    model: str, only: tuple[int, ...], stop: threading.Event
) -> "Generator[tuple[int, int, str], None, Claims]":
    from quantlab.teach.claims.measuring import claims

    return claims(model, only, stop=stop)


def _make_question(comparison: Comparison, app: AppSettings) -> "Question":
    if app.public or app.quiz_folder is None:
        return nothing_made(comparison)
    return own.make(app.quiz_folder, comparison)


def _diagnose(model: str | None, device: str, app: AppSettings) -> "tuple[Pitfall, ...]":
    from quantlab.teach.pitfalls import diagnose

    return diagnose(model, device, app)


def _no_tasks() -> str:
    from quantlab.fidelity import tasks

    return tasks.why_none()


def _choices(app: AppSettings) -> tuple[tuple[str, str, str], ...]:
    from quantlab import models

    return tuple((choice.name, choice.kind, choice.description) for choice in models.known_models(app))


def _taken(host: str, port: int) -> bool:
    """Whether something already listens: a server that binds with SO_REUSEADDR would not notice."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _warm_up() -> Any:
    """Import what the first comparison needs, and read the quiz, while the visitor reads the page."""
    try:
        questions.bundled()
        import torch  # noqa: F401

        from quantlab.models.quiet import import_transformers

        import_transformers()
        from quantlab.reporting.charts import difference, latency, memory, quality_map  # noqa: F401
        from quantlab.runs import recorded  # noqa: F401
    except Exception:
        log.exception("imports in the background failed")
