"""The tab Claims in a browser, and what of it may be asked for in public."""

from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from quantlab.errors import BadInput
from quantlab.settings import AppSettings
from quantlab.teach.claims import CLAIMS
from quantlab.ui.claims.handlers import ALL, QUICK, ClaimsHandlers, numbers, offered
from tests.fakes import Script, services
from tests.ui.pages import FAST, open_tab, served
from tests.ui.test_looks import WIDE, grave


@pytest.fixture
def opened(open_page, url):
    def chosen(**context):
        page = open_page(url, **context)
        open_tab(page, "Claims")
        page.wait_for_selector(".claim >> nth=0", state="visible")
        return page

    return chosen


def test_a_verdict_stands_beside_its_claim_and_stays(opened):
    page = opened()
    assert page.locator(".claim").count() == len(CLAIMS) == page.locator('.claim[data-outcome="open"]').count()
    page.click("#claims-start")
    wrong = page.locator('.claim[value="17"]')
    expect(wrong).to_have_attribute("data-outcome", "fails")
    expect(wrong).to_contain_text("does not hold here: By the largest magnitude (0.4251 / 127) they become -127 56 -1")
    expect(page.locator("#claims-status")).to_contain_text(
        "1 holds here, 1 does not hold here, 23 cannot be tested here."
    )
    wrong.locator("summary", has_text="Figures").click()
    expect(wrong.locator("table")).to_contain_text("-127")
    page.locator("#claims-which input").click()
    page.get_by_role("option", name="21. ").click()
    page.click("#claims-start")
    expect(page.locator("#claims-status")).to_contain_text("1 holds here.")
    expect(wrong).to_have_attribute("data-outcome", "fails")
    assert grave(page) == []


@pytest.fixture(scope="module")
def slow_url():
    with served(Script(**FAST | {"load_s": 20.0})) as address:
        yield address


def test_stop_ends_it(open_page, slow_url):
    page = open_page(slow_url)
    open_tab(page, "Claims")
    page.click("#claims-start")
    expect(page.locator("#claims-status")).to_contain_text("column 1")
    expect(page.locator("#claims-status")).to_contain_text("of 3")
    page.click("#claims-stop")
    expect(page.locator("#claims-status")).to_contain_text("Stopped")
    expect(page.locator("#claims-start")).to_be_enabled()
    assert page.locator('.claim[data-outcome="open"]').count() == len(CLAIMS)


def test_on_a_phone_nothing_scrolls_sideways(url, open_page):
    page = open_page(f"{url}?__theme=dark", width=400)
    open_tab(page, "Claims")
    page.wait_for_selector(".claim >> nth=0", state="visible")
    assert not page.evaluate(WIDE)


def test_axe_finds_nothing_serious_in_the_dark(open_page, url):
    page = open_page(f"{url}?__theme=dark")
    open_tab(page, "Claims")
    page.wait_for_selector(".claim >> nth=0", state="visible")
    assert grave(page) == []


def test_in_public_only_what_takes_seconds_is_offered():
    quick = {claim.number for claim in CLAIMS if not {"quality", "first", "training", "merges"} & set(claim.needs)}
    assert not quick & {11, 12, 24}  # nothing is trained for a visitor
    assert set(numbers(QUICK, public=True)) == quick < {claim.number for claim in CLAIMS}
    assert ALL not in offered(public=True) and numbers(ALL, public=False) == ()
    for which in (ALL, "4. Double", "", "17"):
        with pytest.raises(BadInput, match="no claim of the list"):
            numbers(which, public=True)


def test_a_model_that_is_not_allowed_is_refused():
    parts = SimpleNamespace(start="start", stop="stop", status="status", claims="claims", found="found")
    handlers = ClaimsHandlers(parts, AppSettings(public=True), services())
    request = SimpleNamespace(session_hash="one")
    handlers.begin(request)
    (updates,) = handlers.run(request, "/etc", QUICK, {})
    assert "fault" in updates["status"] and "claims" not in updates


def test_recorded_verdicts_stand_beside(monkeypatch):
    from datetime import UTC, datetime

    from quantlab.records.claims import Claims
    from quantlab.teach.claims import judged
    from quantlab.teach.claims.evidence import Evidence
    from quantlab.ui.claims import fragments
    from tests.examples import example_comparison

    machine = example_comparison().machine
    verdict = judged(CLAIMS[16], Evidence(codes={"int8 absmax": (-127, 56, -1)}))
    kept = Claims("demo", datetime(2026, 1, 2, tzinfo=UTC), machine, {}, (verdict,))
    monkeypatch.setattr(fragments, "recorded", lambda: (kept,))
    shown = fragments.claims({})
    assert shown.count("Recorded on other machines (1)") == 1
    assert "2026-01-02" in shown and "-127" in shown
    assert "does not hold there" in shown and "does not hold here" not in shown
    assert shown.count("Holds where: ") == 25
