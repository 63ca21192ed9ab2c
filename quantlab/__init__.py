"""One language model at several precisions, one prompt through each: what the missing bits cost.

    for event in quantlab.compare("demo", ["fp32", "nf4"], "Who is Ada?", quantlab.Settings(max_new_tokens=32)):
        ...

The names below are imported when they are first used, so that `import quantlab` costs nothing and takes no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantlab.errors import BadInput, ModelError, OutOfMemory, QuantlabError, Stopped, Unavailable
    from quantlab.records import Comparison, Placement, Run, Settings
    from quantlab.records.events import Done, Event, Finished, Loaded, Loading, Started, Token
    from quantlab.runs.compare import compare

    __version__: str

__all__ = [
    "BadInput",
    "Comparison",
    "Done",
    "Event",
    "Finished",
    "Loaded",
    "Loading",
    "ModelError",
    "OutOfMemory",
    "Placement",
    "QuantlabError",
    "Run",
    "Settings",
    "Started",
    "Stopped",
    "Token",
    "Unavailable",
    "compare",
]

_EVENTS = {"Done", "Event", "Finished", "Loaded", "Loading", "Started", "Token"}
_ERRORS = {"BadInput", "ModelError", "OutOfMemory", "QuantlabError", "Stopped", "Unavailable"}
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
        value = getattr(importlib.import_module(f"quantlab.{_room_of(name)}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _room_of(name: str) -> str:
    if name == "compare":
        return "runs.compare"
    return "errors" if name in _ERRORS else "records.events" if name in _EVENTS else "records"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
