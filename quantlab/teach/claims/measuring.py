"""Finds out what the rules need: plans, quality runs, first answers, codes, trainings, and what printed lines do."""

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quantlab import models
from quantlab.errors import BadInput, QuantlabError, Stopped
from quantlab.fidelity import tasks, texts
from quantlab.measure.machine import machine, versions
from quantlab.records import Placement, Plan, Progress, Quality, QualitySettings, Run, Settings
from quantlab.records.claims import Claims
from quantlab.records.events import Finished, Measuring, QualityDone
from quantlab.runs.compare import compare
from quantlab.runs.loading import fresh_cache
from quantlab.runs.quality import quality
from quantlab.runtime import hardware
from quantlab.runtime.background import in_background
from quantlab.runtime.variant_cache import VariantCache
from quantlab.settings import AppSettings, app_settings
from quantlab.teach.claims import CLAIMS, judged, training
from quantlab.teach.claims.evidence import REFERENCE, SEVEN, SEVENTY, SIXTEEN, Evidence, Trial
from quantlab.teach.claims.of_code import NUMBERS
from quantlab.teach.claims.of_speed import FIRST_LOADS

if TYPE_CHECKING:
    import torch

#: One run of these serves every claim about what is lost and how fast it is.
COLUMNS = (
    *(REFERENCE, SIXTEEN, "int8", "nf4", "nf4-dq", "fp4", "rtn-4", "rtn-3", "rtn-2", "gptq-4", "gptq-3"),
    *("f16", "q8_0", "q4_k_m", "q4_k_m-imatrix", "q3_k_m", "q2_k", "fp32+kv-int8", "f16+kv-q8_0"),
)
#: What is remembered and worked out; the order of words is lost so late that it would thin out what is lost.
_TASKS = ("demo_facts", "demo_sums", "demo_stories")
#: Whose answers a rule asks for. gptq-3 is left out on a CPU, where its kernel takes ten times as long for a token as
#: that of gptq-4: a task took 37 s in place of 6.
_ASKED_TASKS = (REFERENCE, "nf4-dq", "rtn-4", "rtn-3", "rtn-2", "gptq-3", "q3_k_m", "q2_k")
#: What the programs read.
_TEXT = "Once upon a time there was a beekeeper called Sanna Corsa. It was a foggy morning in Kestrel."
_ASKED = "Once upon a time there was a"
_PRINTED = "model = AutoModelForCausalLM.from_pretrained(folder, load_in_8bit=True)"
_TODAY = (
    "model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=BitsAndBytesConfig(load_in_8bit=True))"
)
_COMPUTING = """\
settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.{dtype})
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, quantization_config=settings)
logits = model(torch.tensor([ids])).logits"""
Found = Generator[tuple[int, int, str], None, "Claims"]


def claims(
    model: str = "demo", only: Sequence[int] = (), windows: int = 8, *, stop: threading.Event | None = None
) -> Found:
    """Test the claims, or those numbered in `only`, on this machine with `model`; what none of them needs is not run.

    Gives progress as (done, total, what), and at the end `Claims`. `windows` of 512 tokens are read of the text that
    suits the model. Setting `stop`, or closing the generator, ends the work soon.

    Raises BadInput, ModelError or Stopped.
    """
    if unknown := sorted(set(only) - {claim.number for claim in CLAIMS}):
        raise BadInput(f"There is no claim {unknown[0]}.", f"They are numbered from 1 to {len(CLAIMS)}.")
    app, stop, started = app_settings(), stop or threading.Event(), datetime.now(UTC)
    chosen = [claim for claim in CLAIMS if not only or claim.number in only]
    needs = {need for claim in chosen for need in claim.needs}
    found = yield from evidence(model, needs, windows, app, stop)
    verdicts = tuple(judged(claim, found) for claim in chosen)
    named = found.quality.model.name if found.quality else model
    return Claims(named, started, machine(hardware.default_device()), versions(), verdicts)


def evidence(
    model: str, needs: set[str], windows: int, app: AppSettings, stop: threading.Event
) -> Generator[tuple[int, int, str], None, Evidence]:
    """What `needs` names, found out; what cannot be had says why. Raises ModelError, BadInput or Stopped."""
    found, missing = Evidence(devices=max(1, len(hardware.gpus()))), {}
    if "plans" in needs:
        yield 0, 0, "planning"
        found = replace(found, plans=_plans(app))
    if "codes" in needs:
        found = replace(found, codes={"int8 absmax": _codes()})
    if "trials" in needs:
        tried = yield from in_background(_trials, stop)
        found = replace(found, trials=tried)
    if "first" in needs:
        first = yield from _first(model, stop)
        found = replace(found, first=first)
    if "quality" in needs:
        try:
            measured = yield from _quality(model, windows, app, stop, "tasks" in needs)
            found = replace(found, quality=measured)
        except BadInput as error:  # random weights have no quality
            missing["quality"] = str(error)
    for need, work in (
        ("training", lambda: training.trained(app, stop)), ("merges", lambda: training.merged(windows, stop)),
    ):  # fmt: skip
        if need in needs:
            try:
                had: Any = yield from work()
                found = replace(found, **{need: had})
            except Stopped:
                raise
            except QuantlabError as error:  # without peft, say, nothing can be trained
                missing[need] = str(error)
    return replace(found, missing=missing)


def _plans(app: AppSettings) -> Mapping[str, Plan]:
    from quantlab.teach.plan import planning
    from quantlab.teach.plan.asked import Asked
    from quantlab.teach.plan.cards import CARDS

    asked = Asked(("fp32", SIXTEEN, "int8", "nf4"), 4_096, 1, finetune="qlora")
    return {name: planning.planned(name, asked, CARDS, app) for name in (SEVEN, SEVENTY)}


def _codes() -> tuple[int, ...]:
    """Those of the tutorial's numbers as 8-bit integers, the largest magnitude becoming the highest."""
    import torch

    from quantlab.methods.rounded import Matrix
    from quantlab.teach.inside.uniform import Uniform, rounded

    values = torch.tensor([NUMBERS])
    return tuple(rounded(Matrix(values), Uniform(8, None)).codes.flatten().tolist())


def _trials(progress: Progress) -> Mapping[str, Trial]:
    """Each in this process: the bundled model is small."""
    programs = {"as printed": _PRINTED, "as it is written today": _TODAY} | {
        f"compute {dtype}": _COMPUTING.format(dtype=dtype) for dtype in ("int8", "float16", "bfloat16", "float32")
    }
    from quantlab.models.tokenizer import load_tokenizer

    ids = load_tokenizer(models.resolve("demo", app_settings())).encode(_TEXT)
    ran = {}
    for at, (name, code) in enumerate(programs.items()):
        progress(at, len(programs), f"running {name}")
        ran[name] = _run(code, ids)
    exact = ran["compute float32"][1]
    return {name: Trial(programs[name], error, _kld(logits, exact)) for name, (error, logits) in ran.items()}


def _kld(logits: "torch.Tensor | None", exact: "torch.Tensor | None") -> float | None:
    """The mean over the positions, in nats; None where either is missing or is not finite."""
    if logits is None or exact is None or not (logits.isfinite().all() and exact.isfinite().all()):
        return None
    ours, theirs = (it[0].double().log_softmax(-1) for it in (logits, exact))
    return (theirs.exp() * (theirs - ours)).sum(-1).mean().item()


def _run(code: str, ids: list[int]) -> "tuple[str, torch.Tensor | None]":
    """How one of our own programs ends, its error in one line or nothing, and the logits that it computed."""
    import torch

    from quantlab.models.quiet import import_transformers, watching
    from quantlab.models.source import DEMO_FOLDER
    from quantlab.records import silent

    import_transformers()
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    names: dict[str, Any] = {"torch": torch, "folder": str(DEMO_FOLDER), "ids": ids}
    names |= {it.__name__: it for it in (AutoModelForCausalLM, BitsAndBytesConfig)}
    try:
        with watching(silent), torch.inference_mode():
            exec(compile(code, "claim.py", "exec"), names)  # noqa: S102 - a program that we wrote
    except Exception as error:  # what it raises is the finding
        first_line = (str(error).splitlines() or [""])[0]
        return f"{type(error).__name__}: {first_line}".rstrip(": "), None
    return "", names.get("logits")


def _first(model: str, stop: threading.Event) -> Generator[tuple[int, int, str], None, tuple[Run, ...]]:
    """Answers of nf4, each right after a load of its own, whose first pass was timed apart."""
    settings = Settings(max_new_tokens=9, raw=True, placement=Placement("auto"))
    runs: list[Run] = []
    for at in range(FIRST_LOADS):
        with (
            _own_cache() as variants,
            closing(compare(model, ["nf4"], _ASKED, settings, stop=stop, variants=variants)) as events,
        ):
            for event in events:
                if isinstance(event, Finished):
                    runs.append(event.run)
                else:
                    yield at, FIRST_LOADS, "nf4: its first answer after a load"
        if stop.is_set():
            raise Stopped
    return tuple(runs)


def _quality(
    model: str, windows: int, app: AppSettings, stop: threading.Event, answers: bool = True
) -> Generator[tuple[int, int, str], None, Quality]:
    """One run of all columns, and with `answers` a short one of those that are asked tasks. Raises Stopped where one
    was: what a part of them says decides nothing."""
    text = texts.suiting(model, app)
    settings = QualitySettings(windows=windows, layers=False, reference=REFERENCE, placement=Placement("auto"))
    with _own_cache() as variants:
        measured = yield from _measured(model, COLUMNS, text, settings, stop, variants)
        if not (answers and text == "demo") or tasks.why_none():
            return measured
        short = replace(settings, windows=1, tasks=_TASKS, noise_floor=False)
        asked = yield from _measured(model, _tasked(), text, short, stop, variants)
    scores = {run.precision: run.tasks for run in asked.runs}
    runs = tuple(replace(run, tasks=scores.get(run.precision, run.tasks)) for run in measured.runs)
    return replace(measured, runs=runs)


def _tasked() -> tuple[str, ...]:
    """The columns that are asked tasks here: without a GPU none of GPTQ's."""
    on_cpu = not hardware.gpus()
    return tuple(name for name in _ASKED_TASKS if name in COLUMNS and not (on_cpu and name.startswith("gptq")))


def _measured(
    model: str,
    columns: Sequence[str],
    text: str,
    settings: QualitySettings,
    stop: threading.Event,
    variants: VariantCache,
) -> Generator[tuple[int, int, str], None, Quality]:
    finished, measured = 0, None
    with closing(quality(model, columns, text, settings, stop=stop, variants=variants)) as events:
        for event in events:
            if isinstance(event, QualityDone):
                measured = event.quality
                continue
            name, kind = getattr(event, "precision", ""), type(event).__name__
            finished += kind == "Measured"
            stage = event.stage if isinstance(event, Measuring) else kind.lower()
            yield finished, len(columns), f"{name or model}: {stage}"
    if measured is None or stop.is_set():
        raise Stopped
    return measured


@contextmanager
def _own_cache() -> Iterator[VariantCache]:
    """Variants of nobody else: what was loaded before has no time of a load, and no first pass."""
    variants = fresh_cache()
    try:
        yield variants
    finally:
        variants.drop_unused()
