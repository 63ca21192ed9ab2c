"""How the page is to be seen and by whom: hosts, axe, phones, light and dark."""

import re

import pytest

from tests.ui.pages import COLUMNS, compare


def test_nothing_leaves_for_another_host(compared, url):
    strangers = [address for address in compared.asked if not re.match(rf"{re.escape(url)}|data:|blob:", address)]
    assert len(compared.asked) > 10 and strangers == []


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


def test_a_screen_never_scrolls_sideways(compared):
    assert not compared.evaluate(WIDE)
    show_tables(compared)
    assert not compared.evaluate(WIDE)


def test_the_theme_switch_is_kept(open_page, url):
    page = open_page(url)
    before = page.evaluate("document.body.classList.contains('dark')")
    page.click("#theme-switch")
    assert page.evaluate("document.body.classList.contains('dark')") is not before
    page.reload()
    page.wait_for_selector("#precisions input:checked")
    assert page.evaluate("document.body.classList.contains('dark')") is not before


def test_a_figures_name_leads_to_its_definition(compared):
    compared.evaluate("document.querySelector('.definitions').open = false")
    compared.click("a.define[href='#decode_tokens_per_s'] >> nth=0")
    row = compared.locator("#definitions tr.defined")
    assert "decode_tokens_per_s" in row.inner_text()
    box, height = row.bounding_box(), compared.viewport_size["height"]
    assert 0 <= box["y"] < height
