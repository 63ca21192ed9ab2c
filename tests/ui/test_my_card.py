"""My card: what "fits" speaks of in the rail, by the plan's arithmetic."""

from dataclasses import replace
from html import unescape

import pytest

import quantlab
from quantlab.errors import BadInput
from quantlab.models import peek
from quantlab.records import Placement
from quantlab.runs import estimates
from quantlab.settings import AppSettings
from quantlab.teach.plan import planning
from quantlab.ui.common import card, picker, precision_list
from quantlab.ui.common.precision_list import PrecisionList, Room
from quantlab.ui.compare.handlers import Handlers
from tests.fakes import Script, services
from tests.ui.pages import FAST
from tests.ui.parts import parts

LOCAL = AppSettings(public=False)
SHAPE = "shape:Mistral-7B-v0.3"


def real(script: Script | None = None):
    """The page's fakes, with what really is estimated of a model."""
    return replace(
        services(script or Script()),
        estimates=lambda name, where: estimates.estimates(peek(name, LOCAL), where),
        estimate_precision=lambda model, name, where: estimates.estimate_precision(model, name, where, LOCAL),
        estimate_published=lambda spec, where: estimates.estimate_published(spec, where, LOCAL),
        plan=planning.planned,
    )


@pytest.fixture(scope="module")
def handlers() -> Handlers:
    page = parts()
    page.examples = tuple(f"example {i}" for i in range(5))
    return Handlers(page, LOCAL, real())


@pytest.fixture(scope="module")
def here(handlers) -> PrecisionList:
    return precision_list.of_model(SHAPE, Placement("cpu"), LOCAL, handlers.services)[0]


def rows(found: PrecisionList) -> dict:
    return {row.value: row.estimate for row in found.rows}


@pytest.mark.parametrize("context", [1_024, 4_096.0])
def test_the_rail_fits_as_the_plan_does(handlers, here, context):
    updates = handlers.card("12", context, SHAPE, "default", here)
    planned = quantlab.plan(SHAPE, ["fp32", "bf16", "int8", "nf4", "q4_k_m"], int(context), card=12)
    held = rows(updates["offered"])
    for it in planned.precisions:
        found = held[it.precision]
        assert (found.needed_bytes, found.fits) == (it.total_bytes, it.fits[0].fits)
        assert found.estimated_bytes == it.stored_bytes and found.free_bytes == 12 * 10**9
    assert "Fits is for 12 GB" in updates["my_card.said"] and f"{int(context):,} tokens" in updates["my_card.said"]
    assert updates["my_card.kept"] == ["12", context]
    shown = unescape(updates["inputs.precisions"]["rows"])
    assert "needs 15" in shown or "needs 14" in shown


def test_empty_is_this_machine_again(handlers, here):
    held = handlers.card("RTX 3060", 4_096, SHAPE, "default", here)["offered"]
    back = handlers.card(" ", 4_096, SHAPE, "default", held)
    assert back["offered"].room is None and back["my_card.said"] == "" and back["my_card.kept"][0] == ""
    assert {it.card for it in rows(back["offered"]).values()} == {""}


@pytest.mark.parametrize(
    ("typed", "context", "said"),
    [
        ("0", 4_096, "cannot have '0' of memory"),
        ("-3", 4_096, "cannot have '-3' of memory"),
        ("1e9", 4_096, "cannot have '1e9' of memory"),
        ("a big one", 4_096, "Unknown card 'a big one'"),
        ("12", None, "The context was left empty"),
        ("12", 10**98, "cannot be 100000000000… (99 digits)"),
        ("12", 0, "The context cannot be 0"),
        ("12", 1.5, "The context cannot be 1.5"),
    ],
)
def test_what_is_no_card_is_told_and_changes_nothing(handlers, here, typed, context, said):
    updates = handlers.card(typed, context, SHAPE, "default", here)
    assert list(updates) == ["my_card.said"] and said in unescape(updates["my_card.said"])
    assert "“Fits” in the list is still for this machine." in updates["my_card.said"]
    held = replace(here, room=card.room("RTX 3060", 4_096))
    still = handlers.card(typed, context, SHAPE, "default", held)["my_card.said"]
    assert "“Fits” in the list is still for RTX 3060 and 4,096 tokens." in still
    with pytest.raises(BadInput):
        card.room(typed, context)


def test_another_model_and_what_is_added_are_held_against_it_too(handlers, here):
    held = handlers.card("RTX 3060", 4_096, SHAPE, "default", here)["offered"]
    moved = handlers.estimate("demo", "default", ["fp32"], held)["offered"]
    assert moved.room == held.room and all(it.fits for it in rows(moved).values() if it.needed_bytes)
    more = handlers.add("nf4+kv-int8", "demo", "default", ["fp32"], moved)["offered"]
    both = rows(more)
    assert both["nf4+kv-int8"].estimated_bytes == both["nf4"].estimated_bytes
    assert both["nf4+kv-int8"].needed_bytes < both["nf4"].needed_bytes
    published = rows(handlers.add("demo::nf4", "demo", "default", ["fp32"], moved)["offered"])
    assert published["demo::nf4"].needed_bytes == both["nf4"].needed_bytes


def test_what_is_not_planned_is_neither_said_to_fit_nor_not(here):
    asked = Room(card.card_of("T4"), 4_096)
    none = replace(real(), plan=lambda *_: (_ for _ in ()).throw(BadInput("no plan")))
    held = card.held(replace(here, room=asked), SHAPE, Placement("cpu"), LOCAL, none)
    assert {it.fits for it in rows(held).values()} == {None}
    assert ">?</span>" in picker.rows(held) and ">yes</span>" not in picker.rows(held)


@pytest.mark.parametrize("kept", [None, 5, ["a"], ["nonsense", 4_096], ["12", "x"], [{"a": 1}, None], "12"])
def test_what_a_browser_kept_is_checked(kept):
    assert card.remembered(kept) == ("", 4_096, None)


def test_a_card_is_remembered_by_the_browser_alone(open_page, tmp_path):
    from tests.ui.pages import served

    with served(Script(**FAST)) as url:
        page = open_page(url)
        page.fill("#card-size :is(input, textarea)", "RTX 3060")
        page.keyboard.press("Enter")
        page.wait_for_selector("#card-said p")
        assert "RTX 3060 (12.9 GB)" in page.inner_text("#card-said")
        page.reload()
        page.wait_for_selector("#card-said p")
        assert page.input_value("#card-size :is(input, textarea)") == "RTX 3060"
        page.get_by_role("tab", name="Quality").click()
        page.wait_for_selector("#quality-card-said p")
        page.fill("#quality-card-size :is(input, textarea)", "")
        page.keyboard.press("Enter")
        page.wait_for_selector("#quality-card-said p", state="hidden")
        page.get_by_role("tab", name="Compare").click()
        page.wait_for_selector("#card-said p", state="hidden")
        other = open_page(url)
        assert other.input_value("#card-size :is(input, textarea)") == ""


def test_the_answer_to_add_stands_in_sight(open_page, url):
    page = open_page(url, 1_360)
    page.locator("#add-spec :is(input, textarea)").scroll_into_view_if_needed()
    page.fill("#add-spec :is(input, textarea)", "some/nothing")
    page.keyboard.press("Enter")
    page.wait_for_selector("#added .added-not")
    page.wait_for_timeout(400)
    answer, box = page.locator("#added .added-not").bounding_box(), page.locator("#add-spec").bounding_box()
    assert answer["y"] >= 0 and answer["y"] + answer["height"] <= 900
    assert box["y"] + box["height"] <= 900 and abs(box["y"] - answer["y"] - answer["height"]) < 80
