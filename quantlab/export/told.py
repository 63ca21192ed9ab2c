"""Events and estimates as plain data, as programs are told of a run. Every field is described in docs/api.md."""

from collections.abc import Mapping
from typing import Any

from quantlab.export import codec, common
from quantlab.export.comparisons import comparison_data, run_data
from quantlab.export.qualities import quality_data, quality_run_data
from quantlab.records import Estimate, Run
from quantlab.records.events import (
    Done,
    Event,
    Finished,
    Loaded,
    Loading,
    Measured,
    Measuring,
    NotKept,
    QualityDone,
    QualityEvent,
    QualityStarted,
    ReferenceMoved,
    Started,
    TimingAgain,
    Token,
)

#: What an event is called.
NAMES: Mapping[type, str] = {
    Started: "started",
    QualityStarted: "started",
    Loading: "loading",
    Loaded: "loaded",
    Token: "token",
    TimingAgain: "timing_again",
    Measuring: "measuring",
    Finished: "finished",
    Measured: "measured",
    NotKept: "not_kept",
    ReferenceMoved: "reference_moved",
    Done: "done",
    QualityDone: "done",
}


def event_data(event: Event | QualityEvent) -> dict[str, Any]:
    """One event: its name as `event`, then its fields. Runs and whole records are as an export has them."""
    return {"event": NAMES[type(event)], **_fields(event)}


def _fields(event: Event | QualityEvent) -> dict[str, Any]:
    match event:
        case Started() | QualityStarted():
            return codec.parts(event, leave=("model",)) | {"model": common.model_data(event.model)}
        case Finished(run) | Measured(run):
            return {"run": run_data(run) if isinstance(run, Run) else quality_run_data(run)}
        case Done(comparison, replayed):
            return {"comparison": comparison_data(comparison), "replayed": replayed}
        case QualityDone(quality):
            return {"quality": quality_data(quality)}
    return codec.parts(event)


def estimate_data(estimate: Estimate) -> dict[str, Any]:
    """A precision of a model as it is offered before anything loads."""
    chosen = estimate.precision
    return {
        "precision": chosen.name,
        "method": chosen.method,
        "group": estimate.group,
        "bits": chosen.bits,
        "summary": chosen.summary,
        "unavailable": estimate.unavailable,
        "estimated_bytes": estimate.estimated_bytes,
        "free_bytes": estimate.free_bytes,
        "fits": estimate.fits,
    }
