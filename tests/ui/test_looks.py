"""How the page is to be seen and by whom: hosts, axe, phones, light and dark."""

import re

import pytest
from playwright.sync_api import expect

from quantlab.reporting.charts.registry import COMPARISON
from quantlab.settings import ASSETS
from tests.ui.pages import COLUMNS, compare


def test_nothing_leaves_for_another_host(compared, url):
    strangers = [address for address in compared.asked if not re.match(rf"{re.escape(url)}|data:|blob:", address)]
    assert len(compared.asked) > 10 and strangers == []


@pytest.mark.parametrize("key", [chart.key for chart in COMPARISON])
def test_each_chart_of_a_comparison_has_its_tab_in_the_style_sheet(key):
    css = (ASSETS / "style.css").read_text()
    assert f"#show-{key}:checked) #panel-{key}" in css, "without it the chart stands there all the time"


def grave(page) -> list:
    """What axe calls serious or critical on a page as it stands."""
    from axe_playwright_python.sync_playwright import Axe

    return [
        (entry["id"], [node["html"][:200] for node in entry["nodes"]])
        for entry in Axe().run(page).response["violations"]
        if entry["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_the_first_page(open_page, url, theme):
    page = open_page(f"{url}?__theme={theme}")
    page.click("#settings button")
    page.wait_for_timeout(300)
    assert grave(page) == []


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious_in_a_comparison(compared, dark):
    if compared.evaluate("document.body.classList.contains('dark')") is not dark:
        compared.click("#theme-switch")
    compared.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    compared.wait_for_timeout(400)
    assert grave(compared) == []


WIDE = "document.documentElement.scrollWidth > innerWidth"


def show_tables(page) -> None:
    for way in page.locator("input[value=table]").all():
        way.evaluate("input => input.click()")


def test_a_phone_never_scrolls_sideways(open_page, url):
    page = open_page(url, width=400)
    assert not page.evaluate(WIDE)
    compare(page)
    assert not page.evaluate(WIDE)
    lefts = set(page.evaluate(f"{COLUMNS}.map(c => Math.round(c.getBoundingClientRect().left))"))
    assert len(lefts) == 1, "the columns do not stack"
    show_tables(page)
    assert not page.evaluate(WIDE)


CUT_TEXTS = """
Array.from(document.querySelectorAll('.js-plotly-plot')).flatMap(plot => {
    const frame = plot.getBoundingClientRect();
    return Array.from(plot.querySelectorAll('text')).filter(text => {
        const box = text.getBoundingClientRect();
        return box.width && (box.left < frame.left - 1 || box.right > frame.right + 1
            || box.top < frame.top - 1 || box.bottom > frame.bottom + 1);
    }).map(text => text.textContent);
})
"""
OVERLAPS = """
Array.from(document.querySelectorAll('.js-plotly-plot :is(.yaxislayer-above, .xaxislayer-above)')).flatMap(layer => {
    const boxes = Array.from(layer.querySelectorAll("text")).map(e => [e.textContent, e.getBoundingClientRect()]);
    return boxes.flatMap(([name, a], i) => boxes.slice(i + 1).filter(([, b]) =>
        a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
        .map(([other]) => name + ' | ' + other));
})
"""
LONG = "someone/TinyLlama-1.1B-Chat-v1.0-intermediate-step-1431k-3T-GPTQ"


@pytest.mark.parametrize("width", [400, 1_280])
def test_charts_cut_no_text_and_run_none_together(open_page, url, width):
    page = open_page(f"{url}?precisions=fp32,{LONG}&reference=most+precise", width=width)
    page.wait_for_function("document.querySelectorAll('#precisions input:checked').length === 2")
    compare(page)
    page.wait_for_timeout(800)
    assert page.evaluate(CUT_TEXTS) == [] and page.evaluate(OVERLAPS) == []


def test_on_a_phone_a_token_of_the_heat_map_can_be_seen_and_met(open_page, url):
    page = open_page(url, width=400)
    compare(page)
    page.wait_for_timeout(500)
    heat = "document.querySelector('#panel-tokens .js-plotly-plot')"
    cell = page.evaluate(f"{heat}._fullLayout._size.w / {heat}._fullData[0].x.length")
    panel = page.locator("#panel-tokens .as-chart").first
    assert cell >= 8 and panel.evaluate("e => { e.scrollLeft = 200; return e.scrollLeft; }") == 200


def test_a_screen_never_scrolls_sideways(compared):
    assert not compared.evaluate(WIDE)
    show_tables(compared)
    assert not compared.evaluate(WIDE)


def test_the_theme_switch_is_kept(open_page, url):
    page = open_page(url)
    before = page.evaluate("document.body.classList.contains('dark')")
    page.click("#theme-switch")
    page.wait_for_function(f"document.body.classList.contains('dark') !== {str(before).lower()}")
    page.reload()
    page.wait_for_function(f"document.body.classList.contains('dark') !== {str(before).lower()}")


def test_a_figures_name_leads_to_its_definition(compared):
    compared.evaluate("document.querySelector('.definitions').open = false")
    compared.click("a.define[href='#decode_tokens_per_s'] >> nth=0")
    row = compared.locator("#definitions tr.defined")
    expect(row).to_contain_text("decode_tokens_per_s", use_inner_text=True)
    expect(row).to_be_in_viewport(ratio=1)
