"""The tick list before it is on a page: what comes first, what shares a group, what is greyed."""

from contextlib import nullcontext
from dataclasses import replace
from html import unescape
from urllib.parse import parse_qsl

import pytest

from quantlab.errors import BadInput, ModelError
from quantlab.records import Placement
from quantlab.runs import estimates
from quantlab.settings import AppSettings
from quantlab.ui.common import picker
from quantlab.ui.common.precision_list import PrecisionList, arranged, look_again, look_at, settled, ticks, wishes
from quantlab.ui.compare import share
from quantlab.ui.compare.form import DEFAULT_TICKS, Choice, check_published
from quantlab.ui.compare.handlers import Handlers
from tests.fake_estimates import PRECISIONS, QUANTIZED, fake_estimates
from tests.fakes import services
from tests.ui.parts import parts

OFFERS = fake_estimates("demo", Placement())
SPEC = "someone/TinyLlama-1.1B-GPTQ"


def with_specs(*specs: str, estimates=OFFERS) -> PrecisionList:
    return PrecisionList(estimates, look_again(specs, "demo", Placement(), services()))


def names(rows) -> list[str]:
    return [row.estimate.precision.name for row in rows]


def test_the_common_six_come_first_and_every_other_is_in_a_group():
    first, groups = arranged(PrecisionList(OFFERS))
    assert tuple(names(first)) == DEFAULT_TICKS
    assert [group.title for group in groups] == [
        "Floating point", "bitsandbytes", "Round to nearest", "GPTQ, AWQ", "GGUF (llama.cpp)", "torchao",
        "As published",
    ]  # fmt: skip
    inside = [name for group in groups for name in names(group.rows)]
    assert sorted([*names(first), *inside]) == sorted(p.name for p in PRECISIONS)


def test_one_reason_for_all_is_said_once_and_different_ones_at_each_row():
    _, groups = arranged(PrecisionList(OFFERS))
    reasons = {group.title: group.reason for group in groups}
    assert "gptqmodel" in reasons["GPTQ, AWQ"] and reasons["torchao"] == reasons["bitsandbytes"] == ""
    rows = picker.rows(PrecisionList(OFFERS))
    assert rows.count('class="group-reason">needs the package gptqmodel') == 1
    assert rows.count('<span class="pick-about" title="ao-int4 needs a CUDA device') == 1
    # Each greyed row keeps its reason within reach.
    assert rows.count('title="gptq-4 needs the package gptqmodel') == 1


def test_a_model_that_is_quantized_already_shows_what_it_can_run_at():
    found = PrecisionList(fake_estimates(QUANTIZED, Placement()))
    first, groups = arranged(found)
    assert names(first) == ["stored"]
    assert len(groups) == 1 and groups[0].reason == "needs the original weights"
    assert ticks(found, DEFAULT_TICKS, 6) == ["stored"]


def test_ticks_are_kept_where_they_can_be():
    found = with_specs(SPEC)
    assert ticks(found, ("gptq-4", "nf4", SPEC, "nonsense"), 6) == ["nf4", SPEC]
    assert ticks(found, ("nonsense",), 6) == ["fp32"]
    assert len(ticks(found, names(found.rows), 6)) == 6
    assert ticks(PrecisionList(), ("nf4",), 6) == []


def test_ticks_that_a_model_cannot_take_come_back_with_one_that_can():
    quantized, demo = PrecisionList(fake_estimates(QUANTIZED, Placement())), PrecisionList(OFFERS)
    there, ticked = settled(quantized, ("nf4", "rtn-3"), 6)
    assert ticked == ["stored"] and wishes(there, ticked) == ("nf4", "rtn-3")
    again, ticked = settled(quantized, wishes(there, ticked), 6)
    back, ticked = settled(demo, wishes(again, ticked), 6)
    assert ticked == ["nf4", "rtn-3"] and wishes(back, ticked) == ("nf4", "rtn-3")
    # What could be ticked and was not is not wanted any more, and what was added meanwhile goes before what waits.
    assert wishes(back, ["fp16"]) == ("fp16",)
    full = [name for name in names(demo.rows) if name.startswith("q")]
    there, _ = settled(quantized, full[:6], 6)
    assert settled(demo, wishes(there, ["stored", "fp32"]), 6)[1] == ["fp32", *full[:5]]


def test_an_added_checkpoint_is_a_row_of_its_own_group():
    found = with_specs(SPEC)
    group = arranged(found)[1][-1]
    assert group.title == "As published" and group.rows[-1].value == SPEC and group.rows[-1].added
    rows = picker.rows(found)
    assert f'name="{SPEC}" data-spec="{SPEC}"' in rows and ">TinyLlama-1.1B-GPTQ</span>" in rows
    assert found.names[-1] == "TinyLlama-1.1B-GPTQ"


def test_a_checkpoint_that_cannot_be_read_any_more_stays_greyed_with_its_reason():
    row = with_specs("some/nothing").added[0]
    assert "There is no folder" in row.estimate.unavailable and row.estimate.estimated_bytes is None
    with pytest.raises(ModelError):
        look_at("some/nothing", "demo", Placement(), services())


def test_adding_one_twice_keeps_one():
    found = with_specs(SPEC, "other/model-GPTQ")
    again = found.with_added(replace(found.added[0], estimate=replace(found.added[0].estimate, estimated_bytes=1)))
    assert again.specs == found.specs and again.added[0].estimate.estimated_bytes == 1
    assert with_specs().with_added(found.added[1]).specs == ("other/model-GPTQ",)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "Nothing was typed"),
        ("/no/such/model.gguf", "model.gguf"),
        ("demo::bogus", "Unknown precision 'bogus'"),
        ("demo::", "names no checkpoint"),
        ("demo", "original weights"),
        ("ftp://example.org/model.gguf", "address"),
        ("https://example.org/owner/name", "address"),
    ],
)
def test_what_must_fail_is_not_added_and_told_at_once(typed, told):
    app = AppSettings(public=False)
    real = replace(services(), estimate_published=lambda spec, where: estimates.estimate_published(spec, where, app))
    updates = Handlers(parts(), app, real).add(typed, "demo", "default", ["fp32"], PrecisionList(OFFERS))
    assert told in unescape(updates["adding.said"]) and "offered" not in updates


def test_a_folder_named_like_a_precision_is_to_be_written_as_a_path():
    updates = Handlers(parts(), AppSettings(public=False), services()).add(
        "mine", "demo", "default", [], PrecisionList(OFFERS)
    )
    assert "./mine" in updates["adding.said"] and "offered" not in updates


@pytest.mark.parametrize("typed", ["nf4+kv-int8", " rtn-4-g32 ", "q8_0+kv-q4_0"])
def test_a_precision_with_options_is_added_ticked_and_stays(typed):
    handlers = Handlers(parts(), AppSettings(public=False), services())
    updates = handlers.add(typed, "demo", "default", ["fp32"], PrecisionList(OFFERS))
    name = typed.strip()
    assert updates["inputs.precisions"]["value"] == ["fp32", name]
    assert name in updates["offered"].names and f"{name} is in the list and ticked" in updates["adding.said"]
    (later,) = look_again(updates["offered"].specs, "other/model", Placement(), services())
    assert later.value == name and later.estimate.unavailable is None


def test_a_precision_of_the_list_is_ticked():
    handlers = Handlers(parts(), AppSettings(public=False), services())
    updates = handlers.add("nf4", "demo", "default", ["fp32"], PrecisionList(OFFERS))
    assert updates["inputs.precisions"]["value"] == ["fp32", "nf4"] and updates["offered"].added == ()


def test_options_that_cannot_be_are_told():
    handlers = Handlers(parts(), AppSettings(public=False), services())
    updates = handlers.add("nf4+kv-q8_0", "demo", "default", ["fp32"], PrecisionList(OFFERS))
    assert "+kv-int8, +kv-int4" in unescape(updates["adding.said"]) and "offered" not in updates


def test_a_checkpoint_is_added_with_the_type_of_its_cache():
    row = look_at(f"{SPEC}+kv-int4", "demo", Placement(), services())
    assert row.value == f"{SPEC}+kv-int4" and row.added


@pytest.mark.parametrize(
    ("name", "refused"), [("nf4+kv-int8", ""), ("nf4+kv-x", "cannot keep"), ("rtn-4-g32", "Unknown")]
)
def test_in_public_a_cache_may_be_chosen_and_nothing_that_is_built(name, refused):
    app = AppSettings(public=True)
    with pytest.raises(BadInput, match=refused) if refused else nullcontext():
        check_published((name,), app)


def test_a_link_keeps_the_type_of_the_cache():
    app = AppSettings(public=False)
    choice = Choice("demo", ("nf4", "nf4+kv-int8", f"{SPEC}+kv-int4"), "Hello")
    query = dict(parse_qsl(share.to_query(choice)))
    assert share.from_query(query, Choice(), app).precisions == choice.precisions


def test_a_page_of_the_hub_is_added_by_its_id():
    row = look_at(f" https://huggingface.co/{SPEC} ", "demo", Placement(), services())
    assert row.value == SPEC and row.estimate.precision.name == "TinyLlama-1.1B-GPTQ"


def test_what_cannot_run_shows_no_memory_and_opens_no_fold():
    rows = picker.rows(PrecisionList(OFFERS, look_again(("some/model-awq",), "demo", Placement(), services())))
    for name in ("ao-int4", "gptq-4", "some/model-awq"):
        row = rows[rows.index(f'name="{name}"') :].partition("</label>")[0]
        assert "disabled" in row and '<span class="num">–</span><span>–</span>' in row
    assert "<details" in rows and " open>" not in rows
    assert ' data-group="As published" open>' in picker.rows(with_specs(SPEC))


def test_a_greyed_precision_cannot_be_ticked():
    rows = picker.rows(PrecisionList(OFFERS))
    assert rows[rows.index('name="gptq-4"') :].startswith('name="gptq-4" data-spec="" data-blocked="1" disabled')


def test_every_offer_has_its_own_box():
    rows = picker.rows(PrecisionList(OFFERS))
    assert [rows.count(f'name="{p.name}"') for p in PRECISIONS] == [1] * len(PRECISIONS)
