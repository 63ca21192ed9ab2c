"""The page by keyboard alone, in a real Chromium."""

import itertools

from playwright.sync_api import expect

from tests.fakes import Script
from tests.ui.pages import served


def test_ctrl_enter_compares_and_escape_stops(open_page):
    with served(Script(load_s=0.05, gap_s=0.1)) as address:
        page = open_page(address)
        page.focus("#prompt textarea")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector(".col-writing")
        assert page.input_value("#prompt textarea").endswith("Corsa."), "no line was added to the prompt"
        page.keyboard.press("Escape")
        page.wait_for_selector("#status:has-text('Stopped')")
        expect(page.locator("#compare")).to_be_enabled()


def test_the_list_of_models_closes_when_the_focus_goes_on(open_page, url):
    page = open_page(url)
    page.click("#model input")
    page.wait_for_selector("[role=option]")
    page.keyboard.press("Tab")
    expect(page.locator("[role=option]").first).to_be_hidden()
    assert page.input_value("#model input") == "demo"


def test_escape_closes_an_open_list_and_stops_nothing(open_page):
    with served(Script(load_s=0.05, gap_s=0.1)) as address:
        page = open_page(address)
        page.click("#compare")
        page.wait_for_selector(".col-writing")
        page.click("#model input")
        page.wait_for_selector("[role=option]")
        page.keyboard.press("Escape")
        page.wait_for_timeout(500)
        assert page.is_enabled("#stop") and "Writing" in page.inner_text("#status")


def test_the_focus_goes_as_the_eye_does(open_page, url):
    page = open_page(url)
    order = ["#rail-fold", "#model input", "#precisions input[name=fp32]", "#settings button", "#prompt textarea"]
    order += ["#compare", "#copy-link"]
    places = [page.locator(name).first.element_handle() for name in order]
    follows = "([a, b]) => Boolean(a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING)"
    assert all(page.evaluate(follows, list(pair)) for pair in itertools.pairwise(places))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"


def test_who_wants_no_motion_gets_none(open_page, url):
    page = open_page(url, reduced_motion="reduce")
    slow = "getComputedStyle(document.querySelector('#compare')).transitionDuration.split(',').map(parseFloat)"
    assert max(page.evaluate(slow)) <= 0.001
