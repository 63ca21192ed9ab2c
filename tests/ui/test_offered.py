"""The tick list before it is on a page: what comes first, what shares a group, what is greyed."""

from dataclasses import replace

import pytest

from quantlab.errors import ModelError
from quantlab.records import Placement
from quantlab.ui import picker
from quantlab.ui.choice import DEFAULT_TICKS
from quantlab.ui.offered import Offered, arranged, look_again, look_at, ticks
from tests.fake_offers import PRECISIONS, fake_offers
from tests.fakes import services

OFFERS = fake_offers("demo", Placement())
SPEC = "someone/TinyLlama-1.1B-GPTQ"


def with_specs(*specs: str, offers=OFFERS) -> Offered:
    return Offered(offers, look_again(specs, Placement(), services()))


def names(rows) -> list[str]:
    return [row.offer.precision.name for row in rows]


def test_the_common_six_come_first_and_every_other_is_in_a_group():
    first, groups = arranged(Offered(OFFERS))
    assert tuple(names(first)) == DEFAULT_TICKS
    assert [group.title for group in groups] == [
        "Floating point", "bitsandbytes", "Round to nearest", "GPTQ, AWQ", "GGUF (llama.cpp)", "torchao",
        "As published",
    ]  # fmt: skip
    inside = [name for group in groups for name in names(group.rows)]
    assert sorted([*names(first), *inside]) == sorted(p.name for p in PRECISIONS)


def test_one_reason_for_all_is_said_once_and_different_ones_at_each_row():
    _, groups = arranged(Offered(OFFERS))
    reasons = {group.title: group.reason for group in groups}
    assert "gptqmodel" in reasons["GPTQ, AWQ"] and reasons["torchao"] == reasons["bitsandbytes"] == ""
    rows = picker.rows(Offered(OFFERS))
    assert rows.count('class="group-reason">needs the package gptqmodel') == 1
    assert rows.count('<span class="pick-about" title="ao-int4 needs a CUDA device') == 1
    # Each greyed row keeps its reason within reach.
    assert rows.count('title="gptq-4 needs the package gptqmodel') == 1


def test_a_model_that_is_quantized_already_shows_what_it_can_run_at():
    refused = tuple(
        replace(offer, unavailable=None if offer.precision.name == "stored" else "needs the original weights")
        for offer in OFFERS
    )
    first, groups = arranged(Offered(refused))
    assert names(first) == ["stored"]
    assert len(groups) == 1 and groups[0].reason == "needs the original weights"
    assert ticks(Offered(refused), DEFAULT_TICKS, 6) == ["stored"]


def test_ticks_are_kept_where_they_can_be():
    found = with_specs(SPEC)
    assert ticks(found, ("gptq-4", "nf4", SPEC, "nonsense"), 6) == ["nf4", SPEC]
    assert ticks(found, ("nonsense",), 6) == ["fp32"]
    assert len(ticks(found, names(found.rows), 6)) == 6
    assert ticks(Offered(), ("nf4",), 6) == []


def test_an_added_checkpoint_is_a_row_of_its_own_group():
    found = with_specs(SPEC)
    group = arranged(found)[1][-1]
    assert group.title == "As published" and group.rows[-1].value == SPEC and group.rows[-1].published
    rows = picker.rows(found)
    assert f'name="{SPEC}" data-spec="{SPEC}"' in rows and ">TinyLlama-1.1B-GPTQ</span>" in rows
    assert found.names[-1] == "TinyLlama-1.1B-GPTQ"


def test_a_checkpoint_that_cannot_be_read_any_more_stays_greyed_with_its_reason():
    row = with_specs("some/nothing").added[0]
    assert "There is no folder" in row.offer.unavailable and row.offer.estimated_bytes is None
    with pytest.raises(ModelError):
        look_at("some/nothing", Placement(), services())


def test_adding_one_twice_keeps_one():
    found = with_specs(SPEC, "other/model-GPTQ")
    again = found.with_added(replace(found.added[0], offer=replace(found.added[0].offer, estimated_bytes=1)))
    assert again.specs == found.specs and again.added[0].offer.estimated_bytes == 1
    assert with_specs().with_added(found.added[1]).specs == ("other/model-GPTQ",)


def test_a_greyed_precision_cannot_be_ticked():
    rows = picker.rows(Offered(OFFERS))
    assert rows[rows.index('name="gptq-4"') :].startswith('name="gptq-4" data-spec="" data-blocked="1" disabled')


def test_every_offer_has_its_own_box():
    rows = picker.rows(Offered(OFFERS))
    assert [rows.count(f'name="{p.name}"') for p in PRECISIONS] == [1] * len(PRECISIONS)
