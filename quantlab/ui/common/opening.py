"""A .gguf file from the visitor's own computer as the model: dropped, or picked from a dialogue."""

import gradio as gr

from quantlab.models.gguf.files import SUFFIX
from quantlab.settings import AppSettings


def build(app: AppSettings, before_ids: str = "") -> gr.File:
    """Where a file is dropped, folded away; hidden in public, where no file of a visitor's is run."""
    folded = gr.Accordion(
        "Open a .gguf file",
        open=False,
        visible=not app.public,
        elem_id=f"{before_ids}open-file",
        elem_classes="open-file",
    )
    with folded:
        return gr.File(
            label="Drop a .gguf file here. It is copied; for a large one rather type its path above.",
            file_types=[SUFFIX],
            height=110,
            elem_id=f"{before_ids}model-file",
            elem_classes="model-file",
        )
