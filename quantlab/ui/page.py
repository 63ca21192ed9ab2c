"""The page: header and tabs. A tab is a folder whose `tab.py` has a `build`."""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
from gradio import blocks

from quantlab.settings import AppSettings
from quantlab.ui import between
from quantlab.ui.api import endpoints
from quantlab.ui.claims import tab as claims
from quantlab.ui.common import fragments, rail
from quantlab.ui.compare import tab as compare
from quantlab.ui.finetune import tab as finetune
from quantlab.ui.history import tab as history
from quantlab.ui.inside import tab as inside
from quantlab.ui.lessons import tab as learn
from quantlab.ui.plan import tab as plan
from quantlab.ui.quality import tab as quality
from quantlab.ui.quiz import tab as quiz
from quantlab.ui.services import Services

TITLE = "quantlab: what do the missing bits cost?"
#: In public, how often uploads are looked through, and how old they get, in seconds.
PUBLIC_UPLOADS_KEPT = (300, 1_800)


@contextmanager
def without_web_app() -> Iterator[None]:
    """Where a page is begun, ended and queued, gradio makes a web application each time, of which none is served: the
    launch makes its own. That takes a third of a second of the start."""
    own = blocks.App.create_app
    blocks.App.create_app = staticmethod(lambda *_args, **_options: None)
    try:
        yield
    finally:
        blocks.App.create_app = own


@without_web_app()
def build_page(app: AppSettings, services: Services) -> gr.Blocks:
    """The whole page, wired to `services`, not yet launched."""
    kept = PUBLIC_UPLOADS_KEPT if app.public else None
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=kept) as page:
        gr.HTML(fragments.HEADER, elem_id="masthead", apply_default_css=False)
        if app.signs_in:
            # With it gradio adds the pages of the sign-in; here it says who is signed in, and signs out.
            gr.LoginButton(logout_value="Sign out ({})", variant="secondary", size="sm", elem_id="sign-in")
        start, kept = rail.opening_of(app, services), quiz.browser_state()
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Compare"):
                asking = compare.build(start, app, services)
            with gr.Tab("Quality") as quality_tab:
                measuring = quality.build(start, app, services)
            with gr.Tab("Will it fit?"):
                plan.build(start, app, services)
            with gr.Tab("Inside"):
                inside.build(start, app, services)
            with gr.Tab("Claims"):
                claims.build(start, app, services)
            with gr.Tab("Learn"):
                learn.build(kept, app, services)
            with gr.Tab("Quiz"):
                quiz.build(kept, asking.parts.comparison, app, services)
            with gr.Tab("Fine-tune"):
                tuned = finetune.build(start, app, services)
            with gr.Tab("History"):
                history.build(app, services)
        between.wire(asking, measuring, quality_tab)
        between.wire_trained(tuned, asking)
        gr.HTML(fragments.definitions(), elem_id="definitions", apply_default_css=False)
        endpoints.build(app, services)
    return page
