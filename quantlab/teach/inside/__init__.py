"""What a bucket is: a real weight matrix, and how each method turns its numbers into few levels.

The names below are imported when they are first used: they bring torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantlab.teach.inside.channels import outliers
    from quantlab.teach.inside.channels import told as told_of_channels
    from quantlab.teach.inside.looking import double_saves, look, told
    from quantlab.teach.inside.weights import layers, resolved

__all__ = ["double_saves", "layers", "look", "outliers", "resolved", "told", "told_of_channels"]
_HOME = {
    "double_saves": "looking.double_saves",
    "layers": "weights.layers",
    "look": "looking.look",
    "outliers": "channels.outliers",
    "resolved": "weights.resolved",
    "told": "looking.told",
    "told_of_channels": "channels.told",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(".")
    return getattr(import_module(f"{__name__}.{module}"), attribute)
