"""The control that adds to the tick list: a precision with options, a published checkpoint."""

from dataclasses import dataclass

import gradio as gr

from quantlab.settings import AppSettings


@dataclass(frozen=True)
class Adding:
    """The control, hidden in public."""

    spec: gr.Textbox
    add: gr.Button
    said: gr.HTML


def build(app: AppSettings, before_ids: str = "") -> Adding:
    """The control; `before_ids` goes before the ids of its elements."""
    # Above the box: the foot of the rail is the foot of the window, and what lies below it is not seen.
    said = gr.HTML(
        "", elem_id=f"{before_ids}added", elem_classes="add-said", visible=not app.public, apply_default_css=False
    )
    with gr.Row(elem_id=f"{before_ids}add", elem_classes="add", visible=not app.public):
        spec = gr.Textbox(
            label="Add a precision or a published checkpoint",
            info="A precision with options, a folder, a .gguf file or a Hugging Face id; ::NAME picks one of several"
            " files. +kv-int8 keeps keys and values in 8 bits (of GGUF +kv-q8_0). A served model: openai:http://HOST/v1#NAME.",
            placeholder="nf4+kv-int8, rtn-4-g32, owner/name or /path/to/model.gguf",
            max_lines=1,
            max_length=500,
            scale=5,
            min_width=180,
            elem_id=f"{before_ids}add-spec",
        )
        add = gr.Button("Add", elem_id=f"{before_ids}add-button", scale=1, min_width=64)
    return Adding(spec, add, said)
