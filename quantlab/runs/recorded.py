"""Comparisons and quality runs that are kept in the history: what the page and the command line call.

A greedy comparison is deterministic, so one that was made before with the same weights, options, prompt and libraries
is replayed. One that was cut short is resumed: what was finished is not repeated.
"""

import json
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from quantlab import models
from quantlab.checkpoints.store import identity
from quantlab.errors import BadInput
from quantlab.export import codec
from quantlab.fidelity import METRICS
from quantlab.fidelity.texts import is_named, pasted, text
from quantlab.history import History, Recorder
from quantlab.measure.machine import machine, versions
from quantlab.methods import published
from quantlab.records import (
    Comparison,
    ComparisonRequest,
    Quality,
    QualityRequest,
    QualityRun,
    QualitySettings,
    Run,
    Settings,
)
from quantlab.records.events import Event, Events, QualityEvent, QualityEvents, QualityStarted, Started
from quantlab.runs.compare import ComparisonJob, compare
from quantlab.runs.plan import Plan
from quantlab.runs.quality import QualityJob, quality
from quantlab.runtime.placement import resolve
from quantlab.settings import app_settings

S = TypeVar("S", Settings, QualitySettings)
R = TypeVar("R", Run, QualityRun)


class Elsewhere(Protocol):
    """Where columns run instead of in this process: it makes the jobs of what was asked for."""

    def comparison(self, request: ComparisonRequest) -> Callable[..., ComparisonJob]: ...

    def quality(self, request: QualityRequest) -> Callable[..., QualityJob]: ...

    def at_once(self, columns: int) -> int:
        """How many jobs of so many columns keep it busy."""
        ...


@dataclass(frozen=True)
class Earlier(Generic[R]):
    """What of an entry that is resumed is there already."""

    entry: int
    runs: tuple[R, ...]


def recorded_compare(
    history: History | None,
    request: ComparisonRequest,
    *,
    stop: threading.Event | None = None,
    fresh: bool = False,
    earlier: Earlier[Run] | None = None,
    on: Elsewhere | None = None,
) -> Events:
    """`compare()`, kept in the history (None: not kept), and replayed from it unless `fresh`; `on` runs its columns."""
    prompt, settings = request.prompt, request.settings
    recorder = Recorder(history, asked_of(request), entry=earlier.entry if earlier else None)

    def replay(plan: Plan) -> Comparison | None:
        # What a server answers may be another today.
        if history is None or plan.settings.sample or plan.settings.race or any(it.server for it in plan.entrants):
            return None
        recorder.key = comparison_key(plan)
        found = None if fresh or earlier else history.find(recorder.key)
        if found is None:
            return None
        recorder.leave()
        kept = history.get(found.id)
        return kept if isinstance(kept, Comparison) else None

    def draft(started: Started) -> Comparison:
        return Comparison(
            prompt=prompt,
            prompt_token_ids=started.prompt_token_ids,
            prompt_tokens=started.prompt_tokens,
            settings=settings,
            **_begun(started, settings),
        )

    known = {run.precision: run for run in earlier.runs} if earlier else None
    make = on.comparison(request) if on else None
    events = compare(
        request.model, request.precisions, prompt, settings, stop=stop, known=known, replay=replay, make=make
    )
    yield from recorder.follow(events, draft)


def recorded_quality(
    history: History | None,
    request: QualityRequest,
    *,
    stop: threading.Event | None = None,
    earlier: Earlier[QualityRun] | None = None,
    on: Elsewhere | None = None,
) -> QualityEvents:
    """`quality()`, kept in the history (None: not kept); `on` runs its columns."""
    read, settings = request.text, request.settings
    recorder = Recorder(history, asked_of(request), entry=earlier.entry if earlier else None)

    def draft(started: QualityStarted) -> Quality:
        return Quality(
            text=started.text,
            settings=settings,
            noise_floor=None,
            floor="not measured yet",
            **_begun(started, settings),
        )

    known = {run.precision: run for run in earlier.runs} if earlier else None
    make = on.quality(request) if on else None
    events = quality(request.model, request.precisions, read, settings, stop=stop, known=known, make=make)
    yield from recorder.follow(events, draft)


def _begun(started: Started | QualityStarted, settings: Settings | QualitySettings) -> dict[str, Any]:
    """The fields that a record without runs has of either kind."""
    return {
        "model": started.model,
        "reference": started.reference,
        "machine": machine(resolve(settings.placement).device),
        "versions": versions(),
        "runs": (),
    }


def resumed(
    history: History, entry: int, stop: threading.Event | None = None, on: Elsewhere | None = None
) -> Generator[Event | QualityEvent, None, None]:
    """Go on with an entry that did not come to its end. Raises BadInput where there is nothing to go on with."""
    kind = history.entry(entry).kind
    if not history.asked(entry):
        raise BadInput("This came from a file, which does not say how to go on.", "Begin a new one.")
    found = history.resume(entry)
    asked = found.asked
    try:
        if kind == "comparison":
            settings = _with_whole_paths(codec.read(Settings, asked["settings"], "settings"), asked["settings"])
            earlier = Earlier(entry, tuple(run for run in found.done if isinstance(run, Run)))
            again = ComparisonRequest(asked["model"], tuple(asked["precisions"]), asked["prompt"], settings)
            yield from recorded_compare(history, again, stop=stop, earlier=earlier, on=on)
        else:
            how = _with_whole_paths(codec.read(QualitySettings, asked["settings"], "settings"), asked["settings"])
            name, content = asked["text"]["name"], asked["text"]["content"]
            read = text(name) if content is None else pasted(content, name)
            before = Earlier(entry, tuple(run for run in found.done if isinstance(run, QualityRun)))
            more = QualityRequest(asked["model"], tuple(asked["precisions"]), read, how)
            yield from recorded_quality(history, more, stop=stop, earlier=before, on=on)
    finally:
        history.interrupt(entry)  # nothing happens where it has come to its end


def _with_whole_paths(settings: S, asked: Mapping[str, Any]) -> S:
    """The settings as they were asked for here: what reads exports cuts a path to its last name, for they come from
    elsewhere."""
    file = asked["calibration"]["file"]
    return replace(settings, calibration=replace(settings.calibration, file=None if file is None else Path(file)))


def comparison_key(plan: Plan) -> str:
    """Everything that changes a greedy comparison: weights, options, the prompt's tokens, settings, libraries."""
    everything = {
        "metrics": METRICS,
        "columns": [
            entrant.failure is None and identity(plan.variant(entrant)) | {"name": entrant.name}
            for entrant in plan.entrants
        ],
        "reference": plan.reference.name,
        "prompt": plan.prompt_input.prompt_ids,
        "settings": _plain(plan.settings),
        "machine": _plain(machine(plan.placement.device)) | {"bandwidth": None},
        "versions": versions(),
    }
    return models.digest(everything)


def asked_of(request: ComparisonRequest | QualityRequest) -> dict[str, Any]:
    """What an entry of the history keeps of what was asked for, in JSON's types; the same for the same request."""
    settings = {"settings": _plain(request.settings)}
    if isinstance(request, ComparisonRequest):
        return {**_whole(request), "prompt": request.prompt, **settings}
    read = request.text
    content = None if is_named(read) else read.content
    return {**_whole(request), "text": {"name": read.name, "content": content}, **settings}


def _whole(request: ComparisonRequest | QualityRequest) -> dict[str, Any]:
    """What was asked for as it means the same from any folder: who goes on may stand in another one."""
    app, model = app_settings(), request.model
    names = [published.whole(name, app) if published.is_published(name) else name for name in request.precisions]
    return {"model": published.whole(model, app) if model.strip() else model, "precisions": names}


def _plain(record: Any) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(record), default=str))
