"""Whoever waits is told the place, in every tab, and sees it change."""

import pytest
from playwright.sync_api import expect

from quantlab.ui.turns.turns import Turns
from tests.fakes import Script
from tests.ui.pages import served

PLACE = ".queue-place:visible"
SLOW = {"load_s": 0.05, "gap_s": 0.1}


def start_quality(page):
    page.click("[role=tab]:has-text('Quality')")
    page.click("#measure")


def test_whoever_waits_sees_the_place_and_sees_it_change(open_page):
    with served(Script(**SLOW)) as address:
        first, second, third = (open_page(address) for _ in range(3))
        first.click("#compare")
        first.wait_for_selector(".col-writing")
        second.click("#compare")
        expect(second.locator("#status")).to_contain_text("Yours is next.", timeout=10_000)
        start_quality(third)
        expect(third.locator("#quality-status")).to_contain_text("Place 2 of 2.", timeout=10_000)
        second.click("#stop")
        expect(second.locator("#status")).to_contain_text("Left the queue")
        expect(third.locator("#quality-status")).to_contain_text("Yours is next.", timeout=10_000)
        first.click("#stop")
        expect(third.locator(PLACE)).to_have_count(0, timeout=10_000)
        third.click("#quality-stop")
        third.wait_for_selector("#measure:not([disabled])")


def test_a_page_with_two_runs_that_wait_tells_the_place_of_each(open_page):
    with served(Script(**SLOW)) as address:
        first, second = open_page(address), open_page(address)
        first.click("#compare")
        first.wait_for_selector(".col-writing")
        second.click("#compare")
        expect(second.locator("#status")).to_contain_text("Yours is next.", timeout=10_000)
        start_quality(second)
        expect(second.locator("#quality-status")).to_contain_text("Place 2 of 2.", timeout=10_000)
        second.click("[role=tab]:has-text('Compare')")
        expect(second.locator("#status")).to_contain_text("Yours is next.")
        first.click("#stop")
        second.wait_for_selector(".col-writing")


@pytest.mark.parametrize("tab", ["Claims", "Inside"])
def test_other_work_that_waits_is_told_too(open_page, tab):
    start, status = {
        "Claims": ("#claims-start", "#claims-status"),
        "Inside": ("#inside-read", "#inside-outlier-problem"),
    }[tab]
    with served(Script(**SLOW)) as address:
        first, second = open_page(address), open_page(address)
        first.click("#compare")
        first.wait_for_selector(".col-writing")
        second.click(f"[role=tab]:has-text('{tab}')")
        if tab == "Inside":
            second.click("#inside-outliers button")
        second.click(start)
        expect(second.locator(status)).to_contain_text("Yours is next.", timeout=10_000)
        first.click("#stop")
        expect(second.locator(status)).not_to_contain_text("Waiting", timeout=10_000)


def test_a_page_that_is_closed_frees_its_place_and_then_the_machine(open_page):
    script, turns = Script(**SLOW), Turns()
    with served(script, {"turns": turns}) as address:
        first, second, third = (open_page(address) for _ in range(3))
        first.click("#compare")
        first.wait_for_selector(".col-writing")
        second.click("#compare")
        expect(second.locator("#status")).to_contain_text("Yours is next.", timeout=10_000)
        third.click("#compare")
        expect(third.locator("#status")).to_contain_text("Place 2 of 2.", timeout=10_000)
        second.close()
        expect(third.locator("#status")).to_contain_text("Yours is next.", timeout=10_000)
        first.close()
        third.wait_for_selector(".col-writing, .col-loading", timeout=10_000)
        assert turns.traffic().left == 1 and script.running == 1
