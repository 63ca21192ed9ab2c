"""The pitfalls at the foot of the rail."""

from dataclasses import replace
from html import unescape

import pytest

from quantlab.errors import ModelError
from quantlab.records.pitfalls import CARE, FINE, UNSEEN, WRONG, Pitfall
from quantlab.settings import AppSettings
from quantlab.teach.pitfalls import diagnose
from quantlab.ui.compare import check
from quantlab.ui.launch import start
from quantlab.ui.page import build_page
from tests.fakes import Script, services
from tests.ui.markup import EVIL, harmless
from tests.ui.pages import FAST

LOCAL = AppSettings(public=False)
FOUND = (
    Pitfall("kernels", FINE, "It is slow.", "All are there."),
    Pitfall("compute type", WRONG, "It gives nonsense.", "int8 is set.", "Choose bfloat16.", "dtype=torch.bfloat16"),
    Pitfall("device map", UNSEEN, "Layers lie apart.", "There is one device."),
    Pitfall("versions", CARE, "It breaks.", "1.0 is old.", "Install 2.0."),
)


def test_the_worst_comes_first_with_all_that_is_known_of_it():
    shown = unescape(check.render("demo", FOUND))
    places = [shown.index(name) for name in ("compute type", "versions", "device map", "kernels")]
    assert places == sorted(places) and "1 wrong, 1 take care, 1 not looked at, 1 fine" in shown
    for text in ("int8 is set.", "It gives nonsense.", "Choose bfloat16.", "dtype=torch.bfloat16", "✕", "⚠", "✓"):
        assert text in shown
    assert shown.count(" open>") == 2  # what there is something to change of


def test_what_is_really_found_is_shown():
    found = diagnose("demo", "cpu", LOCAL)
    shown = unescape(check.looked_at("demo", LOCAL, replace(services(), diagnose=diagnose)))
    assert all(it.name in shown and it.effect in shown for it in found)


@pytest.mark.parametrize(("name", "said"), [("", "No model is chosen"), ("demo", "no such model")])
def test_why_nothing_was_found_is_told(name, said):
    def refuse(*_):
        raise ModelError("There is no such model.")

    assert said in check.looked_at(name, LOCAL, replace(services(), diagnose=refuse))


def test_words_from_elsewhere_stay_words():
    harmless(check.render(EVIL, [Pitfall(EVIL, WRONG, EVIL, EVIL, EVIL, EVIL)]))


def test_one_click_shows_them_and_the_button_is_back(open_page):
    page = build_page(LOCAL, replace(services(Script(**FAST)), diagnose=lambda *_: FOUND))
    start(page, replace_port(LOCAL), block=False)
    try:
        opened = open_page(page.local_url, 400)
        opened.click("#check-start")
        opened.wait_for_selector(".pitfall-wrong dl")
        opened.wait_for_selector("#check-start:not([disabled])")
        assert opened.locator(".pitfall").count() == 4
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    finally:
        page.close(verbose=False)


def replace_port(app: AppSettings) -> AppSettings:
    """The same on a free port."""
    return app.model_copy(update={"port": 0})


def test_a_public_page_tells_nothing_of_its_machine():
    public = build_page(AppSettings(public=True, allowed_models=("demo",)), services())
    assert "check-start" not in {getattr(it, "elem_id", None) for it in public.blocks.values()}
