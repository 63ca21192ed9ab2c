"""The tab "Will it fit?" in a real Chromium, and what it sends back to wrong input."""

from dataclasses import fields, replace

import pytest
from playwright.sync_api import expect

from quantlab.errors import BadInput
from quantlab.settings import AppSettings
from quantlab.teach.plan import planning
from quantlab.ui.page import build_page
from quantlab.ui.plan import form, view
from quantlab.ui.plan.form import PlanChoice
from tests.fakes import Script, services
from tests.ui.test_looks import WIDE, grave

CHOICE = PlanChoice(model="shape:Mistral-7B-v0.3")


def opened(page):
    page.get_by_role("tab", name="Will it fit?").click()
    page.wait_for_selector("#plan-verdicts li")
    page.wait_for_selector("#panel-plan .js-plotly-plot")
    return page


def test_nothing_is_planned_while_the_page_is_built():
    def never(*_given):
        raise AssertionError("planned before the tab was opened")

    build_page(AppSettings(public=False), replace(services(Script()), plan=never, which_fit=never))


def test_it_opens_on_a_plan_and_follows_what_is_asked(open_page, url):
    page = opened(open_page(url))
    verdicts, fault = page.locator("#plan-verdicts li"), page.locator("#plan-problem .fault")
    expect(verdicts).to_have_count(4)
    expect(verdicts.nth(0)).to_contain_text("It does not fit RTX 3060")
    expect(verdicts.nth(2)).to_contain_text("nf4 needs 5.49 GB and fits RTX 3060")
    assert page.locator("#plan-cards tbody tr").count() == 21 and page.locator("#plan-inverse tbody tr").count() == 7
    page.fill("#plan-context input", "40000")
    expect(page.locator("#plan-verdicts .caution")).to_contain_text("more than the model was made for (32,768)")
    page.fill("#plan-context input", "0")
    expect(fault).to_contain_text("The context cannot be 0.")
    expect(verdicts).to_have_count(0)
    page.fill("#plan-context input", "1024")
    expect(page.locator("#plan-verdicts .plan-head")).to_contain_text("1,024 tokens")
    expect(fault).to_have_count(0)
    page.check("#plan-source input[value=Numbers]")
    expect(page.locator("#plan-verdicts .plan-head")).to_contain_text("numbers as typed, 7.25 billion weights")
    page.fill("#plan-heads input", "33")
    expect(fault).to_contain_text("33 attention heads cannot share 8")
    page.fill("#plan-heads input", "32")
    page.fill("#plan-card input", "500 MB")
    page.keyboard.press("Enter")
    expect(verdicts.nth(2)).to_contain_text("It does not fit 500 MB (500 MB)")
    page.click("#plan-training button")
    page.check("#plan-kind input[value=full]")
    expect(page.locator("#plan-trained")).to_contain_text("Training all weights needs")
    page.check("#plan-kind input[value=lora]")
    page.fill("#plan-targets input", "nobody")
    expect(page.locator("#plan-trained .fault")).to_contain_text("Unknown layer 'nobody'")
    expect(verdicts).to_have_count(4)


def test_it_is_seen_by_all_and_on_a_phone(open_page, url):
    page = opened(open_page(url))
    for fold in ("#plan-types button", "#plan-training button"):
        page.click(fold)
    page.check("#plan-source input[value=Numbers]")
    page.wait_for_timeout(400)
    assert grave(page) == []
    page.locator("input[name=plan-as][value=table]").evaluate("input => input.click()")
    page.click("#theme-switch")
    page.wait_for_timeout(200)
    assert grave(page) == [] and page.locator("#panel-plan .twin").is_visible()
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_timeout(200)
    assert not page.evaluate(WIDE)


def test_in_public_the_tab_is_there_and_takes_no_names_of_its_own():
    page = build_page(AppSettings(public=True), services(Script()))
    found = [it for it in page.blocks.values() if getattr(it, "elem_id", None) == "plan-model"]
    assert [it.allow_custom_value for it in found] == [False]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"model": ""}, "No model was named"),
        ({"model": None}, "No model was named"),
        ({"precisions": ()}, "No precision was chosen"),
        ({"precisions": ("fp32",) * 7}, "7 precisions are more"),
        ({"precisions": ("nf5",)}, "Unknown precision 'nf5'"),
        ({"context": None}, "context was left empty"),
        ({"context": 1.5}, "context cannot be 1.5"),
        ({"batch": "all"}, "batch cannot be 'all'"),
        ({"kv": "x"}, "Unknown type of the KV cache"),
        ({"compute_dtype": "int4"}, "int4 cannot be a compute dtype"),
        ({"piece": -1}, "cannot be read -1 tokens at once"),
    ],
)
def test_what_a_browser_may_send_is_checked(more, what):
    with pytest.raises(BadInput, match=what):
        given = replace(CHOICE, **more)
        planning.planned(form.model(given), form.asked(given), (), AppSettings())


def test_a_form_is_what_is_asked():
    assert len(fields(PlanChoice)) == 21
    asked = form.tuned(replace(CHOICE, context=8.0, piece=0.0, rank=4.0, targets=" q_proj ,, v_proj"))
    assert (asked.context, asked.piece, asked.rank, asked.targets) == (8, None, 4, ("q_proj", "v_proj"))
    numbers = form.model(replace(CHOICE, source=form.NUMBERS, key_value_heads=0, head_dim=0))
    assert (numbers.key_value_heads, numbers.head_dim, numbers.tied) == (None, None, False)


def test_names_from_elsewhere_are_shown_and_not_obeyed():
    from tests.reporting.charts.test_planned import plan

    shown = view.verdicts(replace(plan(), model="<img src=x onerror=alert(1)>"))
    assert "<img" not in shown and "&lt;img" in shown
