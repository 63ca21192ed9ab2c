"""The report of claims: every row with its verdict, rule and figures, whole without a network."""

import re
from datetime import UTC, datetime

import pytest

from quantlab import cli
from quantlab.records.claims import FAILS, HOLDS, UNTESTED, Claims, ClaimVerdict, Figure
from quantlab.reporting.html.claims import claims_html
from quantlab.reporting.rules import rules
from quantlab.teach.claims import CLAIMS
from tests.examples import example_comparison
from tests.reporting.test_html import HOSTILE, MARK, Page

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FIGURES = (
    Figure("stored, nf4", 12_345, "bytes"),
    Figure("KLD", 0.0123456, "nats"),
    Figure("card", "RTX 3060", "", False),
    Figure("code", 56),
)


def found(model: str = "demo", why: str = "12,345 bytes.") -> Claims:
    kinds = (HOLDS, FAILS, UNTESTED)
    verdicts = [
        ClaimVerdict(it.number, it.text, it.tested_by, kinds[it.number % 3], why, FIGURES if it.number % 2 else ())
        for it in CLAIMS
    ]
    return Claims(model, WHEN, example_comparison().machine, {"quantlab": "0.1.0", "torch": "2.13.0"}, tuple(verdicts))


def test_every_claim_stands_in_it_with_its_rule():
    page = Page(claims_html(found()))
    assert [it["id"] for tag, it in page.elements if tag == "section"] == [f"claim-{it.number}" for it in CLAIMS]
    for claim in CLAIMS:
        assert page.text.count(claim.text) == 2 and f"Rule: {rules()[claim.number]}." in page.text
    assert "12,345 bytes" in page.text and "0.0123 nats" in page.text and "configuration" in page.text
    assert "2026-01-02 03:04:05 UTC" in page.text and "Example CPU, 2 cores" in page.text
    assert "torch 2.13.0" in page.text and "56.0" not in page.text
    assert found().counted in page.text and f"{len(CLAIMS)} claims of quantization, tested with demo" in page.text


def test_the_document_states_a_rule_for_every_claim():
    assert sorted(rules()) == [it.number for it in CLAIMS] and all(len(rule) > 20 for rule in rules().values())


def test_a_verdict_is_told_by_words_and_sign():
    html = claims_html(found())
    for outcome, sign in ((HOLDS, "✓"), (FAILS, "✗"), (UNTESTED, "–")):
        assert re.search(rf'aria-hidden="true">{sign}</span> {outcome}</span>', html)


def test_it_asks_for_nothing_and_nothing_of_a_text_becomes_markup():
    page = Page(claims_html(found(HOSTILE, HOSTILE)))
    assert not [it for _, it in page.elements if {"src", "srcset", "action", "onerror"} & set(it)]
    assert not [tag for tag, _ in page.elements if tag in ("script", "link", "img", "iframe")]
    assert all(it["href"].startswith("#") for tag, it in page.elements if tag == "a")
    assert MARK in page.text and not [style for style in page.scripts if MARK in style]


def test_where_a_model_lies_is_not_told():
    told = claims_html(found("/home/me/mine"))
    assert "/home/me" not in told and "mine" in told


def test_the_command_writes_it(tmp_path, capsys):
    file = tmp_path / "claims.html"
    assert cli.main(["claims", "--only", "2,17", "--html", str(file)]) == 0
    page = Page(file.read_text("utf-8"))
    assert "2 claims of quantization" in page.text and "2 do not hold here." in capsys.readouterr().out
    assert cli.main(["claims", "--only", "17", "--html", str(tmp_path / "no" / "x.html")]) == 2
    assert cli.main(["claims", "--only", "17", "--html", "-", "--json", "-"]) == 2
    capsys.readouterr()
    assert cli.main(["claims", "--only", "17", "--html", "-"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1_200, 400])
def test_it_can_be_read_by_everybody(tmp_path, browser, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    file = tmp_path / "claims.html"
    file.write_text(claims_html(found()), encoding="utf-8")
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    try:
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # The policy of the file keeps scripts out, those of the checker too.
        html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", claims_html(found()))
        page.set_content(html)
        assert Axe().run(page).response["violations"] == []
    finally:
        page.close()
