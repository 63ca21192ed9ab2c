"""Whoever waits is told how many are before, by the queue that the server keeps."""

from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from quantlab.ui.common import place
from tests.fakes import Script
from tests.ui.pages import served

PLACE = ".queue-place:visible"


def page_with(running: int, *sessions: str) -> SimpleNamespace:
    queue = SimpleNamespace(current_concurrency=running, queue=[SimpleNamespace(session_hash=it) for it in sessions])
    return SimpleNamespace(_queue=SimpleNamespace(event_queue_per_concurrency_id={"gpu": queue}))


@pytest.mark.parametrize(
    ("sessions", "session", "told"),
    [
        (("a",), "a", "Yours is next."),
        (("b", "a"), "a", "1 runs now, 1 waits before yours."),
        (("b", "c", "a", "d"), "a", "1 runs now, 2 wait before yours."),
        (("b",), "a", ""),
        ((), "a", ""),
        (("a", "b", "a"), "a", ""),  # two of one page: which of them is meant is not known
    ],
)
def test_the_place_is_told_in_words(sessions, session, told):
    assert place.said(page_with(1, *sessions), session) == told


def test_between_two_runs_nobody_runs():
    assert place.said(page_with(0, "b", "a"), "a") == "1 waits before yours."


def test_whoever_waits_sees_the_place_and_sees_it_change(open_page):
    with served(Script(load_s=0.05, gap_s=0.1)) as address:
        first, second, third = (open_page(address) for _ in range(3))
        first.click("#compare")
        first.wait_for_selector(".col-writing")
        second.click("#compare")
        expect(second.locator("#status")).to_contain_text("Yours is next.", timeout=10_000)
        third.click("[role=tab]:has-text('Quality')")
        third.click("#measure")
        expect(third.locator("#quality-status")).to_contain_text("1 runs now, 1 waits before yours.", timeout=10_000)
        second.click("#stop")
        expect(second.locator("#status")).to_contain_text("Left the queue")
        expect(third.locator("#quality-status")).to_contain_text("Yours is next.", timeout=10_000)
        first.click("#stop")
        expect(third.locator(PLACE)).to_have_count(0, timeout=10_000)
        third.click("#quality-stop")
        third.wait_for_selector("#measure:not([disabled])")


def test_a_claim_that_waits_is_told_too(open_page):
    with served(Script(load_s=0.05, gap_s=0.1)) as address:
        first, second = open_page(address), open_page(address)
        first.click("#compare")
        first.wait_for_selector(".col-writing")
        second.click("[role=tab]:has-text('Claims')")
        second.click("#claims-start")
        expect(second.locator("#claims-status")).to_contain_text("Yours is next.", timeout=10_000)
        first.click("#stop")
