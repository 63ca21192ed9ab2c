"""What those who used the page for the first time ran into, as only a browser shows it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from quantlab.history import History
from quantlab.settings import AppSettings
from quantlab.ui.common.recorded import RecordedJobs
from quantlab.ui.launch import start
from quantlab.ui.page import build_page
from tests.fakes import Script, fake_compare, services
from tests.ui.kept_page import COMPARISON, LATER
from tests.ui.pages import FAST, compare, open_tab, served

FENCED = "Here it is:\n```python\nprint(1)\n```"


def style(page, where: str, name: str) -> str:
    return page.eval_on_selector(where, f"it => getComputedStyle(it).getPropertyValue('{name}')")


def coding(request, *, stop=None, fresh=False):
    """A comparison whose reference answers with code, in as many tokens as it may say."""
    from quantlab.records.events import Done, Finished

    def coded(run):
        return replace(run, text=FENCED) if run.precision == request.precisions[0] else run

    for event in fake_compare(request.model, request.precisions, request.prompt, request.settings, stop=stop):
        if isinstance(event, Finished):
            yield replace(event, run=coded(event.run))
        elif isinstance(event, Done):
            runs = tuple(map(coded, event.comparison.runs))
            yield replace(event, comparison=replace(event.comparison, runs=runs))
        else:
            yield event


def test_a_cut_answer_says_so_and_code_is_in_letters_of_one_width(open_page):
    with served(Script(**FAST), {"compare": coding}) as url:
        page = open_page(f"{url}?precisions=fp32,nf4&max_new_tokens=24")
        page.wait_for_function("document.querySelectorAll('#precisions input:checked').length === 2")
        compare(page)
        coded, plain = ".col.is-code .answer", ".col:not(.is-code) .answer"
        expect(page.locator(f"{plain} .cut")).to_have_text("… stopped at 24 tokens")
        page.evaluate("document.fonts.ready")
        widths = "where => { const it = document.querySelector(where), c = document.createElement('canvas');" \
            " const d = c.getContext('2d'); d.font = getComputedStyle(it).font;" \
            " return ['i', 'M', '.'].map(x => d.measureText(x).width); }"  # fmt: skip
        assert len(set(page.evaluate(widths, coded))) == 1
        assert len(set(page.evaluate(widths, plain))) == 3
        assert style(page, f"{coded}", "white-space-collapse") == "preserve", "lines of code stay lines"


def test_a_sign_with_nothing_behind_it_is_not_shown_until_the_words_are_asked_for(compared):
    gone = compared.locator("#columns .answer del")
    assert gone.count() > 0 and not compared.is_checked("#show-theirs")
    assert all(not it.is_visible() for it in gone.all()), "lone signs"
    compared.check("#show-theirs")
    assert all(it.is_visible() for it in gone.all())
    assert all(it.inner_text().strip() for it in gone.all()), "a sign without words"
    compared.uncheck("#show-theirs")
    assert all(not it.is_visible() for it in gone.all())


RADIOS = {"Quality": "#quality-source input[type=radio]:checked", "History": "#kept-kind input[type=radio]:checked"}


@pytest.fixture
def kept(history: History) -> Iterator[str]:
    for number in range(12):
        history.keep(replace(COMPARISON if number % 2 else LATER, prompt=f"Prompt {number}"))
    app = AppSettings(public=False, port=0, history_file=history.file)
    page = build_page(app, replace(services(Script(0, 0)), history=RecordedJobs(app).history))
    start(page, app, block=False)
    try:
        yield page.local_url
    finally:
        page.close(verbose=False)


def _contrast(one: str, other: str) -> float:
    """By WCAG 2.2, of two colours as browsers compute them."""

    def luminance(colour: str) -> float:
        parts = [int(float(it)) / 255 for it in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [it / 12.92 if it <= 0.04045 else ((it + 0.055) / 1.055) ** 2.4 for it in parts]
        return sum(weight * it for weight, it in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", RADIOS)
def test_the_chosen_radio_is_seen_while_it_is_hovered(open_page, kept, theme, tab):
    page = open_page(f"{kept}?__theme={theme}")
    open_tab(page, tab)
    where = RADIOS[tab]
    page.wait_for_selector(where)
    before = style(page, where, "background-color")
    page.hover(where)
    page.wait_for_timeout(400)  # a change of colours takes its time
    assert page.eval_on_selector(where, "it => it.matches(':hover')")
    now = style(page, where, "background-color")
    ground = page.eval_on_selector(where, "it => getComputedStyle(it.closest('label')).backgroundColor")
    assert now == before and "svg" in style(page, where, "background-image"), "the dot is drawn on the accent"
    assert _contrast(now, "rgb(255, 255, 255)") >= 3, "the dot, which is white"
    assert _contrast(now, ground) >= 3, "the circle"


def test_on_a_phone_an_entry_that_is_tapped_comes_into_view(open_page, kept):
    page = open_page(kept, width=400, has_touch=True)
    open_tab(page, "History")
    page.wait_for_selector("#kept-list tr[data-entry='12']")
    page.locator("#kept-list tr[data-entry='11']").tap()
    page.wait_for_selector("#kept-about h2")
    expect(page.locator("#kept-about h2")).to_be_in_viewport(ratio=1)
    assert page.evaluate("scrollY") > 0, "the list is longer than the screen"
    page.wait_for_selector("#panel-kept-memory .js-plotly-plot", state="attached")
    expect(page.locator("#kept-about h2")).to_be_in_viewport(ratio=1)


def test_on_a_phone_a_link_with_a_bad_model_and_bad_precisions_says_so_in_sight(open_page, url):
    page = open_page(f"{url}?model=/nothing/here&precisions=fp32,nosuch-3&prompt=Hello", width=400)
    told = page.locator("#problem .fault")
    expect(told).to_contain_text("The link’s model '/nothing/here' was left out")
    expect(told).to_contain_text("nosuch-3")
    expect(told).to_be_in_viewport(ratio=1)


def test_the_history_says_whose_prompts_it_shows(open_page, kept):
    page = open_page(kept)
    open_tab(page, "History")
    expect(page.locator("#kept-whose")).to_contain_text("whoever started it")
    expect(page.locator("#kept-whose")).to_be_in_viewport(ratio=1)
    with served(Script(**FAST), public=True) as url:
        nothing = open_page(url)
        open_tab(nothing, "History")
        expect(nothing.locator("#kept-public")).to_contain_text("Nothing is kept on this page")
        assert nothing.locator("#kept-whose").count() == 0
