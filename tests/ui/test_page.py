"""What the page does, in a real Chromium on the fake services."""

import time
from collections.abc import Callable
from contextlib import contextmanager

from playwright.sync_api import expect

from tests.fakes import Script
from tests.ui.pages import COLUMNS, FAST, compare, served

DRAWN = "Array.from(document.querySelectorAll('.js-plotly-plot')).map(p => p._fullData.map(t => t.type))"


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.05)


@contextmanager
def opened_on(script: Script, open_page, query: str = "", **more):
    with served(script, **more) as address:
        yield open_page(address + query)


def test_the_first_page_says_what_to_do(open_page, url):
    page = open_page(url)
    assert page.locator("h1").count() == 1 and page.is_visible("text=Press Compare.")
    assert page.is_enabled("#compare") and page.is_disabled("#stop")
    assert page.input_value("#prompt textarea") and page.locator("#precisions input:checked").count() == 6


def test_one_click_gives_the_first_comparison(compared):
    page = compared
    assert page.evaluate(f"{COLUMNS}.map(c => c.querySelector('h3').innerText)") == [
        "fp32", "bf16", "int8", "nf4", "nf4-dq", "fp4",
    ]  # fmt: skip
    assert page.locator(".col.col-done").count() == 6 and page.locator(".badge").count() == 1
    assert "All 6 have answered." in page.inner_text("#status")
    assert page.locator(".col >> nth=3 >> ins").count() > 0 and not page.is_visible("text=Press Compare.")


def test_each_chart_is_drawn_as_it_is_meant(compared):
    drawn = compared.evaluate(DRAWN)
    assert [set(types) for types in drawn] == [
        {"bar", "scatter"}, {"bar", "box", "scatter"}, {"bar"}, {"heatmap", "scatter"}, {"scatter"},
    ]  # fmt: skip


def test_a_chart_changes_into_its_table_and_back(compared):
    page = compared
    plot, table = page.locator("#panel-memory .js-plotly-plot"), page.locator("#panel-memory table")
    assert plot.is_visible() and not table.is_visible()
    page.locator("#panel-memory .switch input").nth(1).focus()
    page.keyboard.press("Space")
    table.wait_for(state="visible")
    assert not plot.is_visible() and "7.00 MB" in table.inner_text()
    page.locator("#panel-memory .switch input").nth(0).check()
    plot.wait_for(state="visible")


def test_stop_works_at_once_and_keeps_the_text(open_page):
    script = Script(load_s=0.05, gap_s=0.15)
    with opened_on(script, open_page) as page:
        page.click("#compare")
        page.wait_for_selector(".col-writing")
        until(lambda: script.written > 3)
        page.click("#stop")
        until(lambda: script.running == 0, seconds=3)
        page.wait_for_selector("#compare:not([disabled])", timeout=5_000)
        assert script.written < 30 and "Stopped" in page.inner_text("#status")
        assert page.inner_text(".col >> nth=0 >> .answer").startswith("Mira Toll")
        assert page.is_disabled("#stop")


def test_a_closed_tab_stops_the_model(open_page):
    script = Script(load_s=0.05, gap_s=0.15)
    with opened_on(script, open_page) as page:
        page.click("#compare")
        page.wait_for_selector(".col-writing")
        page.context.close()
        until(lambda: script.running == 0 and script.stops[-1].is_set(), seconds=6)
        assert script.written < 60


def test_a_second_visitor_waits_and_may_give_up(open_page):
    script = Script(load_s=0.05, gap_s=0.05)
    with served(script) as address:
        first, second = open_page(address), open_page(address)
        first.click("#compare")
        first.wait_for_selector(".col-writing")
        second.click("#compare")
        second.wait_for_selector("#status:has-text('Waiting for a free place')")
        assert script.running == 1 and len(script.stops) == 1
        second.click("#stop")
        first.click("#stop")
        second.wait_for_selector("#compare:not([disabled])", timeout=10_000)
        assert len(script.stops) == 1


def test_a_failed_variant_is_a_card_and_the_others_go_on(open_page):
    with opened_on(Script(**FAST, failing=("nf4",)), open_page) as page:
        compare(page)
        card = page.inner_text(".col-failed")
        assert "nf4 does not fit" in card and "Choose one with fewer bits." in card
        assert page.locator(".col-done").count() == 5 and "5 of 6" in page.inner_text("#status")


def test_an_error_of_ours_says_no_more_than_that(open_page):
    with opened_on(Script(**FAST, crash=RuntimeError("/secret/path")), open_page) as page:
        page.fill("#prompt textarea", "My own words.")
        page.click("#compare")
        page.wait_for_selector("#problem .fault")
        assert "Something went wrong on our side" in page.inner_text("#problem")
        assert "/secret/path" not in page.content()
        assert page.input_value("#prompt textarea") == "My own words."


def test_an_empty_prompt_is_told_and_nothing_is_lost(open_page, url):
    page = open_page(url)
    page.fill("#prompt textarea", "")
    page.locator("#precisions input[name=fp4]").uncheck()
    page.click("#compare")
    page.wait_for_selector("#problem .fault")
    assert "The prompt is empty." in page.inner_text("#problem")
    assert page.locator("#precisions input:checked").count() == 5
    page.click("#examples button:has-text('Sum')")
    page.wait_for_function("document.querySelector('#prompt textarea')?.value.includes('27 + 45')")


def test_the_ticks_stop_at_the_limit(open_page, url):
    page = open_page(url)
    page.click(".pick-group[data-group='Round to nearest'] summary")
    box = page.locator("#precisions input[name='rtn-3']")
    expect(box).to_be_disabled()
    page.locator("#precisions input[name=fp4]").uncheck()
    expect(page.locator("#precisions")).to_contain_text("5 of at most 6", use_inner_text=True)
    expect(box).to_be_enabled()
    box.focus()
    page.keyboard.press("Space")
    expect(box).to_be_checked()
    expect(box).to_be_focused()
    expect(page.locator("#precisions input[name='gptq-4']")).to_be_disabled()
    summary = page.locator(".pick-group[data-group='Round to nearest'] summary")
    expect(summary).to_contain_text("1 ticked", use_inner_text=True)


def test_choosing_a_model_brings_its_estimates(open_page, url):
    page = open_page(url)
    page.click("#model input")
    page.click("[role=option]:has-text('shape:bench-100m')")
    page.wait_for_selector("#about:has-text('meaningless')")
    page.wait_for_function("document.querySelector('#prompt textarea')?.value.includes('lighthouse keeper')")
    page.wait_for_selector("#precisions:has-text('350 MB')")
    page.fill("#model input", "nobody/nothing")
    page.keyboard.press("Enter")
    page.wait_for_selector("#problem:has-text('nobody/nothing')")


def test_random_weights_are_told_over_a_column_alone(open_page, url):
    page = open_page(f"{url}?model=shape%3Abench-100m&precisions=nf4")
    page.wait_for_function("document.querySelectorAll('#precisions input:checked').length === 1")
    page.click("#compare")
    page.wait_for_selector(".col-done")
    page.wait_for_selector("#legend .caution:has-text('weights are random')")


QUERY = "?model=shape%3Abench-100m&precisions=nf4,rtn-3&prompt=A+link.&max_new_tokens=12&sample=1&seed=7&reference=nf4"


def test_a_link_restores_the_choice_and_the_page_makes_one(open_page, url):
    page = open_page(url + QUERY)
    page.wait_for_function("document.querySelector('#prompt textarea')?.value === 'A link.'")
    assert page.input_value("#model input") == "shape:bench-100m"
    page.wait_for_timeout(700)
    ticked = "Array.from(document.querySelectorAll('#precisions input:checked')).map(e => e.name)"
    assert page.evaluate(ticked) == ["nf4", "rtn-3"]
    page.click("#copy-link")
    page.wait_for_selector("#status:has-text('Link copied')")
    page.wait_for_function("location.search.includes('seed=7')")
    again = open_page(page.url)
    again.wait_for_function("document.querySelector('#prompt textarea')?.value === 'A link.'")
    assert again.evaluate(ticked) == ["nf4", "rtn-3"]
    assert "reference=nf4" in again.url and "sample=1" in again.url


def test_a_hostile_link_does_nothing(open_page, url):
    evil = "%3Cimg%20src%3Dx%20onerror%3Dwindow.hit%3D1%3E"
    page = open_page(f"{url}?model=/etc&precisions={evil}&prompt={evil}&max_new_tokens=999999&seed=-1&race=9")
    page.wait_for_function("document.querySelector('#prompt textarea')?.value.startsWith('<img')")
    assert page.input_value("#model input") == "demo" and page.locator("#precisions input:checked").count() == 6
    page.wait_for_selector("#problem:has-text(\"The link’s model '/etc' was left out\")")
    compare(page)
    page.click(".prompt-tokens summary")
    assert page.evaluate("window.hit") is None and page.locator("#prompt-tokens img").count() == 0


def test_columns_keep_their_places_while_they_stream(open_page):
    with opened_on(Script(load_s=0.2, gap_s=0.02), open_page) as page:
        page.click("#compare")
        page.wait_for_selector(".col >> nth=5")
        tops = f"{COLUMNS}.map(c => Math.round(c.getBoundingClientRect().top + scrollY))"
        page.wait_for_timeout(400)
        first, seen = page.evaluate(tops), set()
        while not page.locator(".col-done >> nth=2").count():
            seen.add(tuple(page.evaluate(tops)))
            page.wait_for_timeout(50)
        assert seen == {tuple(first)}
