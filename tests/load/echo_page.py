"""A page of gradio's own that gives back what it was sent: what browsers, programs and gradio take by themselves."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr


def echo(text: str) -> str:
    return text


if __name__ == "__main__":
    with gr.Blocks(analytics_enabled=False) as page:
        prompt = gr.Textbox(elem_id="prompt")
        said = gr.Textbox(elem_id="said")
        gr.Button("Echo", elem_id="echo").click(echo, prompt, said, api_name="echo")
    _app, address, _ = page.launch(quiet=True, ssr_mode=False, server_port=None, prevent_thread_lock=True)
    print(f"quantlab is at {address}", flush=True)
    page.block_thread()
