"""An opened entry of the history has an address: it outlives a reload, Back leads away from it, a link leads to it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from quantlab.history import History
from quantlab.settings import AppSettings
from quantlab.ui.common.recorded import RecordedJobs
from quantlab.ui.launch import start
from quantlab.ui.page import build_page
from tests.fakes import Script, services
from tests.ui.kept_page import COMPARISON, LATER

OPENED = "#kept-about h2"


def served(history: History, **more: object) -> Iterator[str]:
    app = AppSettings(**{"public": False, "port": 0, "history_file": history.file, **more})
    page = build_page(app, replace(services(Script(0, 0)), history=RecordedJobs(app).history))
    start(page, app, block=False)
    try:
        yield page.local_url
    finally:
        page.close(verbose=False)


@pytest.fixture
def address(history) -> Iterator[str]:
    history.keep(COMPARISON)
    history.keep(LATER)
    yield from served(history)


def opened(page, number: int) -> None:
    """Waits until an entry is open, and only it."""
    page.wait_for_selector(f"#kept-list tr.kept-opened[data-entry='{number}']")
    expect(page.locator("#kept-list tr.kept-opened")).to_have_count(1)
    expect(page.locator(OPENED)).to_be_visible()
    expect(page.locator("#kept-about")).to_contain_text({1: "Once upon a time", 2: "A lamp under the bridge"}[number])
    assert page.evaluate("location.search") == f"?entry={number}"


def led_to(page, link: str):
    page.goto(link)
    expect(page.locator("[role=tab]:has-text('History')")).to_have_attribute("aria-selected", "true")
    return page


def test_back_and_forward_go_from_entry_to_entry(open_page, address):
    page = open_page(address)
    page.click("[role=tab]:has-text('History')")
    page.click("#kept-list tr[data-entry='1'] button")
    opened(page, 1)
    page.click("#kept-list tr[data-entry='2'] button")
    opened(page, 2)
    page.go_back()
    opened(page, 1)
    page.go_back()
    expect(page.locator(OPENED)).to_be_hidden()
    assert page.evaluate("location.search") == "" and page.locator("#kept-list tr.kept-opened").count() == 0
    page.click("[role=tab]:has-text('Compare')")
    page.go_forward()
    opened(page, 1)


def test_a_reload_and_a_link_open_it_with_its_charts(open_page, address):
    page = led_to(open_page(address), f"{address}?entry=1")
    opened(page, 1)
    page.wait_for_selector("#panel-kept-memory .js-plotly-plot")
    page.reload()
    opened(page, 1)
    page.wait_for_selector("#panel-kept-memory .js-plotly-plot")
    page.click("#kept-link")
    page.wait_for_selector("#kept-status:has-text('Link copied')")
    page.click("#kept-delete")
    page.click("#kept-delete-now")
    page.wait_for_selector("#kept-status:has-text('Deleted.')")
    page.wait_for_function("location.search === ''")


@pytest.mark.parametrize(
    ("named", "said"), [("7", "has no entry 7"), ("0", "names no entry"), ("../etc", "names no entry")]
)
def test_a_link_to_nothing_says_so(open_page, address, named, said):
    page = led_to(open_page(address), f"{address}?entry={named}")
    expect(page.locator("#kept-problem .fault")).to_contain_text(said)
    expect(page.locator("#kept-problem .fault")).to_be_in_viewport(ratio=1)
    expect(page.locator(OPENED)).to_be_hidden()
    page.click("#kept-list tr[data-entry='2'] button")
    opened(page, 2)
    expect(page.locator("#kept-problem .fault")).to_be_hidden()


def test_in_public_a_link_opens_nobodys_entry(open_page, history):
    entry = history.keep(COMPARISON)
    for address in served(history, public=True):
        page = led_to(open_page(address), f"{address}?entry={entry}")
        expect(page.locator("#kept-problem .fault")).to_contain_text("Nothing is kept on this page")
        assert "Once upon a time" not in page.content()
