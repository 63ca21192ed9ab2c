"""A page on the fake services, served for a test."""

from collections.abc import Iterator
from contextlib import contextmanager

from quantlab.settings import AppSettings
from quantlab.ui.launch import start
from quantlab.ui.page import build_page
from tests.fakes import Script, services


@contextmanager
def served(script: Script, **more: object) -> Iterator[str]:
    """The address of a running page; `more` are fields of AppSettings."""
    app = AppSettings(**{"public": False, "port": 0, **more})
    page = build_page(app, services(script))
    start(page, app, block=False)
    try:
        yield page.local_url
    finally:
        page.close(verbose=False)
