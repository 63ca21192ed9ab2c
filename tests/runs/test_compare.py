"""The main job on a small model: the events, the runs and their figures."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file, save_file

from quantlab.export import comparison_data
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Comparison, Model, units
from quantlab.records.events import Done, Event, Finished, Loaded, Loading, Started, TimingAgain, Token
from tests import tiny
from tests.comparing import PROMPT, Loader, compared, done, events, is_complete, tokens_of

#: Not in the order in which they will run: the most precise is the reference and goes first.
CHOSEN = ("rtn-2", "fp32", "nf4", "int8")
ORDER = ("fp32", "rtn-2", "nf4", "int8")
NEW = 12


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Model:
    return tiny.write(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def loader() -> Loader:
    return Loader()


@pytest.fixture(scope="module")
def variants(loader):
    """One cache for the whole file."""
    cache = loader.cache()
    yield cache
    cache.drop_unused()


@pytest.fixture(scope="module")
def seen(llama, variants) -> list[Event]:
    return list(events(llama, CHOSEN, variants=variants, max_new_tokens=NEW))


@pytest.fixture(scope="module")
def whole(seen) -> Comparison:
    return done(seen)


def test_events_come_in_order(seen):
    assert isinstance(seen[0], Started) and isinstance(seen[-1], Done)
    assert seen[0].precisions == ORDER and seen[0].reference == "fp32"
    middle = seen[1:-1]
    for name in ORDER:
        mine = [e for e in middle if (e.run.precision if isinstance(e, Finished) else e.precision) == name]
        assert middle[: len(mine)] == mine, "one variant after the other"
        middle = middle[len(mine) :]
        kinds = [type(event) for event in mine]
        loading = kinds.count(Loading)
        again = kinds.count(TimingAgain)
        assert kinds == [Loading] * loading + [Loaded] + [Token] * NEW + [TimingAgain] * again + [Finished]
        assert loading >= 2 and (mine[loading - 1].done, mine[loading - 1].total) == (20, 20)
    assert middle == []


def test_the_prompt_is_read_once_for_all(seen, whole):
    assert seen[0].prompt_token_ids == whole.prompt_token_ids
    assert seen[0].prompt_token_ids[0] == 1, "BOS exactly once"
    assert "".join(whole.prompt_tokens) == "<s>" + PROMPT
    assert len(whole.prompt_tokens) == len(whole.prompt_token_ids) == 1 + len(PROMPT)
    assert (whole.prompt, whole.reference) == (PROMPT, "fp32")


def test_the_texts_of_the_events_are_those_of_the_runs(llama, seen, whole):
    tokenizer = load_tokenizer(llama)
    for run in whole.runs:
        tokens = tokens_of(seen, run.precision)
        assert [t.index for t in tokens] == list(range(NEW))
        assert tuple(t.token_id for t in tokens) == run.token_ids
        assert tokens[-1].text == run.text == tokenizer.decode(run.token_ids, skip_special_tokens=True)
        assert len(run.tokens) == len(run.token_ids)
        assert "".join(run.tokens) == tokenizer.decode(run.token_ids, clean_up_tokenization_spaces=False)


def test_every_figure_of_every_run_is_measured(whole):
    for run in whole.runs:
        assert is_complete(run), run.precision
        assert run.timings_count and run.nonfinite == 0
        load, timing = run.load, run.timing
        assert load.load_s > 0 and load.load_origin == "built"
        assert sum(load.parts.values()) == load.stored_bytes > 0
        repacked = units.size(load.running_bytes) != units.size(load.stored_bytes)
        assert repacked == any("repacked" in note for note in load.notes)
        assert (load.bits_per_quantized_weight is None) == (run.precision == "fp32")
        assert timing.ttft_s > 0 < timing.warmup_ttft_s
        assert len(timing.itl_s) == NEW - 1 and min(timing.itl_s) > 0
        assert timing.prompt_tokens == len(whole.prompt_token_ids)
        assert run.peak.bytes >= load.running_bytes
        assert run.kv_cache_bytes == (len(whole.prompt_token_ids) + NEW - 1) * 2 * 2 * 2 * 16 * 4
        assert 0 < run.bandwidth_share < 1
    sizes = {run.precision: run.load.stored_bytes for run in whole.runs}
    assert sizes["fp32"] > sizes["int8"] > sizes["nf4"] > sizes["rtn-2"]


def test_the_reference_is_read_by_all_the_others(whole):
    reference = whole.run("fp32")
    assert reference.first_divergence is None and reference.differences == ()
    for run in whole.runs[1:]:
        assert [d.token for d in run.differences] == list(reference.tokens)
        assert all(d.kld > 0 and 0 <= d.probability <= 1 and d.rank >= 1 for d in run.differences)
        given = [d.reference_probability for d in run.differences]
        assert given == [d.reference_probability for d in whole.runs[1].differences]
    mean = {r.precision: sum(d.kld for d in r.differences) / NEW for r in whole.runs[1:]}
    assert mean["rtn-2"] > mean["nf4"] > mean["int8"]


def test_where_runs_part_both_tables_hold_the_tokens_that_were_taken(whole):
    parted = [run for run in whole.runs if run.first_divergence]
    assert "rtn-2" in [run.precision for run in parted]
    reference = whole.run("fp32").token_ids
    for run in parted:
        at = run.first_divergence
        assert run.token_ids[: at.index] == reference[: at.index]
        assert at.ours[0].token_id == run.token_ids[at.index] != reference[at.index] == at.reference[0].token_id
        assert len(at.ours) == len(at.reference) == 5 and all(c.text for c in at.ours)


def test_the_machine_and_the_versions_are_told(whole):
    assert whole.machine.device.startswith("cpu (") and whole.machine.bandwidth > 0
    assert {"python", "torch", "transformers", "bitsandbytes"} <= set(whole.versions)
    assert whole.settings.placement.compute_dtype == "float32"
    json.dumps(comparison_data(whole), allow_nan=False)


@pytest.mark.slow
def test_a_second_time_the_variants_come_from_memory_and_greedy_tokens_are_the_same(
    llama, variants, loader, whole, seen
):
    again = compared(llama, CHOSEN, variants=variants, max_new_tokens=NEW)
    assert loader.loads == list(ORDER)
    for run in again.runs:
        assert run.load.load_origin == "memory" and run.load.load_s < 0.05
        assert run.load.stored_bytes == whole.run(run.precision).load.stored_bytes
        assert (run.token_ids, run.text) == (whole.run(run.precision).token_ids, whole.run(run.precision).text)
        assert run.differences == whole.run(run.precision).differences


def test_a_chosen_reference_goes_first(llama, variants):
    result = compared(llama, CHOSEN, variants=variants, reference="nf4")
    assert [run.precision for run in result.runs] == ["nf4", "rtn-2", "fp32", "int8"]
    assert result.reference == "nf4" and result.run("nf4").differences == () != result.run("fp32").differences


def test_one_column_needs_no_other(llama, variants):
    result = compared(llama, ["rtn-2"], variants=variants)
    assert result.reference == "rtn-2" and is_complete(result.runs[0])


def test_a_single_new_token_has_no_gaps(llama, variants):
    run = compared(llama, ["fp32"], variants=variants, max_new_tokens=1).runs[0]
    assert len(run.token_ids) == 1 and run.timing.itl_s == () and run.bandwidth_share is None and not run.stopped


def test_a_race_gives_the_same_answers_and_says_that_its_times_do_not_count(llama, variants, seen, whole):
    threads = threading.active_count()
    told = list(events(llama, CHOSEN, variants=variants, max_new_tokens=NEW, race=True))
    assert threading.active_count() == threads
    race = done(told)
    assert [run.precision for run in race.runs] == list(ORDER)
    for run in race.runs:
        mine, alone = tokens_of(told, run.precision), whole.run(run.precision)
        assert [t.token_id for t in mine] == [t.token_id for t in tokens_of(seen, run.precision)]
        assert (run.token_ids, run.text) == (alone.token_ids, alone.text)
        assert [d.kld for d in run.differences] == pytest.approx([d.kld for d in alone.differences], abs=1e-5)
        assert (run.first_divergence and run.first_divergence.index) == (
            alone.first_divergence and alone.first_divergence.index
        )
        assert not run.timings_count and is_complete(run)


@pytest.mark.slow
def test_the_same_seed_draws_the_same_tokens_and_another_seed_others(llama, variants):
    options = dict(variants=variants, max_new_tokens=NEW, sample=True, temperature=1.5)
    first, again, other = (compared(llama, ["fp32", "rtn-2"], seed=seed, **options) for seed in (3, 3, 4))
    for name in ("fp32", "rtn-2"):
        assert first.run(name).token_ids == again.run(name).token_ids != other.run(name).token_ids
    parted = first.run("rtn-2").first_divergence
    assert first.run("fp32").token_ids[parted.index] in [c.token_id for c in parted.reference]
    assert first.run("rtn-2").token_ids[parted.index] in [c.token_id for c in parted.ours]


@pytest.mark.parametrize("where", ["config.json", "generation_config.json"])
def test_end_of_text_ends_the_text_and_not_the_timing(llama, variants, whole, tmp_path, where):
    """A token that the model is known to choose is declared the end."""
    free = whole.run("fp32").token_ids
    ending = next(token for i, token in enumerate(free) if i >= 3 and token not in free[:i])
    at = free.index(ending)
    shutil.copytree(llama.folder, tmp_path / "model")
    file = tmp_path / "model" / where
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": [2, ending]}))
    told = list(events(Model("ending", "folder", tmp_path / "model"), ["fp32"], max_new_tokens=NEW))
    run = done(told).runs[0]
    assert run.token_ids == free[: at + 1] and len(run.tokens) == at + 1
    assert len(run.timing.itl_s) == NEW - 1 and not run.stopped
    told = tokens_of(told, "fp32")
    assert tuple(t.token_id for t in told) == free, "the events go on"
    assert {t.text for t in told[at:]} == {run.text}


def test_two_comparisons_at_once_share_one_load(llama):
    loader = Loader()
    cache = loader.cache()
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: compared(llama, ["fp32", "rtn-4"], variants=cache), range(2)))
    assert sorted(loader.loads) == ["fp32", "rtn-4"]
    assert all(is_complete(run) for result in both for run in result.runs)
    assert both[0].run("rtn-4").token_ids == both[1].run("rtn-4").token_ids
    assert cache.drop_unused() == 2


def test_logits_that_are_no_numbers_are_counted_and_take_nothing_with_them(llama, tmp_path):
    shutil.copytree(llama.folder, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"] = torch.full_like(tensors["model.norm.weight"], float("nan"))
    save_file(tensors, file, {"format": "pt"})
    result = compared(Model("broken", "folder", tmp_path / "model"), ["fp32", "rtn-4"])
    for run in result.runs:
        assert run.error is None and run.nonfinite == 8 * 320
    assert all(d.kld != d.kld and not d.same_top for d in result.run("rtn-4").differences)
    json.dumps(comparison_data(result), allow_nan=False)
