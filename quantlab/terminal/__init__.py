"""The command line's screen: progress on standard error, tables on standard output."""

from quantlab.terminal.comparison import follow, show
from quantlab.terminal.lists import show_history, show_kept, show_models, show_offers, show_saved
from quantlab.terminal.progress import follow_steps
from quantlab.terminal.quality import follow_quality, show_gate, show_quality

__all__ = [
    "follow",
    "follow_quality",
    "follow_steps",
    "show",
    "show_gate",
    "show_history",
    "show_kept",
    "show_models",
    "show_offers",
    "show_quality",
    "show_saved",
]
