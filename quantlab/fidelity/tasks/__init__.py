"""Accuracy at tasks through lm-evaluation-harness, and what of it changed against the reference.

Light to import: the harness and torch come with the first `score`.
"""

from quantlab.fidelity.tasks.bundled import BundledTask, task_names
from quantlab.fidelity.tasks.flips import against
from quantlab.fidelity.tasks.names import check, why_none
from quantlab.fidelity.tasks.scoring import score

__all__ = ["BundledTask", "against", "check", "score", "task_names", "why_none"]
