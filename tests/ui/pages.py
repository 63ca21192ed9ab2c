"""Pages on the fake services, served and driven for a test."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx

from quantlab.settings import AppSettings
from quantlab.ui.launch import start
from quantlab.ui.page import build_page
from tests.fakes import Script, services

FAST = {"load_s": 0.1, "gap_s": 0.004}
COLUMNS = "Array.from(document.querySelectorAll('#columns .col'))"


@contextmanager
def served(script: Script, jobs: dict[str, Any] | None = None, **more: object) -> Iterator[str]:
    """The address of a running page; `jobs` are services in place of the fake ones, `more` fields of AppSettings."""
    app = AppSettings(**{"public": False, "port": 0, **more})
    page = build_page(app, replace(services(script), **(jobs or {})))
    start(page, app, block=False)
    try:
        yield page.local_url
    finally:
        page.close(verbose=False)


def open_tab(page, name: str) -> None:
    """Choose a tab; on a phone the last ones are behind the three dots."""
    page.wait_for_selector("button[role=tab]")
    tab = page.get_by_role("tab", name=name)
    if tab.count() and tab.first.is_visible():
        return tab.first.click()
    page.locator(".overflow-menu > button").click()
    return page.locator(".overflow-dropdown").get_by_text(name, exact=True).click()


def compare(page) -> None:
    """One click, until the charts are drawn."""
    page.click("#compare")
    page.wait_for_selector("#panel-tokens .js-plotly-plot >> nth=1", state="attached", timeout=60_000)
    page.wait_for_selector("#compare:not([disabled])")


def show(page, chart: str) -> None:
    """Choose a chart of the comparison: memory, time, difference or tokens."""
    page.check(f"#show-{chart}")
    page.wait_for_selector(f"#panel-{chart} .panel-head")


class Refused(Exception):
    """A component took no such value, or a handler raised."""


def ask_privately(url: str, handler: str, *values: Any) -> list[Any]:
    """What a handler of the page gives back at its end, asked over HTTP as anybody can, though no client offers it.

    Raises Refused.
    """
    config = httpx.get(f"{url}config").json()
    number = next(it["id"] for it in config["dependencies"] if it["api_name"] == handler)
    session = uuid.uuid4().hex
    asked = {"data": list(values), "fn_index": number, "session_hash": session}
    with httpx.Client(base_url=url, timeout=120) as client:
        client.post("gradio_api/queue/join", json=asked).raise_for_status()
        with client.stream("GET", "gradio_api/queue/data", params={"session_hash": session}) as told:
            for line in told.iter_lines():
                event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if event.get("msg") == "process_completed":
                    if not event["success"]:
                        raise Refused(event["output"]["error"])
                    return event["output"]["data"]
    raise AssertionError("the answer ended too soon")
