"""What the page does with published checkpoints, calibration and saving, in a real Chromium on the fake services."""

import io
import re

import pytest
from PIL import Image
from playwright.sync_api import expect

from quantlab.methods import METHODS
from quantlab.settings import AppSettings
from quantlab.ui.compare.form import FIELDS, Choice
from quantlab.ui.compare.save import SaveHandlers, SavePanel
from tests.fake_estimates import BLOCKED, QUANTIZED
from tests.fakes import Script, services
from tests.ui.pages import FAST, ask_privately, compare, served

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
    expect(box).to_be_checked()
    expect(page.locator("#precisions")).to_contain_text("6 of at most 6", use_inner_text=True)
    page.focus("[data-group='GGUF (llama.cpp)'] summary")
    page.keyboard.press("Enter")
    expect(box).not_to_be_visible()
    expect(page.locator("[data-group='GGUF (llama.cpp)'] summary")).to_contain_text("1 ticked", use_inner_text=True)


def test_a_gguf_file_that_is_dropped_is_the_model(open_page, url, tmp_path):
    page = open_page(url)
    (file := tmp_path / "mine-Q4_K_M.gguf").write_bytes(b"GGUF")
    page.click("#open-file button")
    page.set_input_files("#model-file input[type=file]", file)
    expect(page.locator("#model input")).to_have_value(re.compile(r".*/mine-Q4_K_M\.gguf$"))
    expect(page.locator("#about")).to_contain_text("A GGUF file: itself by llama.cpp (stored)")


def test_a_gguf_file_that_is_typed_is_the_model_where_it_is_there(open_page, url, tmp_path):
    page = open_page(url)
    (file := tmp_path / "mine.gguf").write_bytes(b"GGUF")
    of_the_hub = "An id of the Hugging Face Hub that is not looked up yet"
    for name, told in (
        (str(file), "A GGUF file"),
        (f"{file}x.gguf", "Nothing is there by this name"),
        ("ollama:small:1b", "Nothing is there by this name"),
        ("owner/name-GGUF::q4_k_m", of_the_hub),
    ):
        page.fill("#model input", name)
        page.press("#model input", "Enter")
        expect(page.locator("#about")).to_contain_text(told)


OPEN_ALL = "document.querySelectorAll('#precisions details').forEach(group => { group.open = true; })"
CUT = (
    "Array.from(document.querySelectorAll('#precisions :is(.pick-about, .pick-name, .group-names)'))"
    ".filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth).map(e => e.innerText)"
)


@pytest.mark.parametrize("width", [400, 1_000, 1_280])
def test_nothing_in_the_list_is_cut(open_page, url, width):
    page = open_page(url, width=width)
    assert page.evaluate(CUT) == []
    page.evaluate(OPEN_ALL)
    assert page.evaluate(CUT) == []


def test_all_groups_open_scroll_in_their_own_height(open_page, url):
    page = open_page(url, width=1_280)
    height = "document.querySelector('#rail').getBoundingClientRect().height"
    folded = page.evaluate(height)
    page.evaluate(OPEN_ALL)
    assert page.evaluate(height) < folded + 250
    last = page.locator("#precisions label.pick").last
    last.scroll_into_view_if_needed()
    assert last.is_visible() and page.locator("#precisions input[name=fp32]").is_visible()


def test_a_model_that_cannot_take_the_ticks_gives_them_back(open_page, url):
    page = open_page(f"{url}?precisions=fp32,nf4,rtn-3")
    page.wait_for_function(f"{TICKED}.length === 3")
    unfolded = "Array.from(document.querySelectorAll('#precisions details[open]')).map(e => e.dataset.group)"
    assert page.evaluate(unfolded) == ["Round to nearest"]
    for model, ticked in ((QUANTIZED, ["stored"]), ("demo", ["fp32", "nf4", "rtn-3"])):
        page.fill("#model input", model)
        page.keyboard.press("Enter")
        page.wait_for_function(f"{TICKED}.join() === '{','.join(ticked)}'")
        page.wait_for_timeout(300)
        assert page.evaluate(TICKED) == ticked
        for group in page.locator("#precisions details[open]").all():
            assert group.locator("input:not([data-blocked='1'])").count()
    assert page.evaluate(unfolded) == ["Round to nearest"]


def test_what_can_run_is_looked_up_with_each_page(open_page, monkeypatch):
    with served(Script(**FAST)) as address:
        page = open_page(address)
        assert page.locator("#precisions input[name='gptq-4'][data-blocked='1']").count() == 1
        for name in ("gptq-8", "gptq-4", "gptq-3", "gptq-2", "awq-4"):
            monkeypatch.delitem(BLOCKED, name)
        page = open_page(address)
        page.wait_for_selector("#precisions input[name='gptq-4'][data-blocked='0']", state="attached")
        assert page.locator("#precisions input:checked").count() == 6


def test_a_copied_link_says_what_it_does_not_hold(open_page, url):
    page = open_page(f"{url}?precisions=fp32,nf4")
    page.wait_for_function(f"{TICKED}.length === 2")
    add(page, "/models/mine.gguf")
    page.wait_for_selector("#added:has-text('in the list and ticked')")
    page.click("#copy-link")
    page.wait_for_selector("#status:has-text('Link copied, without /models/mine.gguf')")
    assert "mine" not in page.url


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
        page.set_input_files("#calibration-file input[type=file]", text)
        page.wait_for_selector("#calibration-file:has-text('own')")
        page.get_by_label("Samples").fill("16")
        page.get_by_label("Window, tokens").fill("64")
        page.fill("#kernel input", "torch")
        page.press("#kernel input", "Enter")
        compare(page)
        asked = script.settings[-1]
        assert (asked.calibration.samples, asked.calibration.length, asked.placement.kernel) == (16, 64, "torch")
        assert asked.calibration.file.name == "own.txt"
        assert "calibration_samples=16" in page.url and "kernel=torch" in page.url and "own.txt" not in page.url


def test_the_settings_say_truly_what_is_read(open_page, url):
    page = open_page(url)
    page.click("#settings button")
    expect(page.locator("#settings")).to_contain_text("Calibration (GPTQ, AWQ, iq3_xxs, iq2_xxs)", use_inner_text=True)
    limits = f"at most {METHODS['awq'].most_samples} samples of {METHODS['awq'].most_length} tokens"
    expect(page.locator("#settings")).to_contain_text(limits, use_inner_text=True)
    box, words = (page.locator(f"#calibration-file {part}") for part in ("button", "[data-testid=upload-text]"))
    assert box.bounding_box()["height"] >= words.bounding_box()["height"]
    assert words.evaluate("e => e.scrollHeight <= e.clientHeight")


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
    # The buttons come with the same answer as the text, but each is drawn by itself.
    expect(page.locator("#save-stop")).to_be_enabled()
    expect(page.locator("#save-start")).to_be_disabled()
    page.wait_for_selector("#save-result:has-text('Written to /new/folder: 4.20 MB')")
    assert page.is_enabled("#save-start") and page.is_disabled("#save-stop") and len(script.settings) == 1


def filled(bar) -> float:
    """The share of a bar that has the accent's colour, by its pixels."""
    with Image.open(io.BytesIO(bar.screenshot())) as picture:
        middle = [picture.convert("RGB").getpixel((x, picture.height // 2)) for x in range(picture.width)]
    blue = bar.evaluate("e => getComputedStyle(e).getPropertyValue('--accent').trim()")
    accent = tuple(int(blue[i : i + 2], 16) for i in (1, 3, 5))
    return sum(max(abs(a - b) for a, b in zip(pixel, accent, strict=True)) < 8 for pixel in middle) / len(middle)


def test_the_bar_of_saving_is_as_full_as_the_work_is_done(saving_page):
    page, script = saving_page
    script.load_s = 66
    page.get_by_label("Output folder").fill("/new")
    page.click("#save-start")
    bar = page.locator("#save-result progress")
    page.wait_for_selector("#save-result:has-text('layer 2 of 22')")
    for _ in range(10):  # a picture takes a while, and the work goes on
        before = page.inner_text("#save-result")
        page.wait_for_timeout(300)
        full = filled(bar)
        if page.inner_text("#save-result") == before:
            break
    assert full == pytest.approx(int(re.search(r"layer (\d+) of 22", before)[1]) / 22, abs=0.02)
    page.click("#save-stop")
    page.wait_for_selector("#save-result:has-text('Stopped.')")


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
        expect(page.get_by_label("range slider for Temperature")).to_be_visible()
        assert not page.locator("#add").is_visible() and page.locator("#save").count() == 0
        assert not page.locator("#calibration-file").is_visible() and page.locator("[data-spec*='/']").count() == 0
        values = Choice(precisions=("fp32", SPEC), prompt="Hello").__dict__
        given = [list(v) if isinstance(v, tuple) else v for v in (values[name] for name in FIELDS)]
        assert "takes no checkpoints of visitors" in str(ask_privately(address, "tab_compare", *given))
        assert script.stops == []


def test_in_public_the_server_refuses_to_save():
    class Request:
        session_hash = "one"

    script, panel = Script(), SavePanel("precision", "out", "save", "stop", "result")
    handlers = SaveHandlers(panel, AppSettings(public=True), services(script))
    values = [getattr(Choice(prompt="Hello"), name) for name in FIELDS]
    (shown,) = handlers.save(Request(), "gptq-4", "/new", *values)
    assert "writes no files" in shown["result"] and script.settings == []
