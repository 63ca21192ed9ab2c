"""The command line's screen: progress on standard error, tables on standard output."""

from quantlab.cli.render.claims import show_claims
from quantlab.cli.render.classroom import show_board
from quantlab.cli.render.comparison import follow, show
from quantlab.cli.render.finetuning import follow_training, show_trained
from quantlab.cli.render.inside import show_inside
from quantlab.cli.render.lessons import show_beginning, show_ending, show_lessons
from quantlab.cli.render.lists import show_estimates, show_history, show_kept, show_models, show_saved
from quantlab.cli.render.pitfalls import show_pitfalls
from quantlab.cli.render.plan import show_plan, show_suited
from quantlab.cli.render.progress import follow_steps
from quantlab.cli.render.quality import follow_quality, show_gate, show_quality
from quantlab.cli.render.sweep import follow_sweep, show_sweep, show_sweep_plan

__all__ = [
    "follow",
    "follow_quality",
    "follow_steps",
    "follow_sweep",
    "follow_training",
    "show",
    "show_beginning",
    "show_board",
    "show_claims",
    "show_ending",
    "show_estimates",
    "show_gate",
    "show_history",
    "show_inside",
    "show_kept",
    "show_lessons",
    "show_models",
    "show_pitfalls",
    "show_plan",
    "show_quality",
    "show_saved",
    "show_suited",
    "show_sweep",
    "show_sweep_plan",
    "show_trained",
]
