"""One language model at several precisions, one prompt through each: what the missing bits cost.

    for event in quantlab.compare("demo", ["fp32", "nf4"], "Who is Ada?", quantlab.Settings(max_new_tokens=32)):
        ...

The names below are imported when they are first used, so that `import quantlab` costs nothing and takes no torch.
docs/library.md shows each.
"""

import importlib
from typing import TYPE_CHECKING, Any

from quantlab import shown

if TYPE_CHECKING:
    from quantlab.checkpoints.export import Saved
    from quantlab.errors import BadInput, ModelError, OutOfMemory, QuantlabError, Stopped, Unavailable
    from quantlab.fidelity.texts import text
    from quantlab.records import (
        Calibration,
        Comparison,
        Estimate,
        ModelNumbers,
        Placement,
        Plan,
        Quality,
        QualityRun,
        QualitySettings,
        Run,
        Settings,
        Suited,
        Text,
    )
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
        TriedAgain,
    )
    from quantlab.reporting.code import code
    from quantlab.runs.library import estimate, quantize
    from quantlab.runs.notebook import compare, quality
    from quantlab.teach.lessons.library import judge, lessons
    from quantlab.teach.plan.library import plan, which_fit

    __version__: str

__all__ = [
    "BadInput",
    "Calibration",
    "Comparison",
    "Done",
    "Estimate",
    "Event",
    "Finished",
    "Loaded",
    "Loading",
    "Measured",
    "Measuring",
    "ModelError",
    "ModelNumbers",
    "NotKept",
    "OutOfMemory",
    "Placement",
    "Plan",
    "Quality",
    "QualityDone",
    "QualityEvent",
    "QualityRun",
    "QualitySettings",
    "QualityStarted",
    "QuantlabError",
    "ReferenceMoved",
    "Run",
    "Saved",
    "Settings",
    "Started",
    "Stopped",
    "Suited",
    "Text",
    "TimingAgain",
    "Token",
    "TriedAgain",
    "Unavailable",
    "code",
    "compare",
    "estimate",
    "judge",
    "lessons",
    "plan",
    "quality",
    "quantize",
    "text",
    "which_fit",
]

#: Where each name is at home; all others are records.
_HOME = {
    "code": "reporting.code",
    "compare": "runs.notebook",
    "estimate": "runs.library",
    "judge": "teach.lessons.library",
    "lessons": "teach.lessons.library",
    "plan": "teach.plan.library",
    "quality": "runs.notebook",
    "quantize": "runs.library",
    "text": "fidelity.texts",
    "which_fit": "teach.plan.library",
    "Saved": "checkpoints.export",
    **dict.fromkeys(("BadInput", "ModelError", "OutOfMemory", "QuantlabError", "Stopped", "Unavailable"), "errors"),
    **dict.fromkeys(("Started", "Loading", "Loaded", "Token", "TimingAgain", "Finished", "Done"), "records.events"),
    **dict.fromkeys(("QualityStarted", "Measuring", "Measured", "QualityDone"), "records.events"),
    **dict.fromkeys(("Event", "QualityEvent", "NotKept", "ReferenceMoved", "TriedAgain"), "records.events"),
}
#: The version of a checkout that was not installed.
_SOURCE_VERSION = "0.1.0+source"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value = version("quantlab")
        except PackageNotFoundError:
            value = _SOURCE_VERSION
    elif name in __all__:
        value = getattr(importlib.import_module(f"quantlab.{_HOME.get(name, 'records')}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _cell(record: Any) -> str:
    from quantlab.records.events import Done, QualityDone
    from quantlab.reporting.html.cell import cell

    match record:
        case Done(comparison=found) | QualityDone(quality=found):
            return cell(found)
    return cell(record)


shown.by(_cell)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
