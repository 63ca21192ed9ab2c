"""The panel that writes a quantized model to a folder: its components, and what their events do."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from threading import Event as StopEvent
from typing import TYPE_CHECKING, Any

import gradio as gr

from quantlab.errors import BadInput, Stopped
from quantlab.methods import METHODS
from quantlab.ui.common import fragments, runner
from quantlab.ui.common.stream import Patience, batches
from quantlab.ui.common.tab import TabHandlers
from quantlab.ui.compare import form as choices
from quantlab.ui.compare.form import Choice

if TYPE_CHECKING:
    from quantlab.checkpoints.export import Saved

Updates = dict[Any, Any]
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


@dataclass(frozen=True)
class _Ended:
    """The last of what a worker thread passes on."""

    saved: "Saved"


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


class SaveHandlers(TabHandlers):
    """Bound to one page's panel. Which session saves what is kept in `StopEvents`."""

    parts: SavePanel

    def begin(self, request: gr.Request) -> Updates:
        """The click's answer at once, before the queue is passed."""
        self.stops.begin(runner.session(request))
        return self._shown(fragments.saving(0, 0, "Waiting for a free place."), running=True)

    def save(self, request: gr.Request, precision: str, out: str, *values: Any) -> Iterator[Updates]:
        """Quantize and write; yield what changed. Ends the work when the visitor leaves."""
        with self.running(request) as stop:
            try:
                choice = choices.from_inputs(*values)
                self._check(choice, precision, out)
                if stop.is_set():
                    raise Stopped
                with closing(batches(lambda: self._work(choice, precision, out, stop), stop)) as stream:
                    yield from self._steps(stream, Patience(stop))
            except Stopped:
                if self.stops.replaced(runner.session(request), stop):
                    return
                yield self._shown(fragments.said("Stopped. Nothing was left behind."))
            except Exception as error:
                yield self._shown(fragments.problem(runner.problem_of(error, "a model could not be saved")))

    def _left_queue(self) -> Updates:
        return self._shown(fragments.left_queue())

    def _stopping(self) -> Updates:
        return {self.parts.stop: gr.update(interactive=False)}

    def _steps(self, stream: Iterator[list[Any]], patience: Patience) -> Iterator[Updates]:
        """What changed, until it has ended or is awaited no longer."""
        left = False
        for batch in stream:
            if left:
                continue
            if left := patience.lost():
                yield self._shown(fragments.said("Stopped. What was begun is cleared away."))
            elif batch:
                yield self._step(batch[-1])

    def _check(self, choice: Choice, precision: str, out: str) -> None:
        if self.app.public:
            raise BadInput("This public page writes no files.", "Run quantlab on your own machine to save a model.")
        choices.check_model(choice.model, self.app)
        choices.check_quantizing(choice, self.app)
        if not str(precision or "").strip():
            raise BadInput("No precision is chosen.", "Pick the one to save.")
        if not str(out or "").strip():
            raise BadInput("No output folder is named.", "Name a new folder, or an empty one.")

    def _work(self, choice: Choice, precision: str, out: str, stop: StopEvent) -> Generator[Any, None, None]:
        settings = choices.settings(choice, self.app)
        saved = yield from self.services.quantize(choice.model, precision.strip(), out.strip(), settings, stop)
        yield _Ended(saved)

    def _step(self, last: Any) -> Updates:
        if isinstance(last, _Ended):
            saved = last.saved
            return self._shown(fragments.saved(str(saved.folder), saved.nbytes, saved.build_s, saved.reused))
        return self._shown(fragments.saving(*last), running=True)

    def _shown(self, html: str, *, running: bool = False) -> Updates:
        return {
            self.parts.save: gr.update(interactive=not running),
            self.parts.stop: gr.update(interactive=running),
            self.parts.result: html,
        }
