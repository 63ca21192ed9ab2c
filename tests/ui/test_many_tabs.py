"""Several tabs of one browser, which keeps only six connections to a server: three that work take them all."""

from playwright.sync_api import expect

from quantlab.ui.scripts import BUSY_TABS
from tests.fakes import Script
from tests.ui.pages import served

SLOW = {"load_s": 0.05, "gap_s": 0.1}


def test_tabs_say_that_a_further_one_will_wait(browser):
    with served(Script(**SLOW)) as address, browser.new_context() as context:
        pages = [context.new_page() for _ in range(BUSY_TABS)]
        for page in pages:
            page.goto(address)
            page.wait_for_selector("#precisions input:checked")
        for page in pages[:-1]:
            page.click("#compare")
            expect(page.locator("#stop")).to_be_enabled()
        pages[0].wait_for_timeout(2_500)
        assert [page.inner_text("#busy-tabs") for page in pages] == [""] * BUSY_TABS
        pages[-1].click("#compare")
        for page in pages:
            expect(page.locator("#busy-tabs")).to_contain_text(f"{BUSY_TABS} tabs of this page are working")
        pages[-1].close()
        for page in pages[:-1]:
            expect(page.locator("#busy-tabs")).to_be_empty()
            page.click("#stop")
