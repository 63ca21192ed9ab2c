"""Stop, in a real Chromium: what waits leaves the queue at once, what runs is awaited for less than a second."""

import time

import pytest
from playwright.sync_api import expect

from tests.fakes import Script
from tests.ui.pages import served

SLOW = {"load_s": 0.05, "gap_s": 0.05}


@pytest.mark.parametrize("tab", ["Compare", "Quality"])
def test_a_waiting_run_leaves_the_queue_at_once(open_page, tab):
    script = Script(**SLOW)
    with served(script) as address:
        first, second = open_page(address), open_page(address)
        first.click("#compare")
        first.wait_for_selector(".col-writing")
        second.click(f"[role=tab]:has-text('{tab}')")
        start, stop, status = {
            "Compare": ("#compare", "#stop", "#status"),
            "Quality": ("#measure", "#quality-stop", "#quality-status"),
        }[tab]
        second.click(start)
        second.wait_for_selector(f"{status}:has-text('Waiting for a free place')")
        expect(second.locator(stop)).to_be_enabled()
        second.click(stop)
        expect(second.locator(status)).to_contain_text("Left the queue", timeout=3_000)
        expect(second.locator(start)).to_be_enabled(timeout=1_000)
        assert script.running == 1, "the first run goes on"
        second.wait_for_timeout(500)
        first.click("#stop")
        first.wait_for_selector("#compare:not([disabled])")
        second.wait_for_timeout(1_000)
        assert len(script.stops) == 1 and script.running == 0, "what left the queue never ran"
        second.click(start)  # and it can be asked again
        expect(second.locator(status)).not_to_contain_text("Left the queue")
        second.wait_for_function("true")
        deadline = time.monotonic() + 10
        while len(script.stops) < 2 and time.monotonic() < deadline:
            second.wait_for_timeout(100)
        assert len(script.stops) == 2


def test_a_run_that_cannot_be_broken_off_is_awaited_for_less_than_a_second(open_page):
    script = Script(load_s=120)  # it looks at its stop event every four seconds
    with served(script) as address:
        page = open_page(address)
        page.click("#compare")
        page.wait_for_selector(".col-loading")
        begun = time.monotonic()
        page.click("#stop")
        expect(page.locator("#compare")).to_be_enabled(timeout=4_000)
        assert time.monotonic() - begun < 2.5 and script.running == 1, "a busy machine may take more than one second"
        assert "Stopped" in page.inner_text("#status")
        page.click("#compare")  # the next one waits for its turn and then has it
        page.wait_for_selector("#status:has-text('Waiting for a free place')")
        page.wait_for_function("document.querySelector('#status').innerText.startsWith('Loading')", timeout=15_000)
        assert len(script.stops) == 2 and not script.stops[1].is_set()
        page.click("#stop")


def test_stop_in_quality_ends_at_once_beside_two_other_tabs_one_busy(open_page):
    script = Script(load_s=0.1, gap_s=0.04)
    with served(script) as address:
        page = open_page(address)
        busy, idle = page.context.new_page(), page.context.new_page()  # one browser: they share its connections
        for other in (busy, idle):
            other.goto(address)
            other.wait_for_selector("#precisions input:checked")
        page.bring_to_front()
        page.click("[role=tab]:has-text('Quality')")
        page.uncheck("#quality-precisions input[name=fp4]")
        page.click("#measure")
        page.wait_for_selector(".row-measuring")
        busy.click("#compare")
        busy.wait_for_selector("#status:has-text('Waiting for a free place')")
        page.wait_for_function("document.querySelectorAll('.row-done').length === 3", timeout=60_000)
        begun = time.monotonic()
        page.click("#quality-stop")
        page.wait_for_selector("#quality-status:has-text('Stopped. What is finished stays.')", timeout=5_000)
        expect(page.locator("#measure")).to_be_enabled(timeout=1_000)
        assert time.monotonic() - begun < 2.5, "a busy machine may take more than one second"
        busy.wait_for_selector("#status:has-text('All 6 have answered')", timeout=60_000)
        page.wait_for_timeout(500)
        assert page.locator(".row-done").count() == 3 and page.locator(".row-stopped").count() == 2
        assert "Stopping" not in page.inner_text("#quality-status") and page.is_disabled("#quality-stop")
        expect(idle.locator("#compare")).to_be_enabled()
