"""The tab Inside on the real demo: its handlers, and the tab in a real Chromium."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from quantlab.settings import AppSettings
from quantlab.ui.common.panel import Panel
from quantlab.ui.inside.form import LAYER, PLAIN, TYPED, InsideChoice, request
from quantlab.ui.inside.handlers import InsideHandlers
from quantlab.ui.inside.jobs import InsideJobs
from quantlab.ui.launch import start
from quantlab.ui.page import build_page
from tests.fakes import Script, services
from tests.ui.pages import FAST, open_tab
from tests.ui.test_looks import CUT_TEXTS, OVERLAPS, WIDE, grave, show_tables

PUBLIC = AppSettings(public=True, port=0)
UP = "model.layers.0.mlp.up_proj"
CHOICE = InsideChoice(layer=UP)


def handlers() -> InsideHandlers:
    """Handlers whose components are their own names, so that updates are read by name."""
    inputs = SimpleNamespace(**{name: f"inputs.{name}" for name in CHOICE.__dict__})
    names = ("problem", "told", "values", "cost", "saves", "methods", "of_model", "of_integers")
    more = ("read", "sigma", "outlying", "channels", "product", "outlier_problem")
    chart, channels = Panel("c", ("plot",), "twin", "head"), Panel("o", ("left", "right"), "twins", "heads")
    known = {name: name for name in (*names, *more)}
    parts = SimpleNamespace(inputs=inputs, chart=chart, channels_chart=channels, **known)
    return InsideHandlers(parts, PUBLIC, replace(services(Script(0, 0)), inside=InsideJobs(PUBLIC)))


def seen(event: str, choice: InsideChoice, *before: object) -> dict:
    return getattr(handlers(), event)(*before, *choice.__dict__.values())


def in_turn(event: str, choice: InsideChoice, *before: object) -> dict:
    """The same of what waits for its turn."""
    (found,) = seen(event, choice, SimpleNamespace(session_hash="one"), *before)
    return found


def test_opening_the_tab_chooses_the_first_layer_and_shows_it():
    found = seen("opened", InsideChoice())
    assert (
        found["inputs.layer"]["value"] == "model.layers.0.self_attn.k_proj"
        and len(found["inputs.layer"]["choices"]) == 21
    )
    assert found["problem"] == "" and "Each of these 64 numbers becomes one of 16 levels" in found["told"]
    assert "demo, model.layers.0.self_attn.k_proj.weight: 128 x 256. Row 0, numbers 0 to 63" in found["told"]


def test_a_look_fills_chart_table_and_cost_and_the_table_of_methods_comes_after():
    found = seen("look", CHOICE)
    assert found["plot"].data and found["values"].count("<tr>") == 65 and "4.504 bits a weight" in found["cost"]
    assert "methods" not in found
    more = seen("methods", CHOICE)
    assert "q4_k_m" in more["methods"] and "double quantization saves 0.310 bits" in more["saves"]


def test_another_layer_begins_at_its_first_block():
    found = seen("moved", replace(CHOICE, block=2047, layer="model.layers.0.self_attn.k_proj"))
    assert found["inputs.block"] == 0 and found["problem"] == ""
    assert found["outlying"]["visible"] is False, "what was read of another layer goes"


def test_plain_integers_show_their_sliders_and_typed_numbers_their_box():
    found = seen("look", replace(CHOICE, source=TYPED, grid=PLAIN, bits=8, block_size="row"))
    shown = [found[name]["visible"] for name in ("of_model", "inputs.values", "of_integers")]
    assert shown == [False, True, True]
    assert '<td class="num">−127</td>' in found["values"] and "typed numbers: 1 x 3" in found["told"]


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (InsideChoice(TYPED, values=" "), "No number was typed."),
        (InsideChoice(TYPED, values="<b>x</b>"), "&#39;&lt;b&gt;x&lt;/b&gt;&#39; is no number."),
        (replace(CHOICE, block=None), "The block must be a whole number."),
        (replace(CHOICE, block=1.5), "The block must be a whole number."),
        (replace(CHOICE, block=-1), "The block cannot be -1."),
        (replace(CHOICE, shown="many"), "The numbers shown must be a whole number."),
        (replace(CHOICE, grid=PLAIN, bits=99), "cannot have 99 bits"),
        (replace(CHOICE, grid=PLAIN, block_size="7"), "A block cannot have 7 numbers here."),
        (replace(CHOICE, grid="bf16"), "not laid open here"),
        (replace(CHOICE, grid=None), "Unknown precision"),
        (replace(CHOICE, beside="plain-x"), "names no plain integers"),
        (replace(CHOICE, layer="model.norm"), "no weight of a linear layer"),
        (replace(CHOICE, model="/etc/passwd"), "Unknown model"),
        (replace(CHOICE, model=["demo"]), "Unknown model"),
    ],
)
def test_what_cannot_be_is_a_card_and_no_more(choice, says):
    found = seen("look", choice)
    assert says in found["problem"] and 'class="fault banner"' in found["problem"]
    assert "told" not in found, "what was seen before stays"


def test_a_text_is_read_and_the_spread_moved():
    found = in_turn("read", CHOICE)
    own = found["sigma"]["value"]
    assert 0.5 < own < 1.0 and found["outlying"]["visible"] and found["outlier_problem"] == ""
    assert f"The model’s own spread is {own:.2f}" in found["channels"]
    assert "5. 1 times 4, in bfloat16" in found["product"] and found["product"].count("<table>") == 6
    moved = in_turn("spread", CHOICE, 1.5)
    assert "sigma" not in moved and moved["channels"] != found["channels"]
    assert "The spread cannot be 99" in in_turn("spread", CHOICE, 99)["outlier_problem"]
    assert "must be a number" in in_turn("spread", CHOICE, "x")["outlier_problem"]
    assert "meet no activations" in in_turn("read", replace(CHOICE, source=TYPED))["outlier_problem"]


def test_a_choice_is_a_request():
    asked = request(replace(CHOICE, grid=PLAIN, bits=3, block_size="128", zero_point=True, block=4.0))
    assert (asked.precision, asked.beside, asked.block, asked.values) == ("plain-3-g128-zp", "plain-4-g64", 4, "")
    assert request(InsideChoice(LAYER, values="1 2")).values == ""
    assert request(replace(CHOICE, grid="plain-4-g64")).beside == "", "nothing is set beside itself"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    jobs = replace(services(Script(**FAST)), inside=InsideJobs(PUBLIC))
    page = build_page(PUBLIC, jobs)
    start(page, PUBLIC, block=False)
    yield page.local_url
    page.close(verbose=False)


def opened(open_page, url, **how):
    page = open_page(url, **how)
    assert page.locator("#panel-inside-levels .js-plotly-plot").count() == 0, "nothing is computed before it is opened"
    open_tab(page, "Inside")
    page.wait_for_selector("#inside-methods table", timeout=60_000)
    page.wait_for_selector("#panel-inside-levels .js-plotly-plot .point", state="attached")
    return page


def test_axe_finds_nothing_serious_in_light_and_in_dark(open_page, url):
    page = opened(open_page, f"{url}?__theme=light")
    page.click("#inside-outliers button >> nth=0")
    page.click("#inside-read")
    page.wait_for_selector("#panel-inside-channels .js-plotly-plot >> nth=1", timeout=60_000)
    page.wait_for_timeout(600)
    assert grave(page) == [] and not page.evaluate(WIDE)
    plots = "#panel-inside-levels .js-plotly-plot, #panel-inside-channels .js-plotly-plot"
    drawn = page.evaluate(
        f"Array.from(document.querySelectorAll('{plots}')).map(plot => plot._fullData.map(trace => trace.type))"
    )
    assert drawn == [["bar", *["scatter"] * 5], ["scatter"] * 3, ["scatter"] * 6]
    page.click("#theme-switch")
    page.wait_for_timeout(400)
    assert grave(page) == []


def test_typed_numbers_and_a_wrong_one_on_a_phone(open_page, url):
    page = opened(open_page, url, width=400)
    assert not page.evaluate(WIDE) and page.evaluate(CUT_TEXTS) == [] and page.evaluate(OVERLAPS) == []
    page.click("text=Numbers I type")
    page.wait_for_function("document.querySelector('#inside-told').innerText.includes('typed numbers')")
    page.fill("#inside-typed textarea", "0 0 0 0")
    page.wait_for_function("document.querySelector('#inside-told').innerText.includes('none of them changes')")
    page.fill("#inside-typed textarea", "0 x")
    page.wait_for_selector("#inside-problem .fault")
    show_tables(page)
    assert not page.evaluate(WIDE)
