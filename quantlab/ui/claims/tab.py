"""The tab that tests what is claimed of quantization. What it does is in handlers.py."""

import gradio as gr

from quantlab.settings import AppSettings
from quantlab.ui.claims import fragments as html
from quantlab.ui.claims.handlers import ClaimsHandlers, offered
from quantlab.ui.claims.parts import ClaimsParts
from quantlab.ui.common import rail
from quantlab.ui.common.tab import SMALL, TAKES_TURNS
from quantlab.ui.services import Services


def build(opening: rail.Opening, app: AppSettings, services: Services) -> None:
    """Make the tab inside the current Blocks, wired. Models with random weights are left out: they have no quality."""
    known = [name for name, kind, _ in opening.known if kind != "shape"]
    which = offered(app.public)
    gr.HTML(html.intro(app.public), elem_id="claims-intro", apply_default_css=False)
    with gr.Row(elem_id="claims-asked"):
        model = gr.Dropdown(
            known, value=next((name for name in known if name == "demo"), known[0] if known else None), label="Model",
            info="Measured where a claim needs it", allow_custom_value=not app.public, elem_id="claims-model",
        )  # fmt: skip
        chosen = gr.Dropdown(
            list(which), value=which[0], label="Claims", elem_id="claims-which",
            info=None if app.public else "All of them take some minutes",
        )  # fmt: skip
    with gr.Row(elem_id="claims-actions", elem_classes="actions"):
        start = gr.Button("Measure it here", variant="primary", elem_id="claims-start", scale=0, min_width=150)
        stop = gr.Button("Stop", elem_id="claims-stop", interactive=False, scale=0, min_width=70)
    status = gr.HTML("", elem_id="claims-status", apply_default_css=False)
    listed = gr.HTML(html.claims({}), elem_id="claims-list", apply_default_css=False)
    parts = ClaimsParts(model, chosen, start, stop, status, listed, gr.State({}))
    _wire(parts, ClaimsHandlers(parts, app, services))


def _wire(parts: ClaimsParts, handlers: ClaimsHandlers) -> None:
    shown = [parts.start, parts.stop, parts.status]
    begun = parts.start.click(handlers.begin, None, shown, **SMALL)
    begun.then(
        handlers.run, [parts.model, parts.which, parts.found], [*shown, parts.claims, parts.found],
        show_progress="hidden", api_visibility="private", **TAKES_TURNS,
    )  # fmt: skip
    parts.stop.click(handlers.stop, None, shown, **SMALL)
    gr.context.Context.root_block.unload(handlers.leave)
