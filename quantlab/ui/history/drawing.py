"""The history tab's charts: a record's figures and table twins, handed to its panels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from quantlab.records import Comparison, Quality

if TYPE_CHECKING:
    from quantlab.ui.history.parts import HistoryPanel

log = logging.getLogger(__name__)
Updates = dict[Any, Any]


def drawn(made: Sequence[HistoryPanel], record: Comparison | Quality) -> Updates:
    """All panels that have anything to show of a record; the others are hidden."""
    updates: Updates = {}
    for panel in made:
        has = isinstance(record, panel.kind) and panel.chart.has(record)
        updates[panel.column] = gr.update(visible=has)
        if not has:
            continue
        options: tuple[str, ...] = panel.chart.options(record) if panel.pick is not None else ()
        if panel.pick is not None:
            updates[panel.pick] = gr.update(choices=list(options), value=options[-1])
        updates |= _filled(panel, record, options[-1] if options else "")
    return updates


def redrawn(panel: HistoryPanel, record: Comparison | Quality | None, picked: str | None) -> Updates:
    """One panel after another choice; nothing where it cannot be chosen."""
    if not isinstance(record, panel.kind) or picked is None or picked not in panel.chart.options(record):
        return {}
    return _filled(panel, record, picked)


def _filled(panel: HistoryPanel, record: Comparison | Quality, picked: str) -> Updates:
    return panel.filled(*panel.chart.drawn(record, picked))
