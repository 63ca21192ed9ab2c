"""The control that adds a published checkpoint to the tick list, and what comes of adding one."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from quantlab.errors import BadInput
from quantlab.records import Placement
from quantlab.settings import AppSettings
from quantlab.ui.common import fragments, picker, precision_list
from quantlab.ui.common.precision_list import PrecisionList
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.runner import problem_of
from quantlab.ui.common.tab import TabHandlers
from quantlab.ui.compare import form as choices
from quantlab.ui.compare.form import Choice

Updates = dict[Any, Any]
_OUR_FAULT = Problem("It could not be added through a fault of ours.", "The log says why.")


@dataclass(frozen=True)
class Adding:
    """The control, hidden in public."""

    spec: gr.Textbox
    add: gr.Button
    said: gr.HTML


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


class AddingHandlers(TabHandlers):
    """Of a tab with a tick list: its `parts` have `offered`, `adding`, `inputs.precisions` and `inputs.reference`."""

    def add(self, typed: str, compute_dtype: str, ticked: list[str], before: PrecisionList) -> Updates:
        """Add a published checkpoint to the list and tick it, where that can be."""
        control, spec = self.parts.adding, str(typed or "").strip()
        try:
            if not spec:
                raise BadInput("Nothing was typed.", "Type a folder, a .gguf file or a Hugging Face id.")
            choices.check_published((spec,), self.app)
            row = precision_list.look_at(spec, self._where(compute_dtype), self.services)
            if not row.published:
                raise BadInput(f"{spec} could be a precision's name.", f"Write ./{spec} for the folder.")
        except Exception as error:
            return {control.said: fragments.added(problem_of(error, "a checkpoint could not be added", _OUR_FAULT))}
        found, limit = before.with_added(row), self.app.max_columns
        kept = precision_list.ticks(found, ticked, limit) if ticked else []
        full = len(kept) >= limit
        ticks = kept if full else precision_list.ticks(found, [*kept, row.value], limit)
        said = fragments.added_row(row, full=full and row.value not in kept)
        return self._rows(found, ticks) | {control.spec: "", control.said: said}

    def _where(self, compute_dtype: str) -> Placement:
        return choices.placement(Choice(compute_dtype=compute_dtype), self.app)

    def _rows(self, found: PrecisionList, ticked: list[str]) -> Updates:
        inputs = self.parts.inputs
        return {
            self.parts.offered: found,
            inputs.precisions: gr.update(value=ticked, rows=picker.rows(found), limit=self.app.max_columns),
            inputs.reference: gr.update(choices=[choices.MOST_PRECISE, *found.names]),
        }
