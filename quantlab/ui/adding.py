"""The control that adds a published checkpoint to the tick list, and what comes of adding one."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from quantlab.errors import BadInput, QuantlabError
from quantlab.records import Placement
from quantlab.settings import AppSettings
from quantlab.ui import fragments, offered
from quantlab.ui.choice import check_published
from quantlab.ui.offered import Offered
from quantlab.ui.services import Services
from quantlab.ui.view import Problem

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Adding:
    """The control, hidden in public."""

    spec: gr.Textbox
    add: gr.Button
    said: gr.HTML


@dataclass(frozen=True)
class Added:
    """What came of it, in HTML. `offered` with the ticks that it should have; None where nothing was added."""

    said: str
    offered: Offered | None = None
    ticks: tuple[str, ...] = ()


def build(app: AppSettings, before_ids: str = "") -> Adding:
    """The control; `before_ids` goes before the ids of its elements."""
    with gr.Row(elem_id=f"{before_ids}add", elem_classes="add", visible=not app.public):
        spec = gr.Textbox(
            label="Add a published checkpoint",
            info="A folder, a .gguf file or a Hugging Face id. ::NAME picks one file of several, ::nf4 a precision.",
            placeholder="owner/name, /path/to/folder or /path/to/model.gguf",
            max_lines=1,
            max_length=500,
            scale=5,
            min_width=180,
            elem_id=f"{before_ids}add-spec",
        )
        add = gr.Button("Add", elem_id=f"{before_ids}add-button", scale=1, min_width=64)
    said = gr.HTML(
        "", elem_id=f"{before_ids}added", elem_classes="add-said", visible=not app.public, apply_default_css=False
    )
    return Adding(spec, add, said)


def add(
    typed: str, where: Placement, ticked: Sequence[str], before: Offered, app: AppSettings, services: Services
) -> Added:
    """Add what was typed to the list and tick it, where that can be."""
    spec = str(typed or "").strip()
    try:
        if not spec:
            raise BadInput("Nothing was typed.", "Type a folder, a .gguf file or a Hugging Face id.")
        check_published((spec,), app)
        row = offered.look_at(spec, where, services)
        if not row.published:
            raise BadInput(f"{spec} could be a precision's name.", f"Write ./{spec} for the folder.")
    except QuantlabError as error:
        return Added(fragments.added(Problem(error.what, error.advice)))
    except Exception:
        log.exception("a checkpoint could not be added")
        return Added(fragments.added(Problem("It could not be added through a fault of ours.", "The log says why.")))
    found, limit = before.with_added(row), app.max_columns
    kept = offered.ticks(found, ticked, limit) if ticked else []
    full = len(kept) >= limit
    ticks = kept if full else offered.ticks(found, [*kept, row.value], limit)
    return Added(fragments.added_row(row, full=full and row.value not in kept), found, tuple(ticks))
