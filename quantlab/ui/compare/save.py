"""The panel that writes a quantized model to a folder: its components, and what their events do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from quantlab.errors import BadInput
from quantlab.methods import METHODS
from quantlab.ui.common import fragments
from quantlab.ui.common.steps import StepHandlers, Updates, Work
from quantlab.ui.compare import form as choices
from quantlab.ui.compare.form import Choice

if TYPE_CHECKING:
    from quantlab.checkpoints.export import Saved

HELP = (
    '<p class="faint">Quantizes the model above and writes an ordinary checkpoint, which transformers, or llama.cpp '
    "for a .gguf, loads without this app. Calibration and kernel are those under Settings.</p>"
)


@dataclass(frozen=True)
class SavePanel:
    """The panel's components."""

    precision: gr.Dropdown
    out: gr.Textbox
    save: gr.Button
    stop: gr.Button
    result: gr.HTML


def savable() -> list[str]:
    """The precisions that have a checkpoint which other programs read, those first that take long to make."""
    from quantlab.checkpoints.export import savable as has_checkpoint

    found = [one for method in sorted(METHODS.values(), key=lambda it: not it.kept) for one in method.precisions]
    return [one.name for one in found if has_checkpoint(one)]


def build() -> SavePanel:
    """Make the panel inside the current Blocks. Only a page that is not public has one."""
    names = savable()
    with gr.Accordion("Save a quantized model", open=False, elem_id="save"):
        gr.HTML(HELP, apply_default_css=False)
        with gr.Row():
            precision = gr.Dropdown(
                names, value=next((name for name in names if name == "gptq-4"), None), label="Precision",
                info="Options may follow the name: gptq-4-g32", allow_custom_value=True, min_width=140,
            )  # fmt: skip
            out = gr.Textbox(label="Output folder", info="A new one, or an empty one", max_lines=1, min_width=140)
        with gr.Row(elem_id="save-actions"):
            save = gr.Button("Save", elem_id="save-start", min_width=90)
            stop = gr.Button("Stop", elem_id="save-stop", interactive=False, min_width=70)
        result = gr.HTML("", elem_id="save-result", apply_default_css=False)
    return SavePanel(precision, out, save, stop, result)


class SaveHandlers(StepHandlers):
    """Bound to one page's panel."""

    parts: SavePanel
    kind = "save"
    stopped = "Stopped. Nothing was left behind."
    lost = "Stopped. What was begun is cleared away."
    failed = "a model could not be saved"

    def save(self, request: gr.Request, precision: str, out: str, *values: Any) -> Iterator[Updates]:
        """Quantize and write; yield what changed."""

        def prepare() -> Work:
            choice = choices.from_inputs(*values)
            self._check(choice, precision, out)
            return lambda stop: self.services.quantize(
                choice.model, precision.strip(), out.strip(), choices.settings(choice, self.app), stop
            )

        yield from self.follow(request, prepare)

    def _check(self, choice: Choice, precision: str, out: str) -> None:
        if self.app.public:
            raise BadInput("This public page writes no files.", "Run quantlab on your own machine to save a model.")
        choices.check_model(choice.model, self.app)
        choices.check_quantizing(choice, self.app)
        if not str(precision or "").strip():
            raise BadInput("No precision is chosen.", "Pick the one to save.")
        if not str(out or "").strip():
            raise BadInput("No output folder is named.", "Name a new folder, or an empty one.")

    def _progress(self, done: int, total: int, what: str) -> str:
        return fragments.saving(done, total, what)

    def _result(self, result: "Saved") -> Updates:
        return self._shown(fragments.saved(str(result.folder), result.nbytes, result.build_s, result.reused))

    def _shown(self, status: str, *, running: bool = False) -> Updates:
        return {
            self.parts.save: gr.update(interactive=not running),
            self.parts.stop: gr.update(interactive=running),
            self.parts.result: status,
        }
