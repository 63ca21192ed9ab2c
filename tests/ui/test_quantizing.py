"""What the page does with published checkpoints, calibration and saving, in a real Chromium on the fake services."""

import pytest
from gradio_client import Client

from quantlab.settings import AppSettings
from quantlab.ui.choice import FIELDS, Choice
from quantlab.ui.save_panel import SaveHandlers, SavePanel
from tests.fakes import Script, services
from tests.ui.pages import FAST, compare, served

TICKED = "Array.from(document.querySelectorAll('#precisions input:checked')).map(e => e.name)"
SPEC = "someone/TinyLlama-1.1B-Chat-v1.0-GPTQ"
ADD = "#add-spec :is(input, textarea)"


def add(page, spec: str) -> None:
    page.fill(ADD, spec)
    page.press(ADD, "Enter")


def test_groups_fold_and_are_worked_by_keyboard(open_page, url):
    page = open_page(url)
    box = page.locator("#precisions input[name=q4_k_m]")
    assert not box.is_visible() and "q4_k_m" in page.inner_text("[data-group='GGUF (llama.cpp)'] summary")
    page.locator("#precisions input[name=fp4]").uncheck()
    page.focus("[data-group='GGUF (llama.cpp)'] summary")
    page.keyboard.press("Enter")
    box.focus()
    page.keyboard.press("Space")
    assert box.is_checked() and "6 of at most 6" in page.inner_text("#precisions")
    page.focus("[data-group='GGUF (llama.cpp)'] summary")
    page.keyboard.press("Enter")
    assert not box.is_visible() and "1 ticked" in page.inner_text("[data-group='GGUF (llama.cpp)'] summary")


def test_a_summary_that_is_cut_is_whole_for_the_keyboard(open_page, url):
    page = open_page(url, width=1_000)
    page.locator("#precisions input[name=nf4]").uncheck()
    page.click("[data-group='Round to nearest'] summary")
    row = page.locator("label.pick", has=page.locator("input[name='rtn-3']"))
    cut = "e => { const a = e.querySelector('.pick-about'); return a.scrollWidth > a.clientWidth; }"
    assert row.evaluate(cut)
    page.locator("#precisions input[name='rtn-4']").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "rtn-3" and not row.evaluate(cut)


def test_a_published_checkpoint_is_added_ticked_compared_and_kept(open_page, url):
    page = open_page(f"{url}?precisions=fp32,nf4")
    page.wait_for_function(f"{TICKED}.length === 2")
    add(page, SPEC)
    page.wait_for_selector("#added:has-text('in the list and ticked')")
    assert page.evaluate(TICKED) == ["fp32", "nf4", SPEC] and page.input_value(ADD) == ""
    assert page.locator(f"input[data-spec='{SPEC}']").is_visible()
    compare(page)
    heads = page.locator(".col h3").all_inner_texts()
    assert heads == ["fp32", "nf4", "TinyLlama-1.1B-Chat-v1.0-GPTQ"]
    assert "read from disk in 100 ms; quantizing had taken 5.20 s" in page.inner_text(".col >> nth=2")
    assert "TinyLlama-1.1B-Chat-v1.0-GPTQ" in page.content() and SPEC in page.evaluate("decodeURIComponent(location)")
    page.click("#model input")
    page.click("[role=option]:has-text('shape:bench-100m')")
    page.wait_for_selector("#precisions:has-text('350 MB')")
    assert page.evaluate(TICKED) == ["fp32", "nf4", SPEC]
    page.reload()
    page.wait_for_function(f"{TICKED}.includes('{SPEC}')")


def test_what_cannot_be_added_is_told_beside_the_control(open_page, url):
    page = open_page(url)
    add(page, "/models/nothing")
    page.wait_for_selector("#added:has-text('There is no folder')")
    assert page.input_value(ADD) == "/models/nothing" and page.locator("#problem .fault").count() == 0
    add(page, " ")
    page.wait_for_selector("#added:has-text('Nothing was typed')")
    add(page, SPEC)
    page.wait_for_selector("#added:has-text('Untick another one')")
    assert page.locator("#precisions input:checked").count() == 6
    add(page, "someone/model-awq")
    page.wait_for_selector("#added:has-text('cannot be ticked')")
    assert page.locator("input[data-spec='someone/model-awq']").is_disabled()


def test_calibration_and_kernel_reach_the_comparison(open_page, tmp_path):
    script, text = Script(**FAST), tmp_path / "own.txt"
    text.write_text("Words of my own to calibrate with. " * 100)
    with served(script) as address:
        page = open_page(address)
        page.click("#settings button")
        page.get_by_label("Samples").fill("16")
        page.get_by_label("Window, tokens").fill("64")
        page.set_input_files("#calibration-file input[type=file]", text)
        page.wait_for_selector("#calibration-file:has-text('own')")
        page.fill("#kernel input", "torch")
        page.press("#kernel input", "Enter")
        compare(page)
        asked = script.settings[-1]
        assert (asked.calibration.samples, asked.calibration.length, asked.placement.kernel) == (16, 64, "torch")
        assert asked.calibration.file.name == "own.txt"
        assert "calibration_samples=16" in page.url and "kernel=torch" in page.url and "own.txt" not in page.url


@pytest.fixture
def saving_page(open_page):
    script = Script(load_s=0.6)
    with served(script) as address:
        page = open_page(address)
        page.click("#save button >> nth=0")
        page.get_by_label("Precision", exact=True).fill("gptq-4-g32")
        page.press("#save input >> nth=0", "Enter")
        yield page, script


def test_a_model_is_saved_with_progress_and_a_result(saving_page):
    page, script = saving_page
    page.get_by_label("Output folder").fill("/new/folder")
    page.click("#save-start")
    page.wait_for_selector("#save-result:has-text('of 22, about')")
    assert page.is_enabled("#save-stop") and page.is_disabled("#save-start")
    page.wait_for_selector("#save-result:has-text('Written to /new/folder: 4.20 MB')")
    assert page.is_enabled("#save-start") and page.is_disabled("#save-stop") and len(script.settings) == 1


def test_saving_stops_and_says_what_is_wrong(saving_page):
    page, script = saving_page
    page.click("#save-start")
    page.wait_for_selector("#save-result:has-text('No output folder is named')")
    page.get_by_label("Output folder").fill("/taken")
    page.click("#save-start")
    page.wait_for_selector("#save-result:has-text('not empty')")
    script.load_s = 30
    page.get_by_label("Output folder").fill("/new")
    page.click("#save-start")
    page.wait_for_selector("#save-result:has-text('layer 1 of 22')")
    page.click("#save-stop")
    page.wait_for_selector("#save-result:has-text('Stopped. Nothing was left behind.')", timeout=5_000)


def test_in_public_nothing_can_be_added_or_saved(open_page):
    script = Script(**FAST)
    with served(script, public=True) as address:
        page = open_page(f"{address}?precisions=fp32,{SPEC}")
        page.click("#settings button")
        assert not page.locator("#add").is_visible() and page.locator("#save").count() == 0
        assert not page.locator("#calibration-file").is_visible() and page.locator("[data-spec*='/']").count() == 0
        client = Client(address, verbose=False, download_files=False)
        values = Choice(precisions=("fp32", SPEC), prompt="Hello").__dict__
        given = [list(v) if isinstance(v, tuple) else v for v in (values[name] for name in FIELDS)]
        assert "takes no checkpoints of visitors" in str(client.predict(*given, api_name="/compare"))
        assert script.stops == []


def test_in_public_the_server_refuses_to_save():
    class Request:
        session_hash = "one"

    script, panel = Script(), SavePanel("precision", "out", "save", "stop", "result")
    handlers = SaveHandlers(panel, AppSettings(public=True), services(script))
    values = [getattr(Choice(prompt="Hello"), name) for name in FIELDS]
    (shown,) = handlers.save(Request(), "gptq-4", "/new", *values)
    assert "writes no files" in shown["result"] and script.settings == []
