"""From tab to tab, in a real Chromium: quality takes over what was chosen, and gives it back."""

from playwright.sync_api import expect

from quantlab.fidelity import tasks
from tests.ui.pages import compare

TICKED = "Array.from(document.querySelectorAll('{} input:checked')).map(e => e.name)"


def test_quality_takes_over_the_choice_and_keeps_what_is_changed_there(open_page, url):
    page = open_page(url)
    page.uncheck("#precisions input[name=fp32]")
    page.uncheck("#precisions input[name=nf4]")
    compare(page)
    page.click("#to-quality")
    page.wait_for_function(f"{TICKED.format('#quality-precisions')}.length === 4")
    assert page.evaluate(TICKED.format("#quality-precisions")) == ["bf16", "int8", "nf4-dq", "fp4"]
    page.uncheck("#quality-precisions input[name=fp4]")
    page.click("[role=tab]:has-text('Compare')")
    page.click("[role=tab]:has-text('Quality')")
    page.wait_for_timeout(800)
    assert page.evaluate(TICKED.format("#quality-precisions")) == ["bf16", "int8", "nf4-dq"]


def test_a_folded_rail_says_what_was_taken_over(open_page, url):
    page = open_page(url)
    page.uncheck("#precisions input[name=fp32]")
    page.click("#rail-fold")
    page.click("[role=tab]:has-text('Quality')")
    expect(page.locator("#quality-rail-fold")).to_contain_text("demo, 5 ticked")
    expect(page.locator("#quality-precisions")).to_be_hidden()
    assert page.get_attribute("#quality-rail-fold", "aria-expanded") == "false"


def test_text_and_tasks_suit_the_model(open_page, url):
    page = open_page(url)
    page.fill("#add-spec input, #add-spec textarea", "someone/model-GPTQ")
    page.click("#add-button")
    page.wait_for_selector("#added:has-text('in the list')")
    page.click("[role=tab]:has-text('Quality')")
    expect(page.locator("#quality-precisions input[name='someone/model-GPTQ']")).to_be_attached()
    expect(page.locator("#quality-tasks input")).to_have_count(len(tasks.task_names()))
    page.fill("#quality-model input", "someone/other")
    page.keyboard.press("Enter")
    expect(page.locator("#quality-source input[value=english]")).to_be_checked()
    expect(page.locator("#quality-tasks input")).to_have_count(0)


def test_what_was_measured_can_be_asked(open_page, url):
    page = open_page(url)
    page.click("[role=tab]:has-text('Quality')")
    page.uncheck("#quality-precisions input[name=int8]")
    page.fill("#quality-windows input[type=number]", "2")
    page.click("#measure")
    page.wait_for_selector("#ask-these", timeout=60_000)
    page.click("#ask-these")
    expect(page.locator("#compare")).to_be_visible()
    page.wait_for_function(f"!{TICKED.format('#precisions')}.includes('int8')")
    assert page.evaluate(TICKED.format("#precisions")) == ["fp32", "bf16", "nf4", "nf4-dq", "fp4"]
