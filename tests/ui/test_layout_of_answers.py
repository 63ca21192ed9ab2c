"""Answers come first: where they stand on a screen, which chart is shown, and what takes them along."""

import ast
import json
import re

import pytest
from playwright.sync_api import expect

from tests.ui.pages import compare, show

SCREENS = [(1_360, 900), (400, 800)]


@pytest.mark.parametrize("size", SCREENS)
def test_the_first_answer_is_in_sight_after_compare(open_page, url, size):
    page = open_page(url, width=size[0])
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.click("#compare")
    first = page.locator("#columns .col >> nth=0")
    expect(first.locator("h3")).to_be_in_viewport(ratio=1)
    expect(first.locator(".answer")).to_be_in_viewport(ratio=0.9)
    page.wait_for_selector("#compare:not([disabled])")
    expect(first.locator(".answer")).to_be_in_viewport(ratio=0.9)


def test_six_columns_with_a_chart_are_no_longer_than_three_screens(open_page, url):
    page = open_page(url, width=1_360)
    page.set_viewport_size({"width": 1_360, "height": 900})
    compare(page)
    assert page.locator(".col-done").count() == 6
    for chart in ("memory", "time", "difference", "tokens"):
        show(page, chart)
        assert page.evaluate("document.documentElement.scrollHeight") < 2_400
        assert page.locator(f"#panel-{chart}").bounding_box()["height"] <= 900
        inside = page.locator(f"#panel-{chart} .as-chart").all()
        assert all(it.evaluate("e => e.scrollHeight <= e.clientHeight + 1") for it in inside), "scrolls in itself"


@pytest.mark.parametrize("size", SCREENS)
def test_what_went_wrong_is_in_sight_under_the_button(open_page, url, size):
    page = open_page(url, width=size[0])
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.fill("#prompt textarea", "")
    page.click("#compare")
    expect(page.locator("#problem .fault")).to_be_in_viewport(ratio=1)
    expect(page.locator("#compare")).to_be_in_viewport()


@pytest.mark.parametrize("size", SCREENS)
def test_the_first_figures_are_in_sight_after_measure(open_page, url, size):
    page = open_page(url, width=size[0])
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.click("[role=tab]:has-text('Quality')")
    page.fill("#quality-windows input[type=number]", "2")
    page.click("#measure")
    first = page.locator(".quality-table tbody tr >> nth=0")
    expect(first).to_be_in_viewport(ratio=0.3 if size[0] < 900 else 1)
    expect(page.locator("#measure")).to_be_in_viewport(ratio=1)
    page.wait_for_selector("#measure:not([disabled])", timeout=60_000)
    expect(first).to_be_in_viewport(ratio=0.3 if size[0] < 900 else 1)
    assert size[0] > 900 or page.is_hidden("#quality-precisions"), "the rail makes room on a phone"


def test_what_went_wrong_in_quality_is_in_sight_under_the_button(open_page, url):
    page = open_page(url, width=400)
    page.set_viewport_size({"width": 400, "height": 800})
    page.click("[role=tab]:has-text('Quality')")
    for name in ("fp32", "bf16", "int8", "nf4", "nf4-dq", "fp4"):
        page.uncheck(f"#quality-precisions input[name='{name}']")
    page.click("#measure")
    expect(page.locator("#quality-problem .fault")).to_be_in_viewport(ratio=1)
    expect(page.locator("#measure")).to_be_in_viewport()


def test_quality_has_the_rail_of_compare(open_page, url):
    page = open_page(url, width=1_360)
    boxes = {}
    for tab, before in (("Compare", ""), ("Quality", "quality-")):
        page.click(f"[role=tab]:has-text('{tab}')")
        expect(page.locator(f"#{before}rail")).to_be_visible()
        found = (f"#{before}{name}" for name in ("rail", "rail-fold", "model", "precisions"))
        boxes[tab] = [page.locator(it).bounding_box() for it in found]
    for ours, theirs in zip(*boxes.values(), strict=True):
        assert [round(ours[it]) for it in ("x", "y", "width")] == [round(theirs[it]) for it in ("x", "y", "width")]
    before = page.locator("#quality-ask").bounding_box()["width"]
    page.click("#quality-rail-fold")
    expect(page.locator("#quality-precisions")).to_be_hidden()
    assert page.locator("#quality-ask").bounding_box()["width"] > before + 300


def test_a_file_is_opened_from_the_rail_of_quality(open_page, url, tmp_path):
    file = tmp_path / "small.gguf"
    file.write_bytes(b"GGUF")
    page = open_page(url, width=1_360)
    page.click("[role=tab]:has-text('Quality')")
    page.click("#quality-open-file button")
    page.set_input_files("#quality-model-file input[type=file]", str(file))
    expect(page.locator("#quality-model input")).to_have_value(re.compile(r"small\.gguf$"))
    expect(page.locator("#quality-about")).to_contain_text("A GGUF file")


def test_the_rail_folds_away_and_says_what_is_chosen(open_page, url):
    page = open_page(url, width=1_360)
    before = page.locator("#prompt").bounding_box()["width"]
    page.click("#rail-fold")
    expect(page.locator("#precisions")).to_be_hidden()
    assert page.get_attribute("#rail-fold", "aria-expanded") == "false"
    assert "demo, 6 ticked" in page.inner_text("#rail-fold")
    assert page.locator("#prompt").bounding_box()["width"] > before + 300
    page.click("#rail-fold")
    expect(page.locator("#precisions")).to_be_visible()


def test_one_chart_is_shown_and_the_choice_outlives_a_run(open_page, url):
    page = open_page(url, width=1_360)
    compare(page)
    expect(page.locator("#panel-memory .js-plotly-plot")).to_be_visible()
    show(page, "difference")
    expect(page.locator("#panel-difference .js-plotly-plot")).to_be_visible()
    expect(page.locator("#panel-memory .js-plotly-plot")).to_be_hidden()
    compare(page)
    expect(page.locator("#panel-difference .js-plotly-plot")).to_be_visible()
    assert page.is_checked("#show-difference")


def test_a_chart_that_one_column_does_not_have_is_not_offered(open_page, url):
    page = open_page(url, width=1_360)
    compare(page)
    show(page, "tokens")
    for name in ("bf16", "int8", "nf4", "nf4-dq", "fp4"):
        page.uncheck(f"#precisions input[name='{name}']")
    page.click("#compare")
    page.wait_for_selector("#status:has-text('All 1 have answered')")
    expect(page.locator("#panel-memory .js-plotly-plot")).to_be_visible()
    expect(page.locator("label[for=show-tokens]")).to_be_hidden()


def test_the_results_can_be_taken_along(open_page, url):
    page = open_page(url, width=1_360)
    expect(page.locator("#result-json")).to_be_hidden()
    compare(page)
    with page.expect_download() as coming:
        page.click("#result-json")
    found = json.loads(coming.value.path().read_text())
    assert coming.value.suggested_filename.startswith("quantlab-comparison-demo-")
    assert [run["precision"] for run in found["runs"]] == ["fp32", "bf16", "int8", "nf4", "nf4-dq", "fp4"]
    page.click("#result-link")
    page.wait_for_selector("#status:has-text('Link copied')")


def test_the_code_of_a_comparison_is_copied_and_can_be_read(open_page, url):
    page = open_page(url, width=1_360)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    compare(page)
    expect(page.locator("#code-shown details")).to_have_count(0)
    page.click("#result-code")
    page.wait_for_selector("#status:has-text('Code copied')")
    page.click("#code-shown summary")
    shown = page.locator("#code-shown pre").text_content()
    ast.parse(shown)
    assert all(f'answers["{name}"]' in shown for name in ("fp32", "bf16", "int8", "nf4", "nf4-dq", "fp4"))
    page.wait_for_function(
        "code => navigator.clipboard.readText().then(text => text.trim() === code.trim())", arg=shown
    )
    expect(page.locator("#code-shown pre")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("#compare")
    expect(page.locator("#code-shown details")).to_have_count(0)


def test_a_line_a_column_and_one_sentence_say_what_was_found(compared):
    lines = [line.inner_text() for line in compared.locator(".col .verdict").all()]
    assert len(lines) == 5 and lines[0].startswith("0.57× memory") and "within the noise floor" in lines[0]
    assert "same words until token 18" in lines[4]
    assert compared.inner_text("#verdict").startswith("Take nf4-dq: the smallest that stays close to fp32")
