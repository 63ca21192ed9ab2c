"""What each lesson calls true, held against another library, plain arithmetic or the raw samples."""

import json
import math
import statistics
import struct
from dataclasses import replace

import pytest

from quantlab.errors import BadInput
from quantlab.records import CpuUse
from quantlab.settings import ASSETS
from quantlab.teach.inside.numbers import EXAMPLE
from quantlab.teach.lessons import breaking, buckets, choosing, memory, observing, sixteen, speed
from quantlab.teach.lessons.acted import Acted, checked_prompt
from quantlab.teach.recorded import recorded
from tests.examples import example_comparison

EXAMPLE_NUMBERS = [float(it) for it in EXAMPLE.split(",")]


def test_sixteen_bits_round_as_torch_rounds():
    import torch

    for value in (0.1872, 0.4251, 0.0031, 1.7, 3.14159, 200.3):
        below, above = sixteen.neighbours(value)
        nearest = torch.tensor(value).bfloat16()
        assert float(nearest) in (below, above) and below < value < above
        other = {below, above} - {float(nearest)}
        assert abs(value - float(nearest)) <= abs(value - other.pop())
    assert sixteen.given()["nearest"] == f"{float(torch.tensor(0.1872).bfloat16()):g}"


def test_zero_tails_are_counted_bit_by_bit():
    import torch

    values = torch.tensor([1.0, 0.1, 0.1872, float(torch.tensor(0.1872).bfloat16()), -2.5, 0.0])
    plain = sum(struct.unpack("<I", struct.pack("<f", it))[0] % 65_536 == 0 for it in values.tolist())
    assert sixteen._zero_tails(values) == plain == 4
    file = (ASSETS / "demo-model" / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", file[:8])[0]
    types = {it["dtype"] for name, it in json.loads(file[8 : 8 + size]).items() if name != "__metadata__"}
    assert types == {"BF16"} and sixteen.zero_tails() == 1.0


def test_places_where_sixteen_bits_prefer_another_token():
    made = example_comparison()
    narrow = made.run("bf16")
    other = [replace(it, same_top=place not in (3, 7)) for place, it in enumerate(narrow.differences)]
    runs = tuple(replace(it, differences=tuple(other)) if it.precision == "bf16" else it for it in made.runs)
    truth = sixteen.truth(replace(made, runs=runs))
    assert truth.value == 2 and truth.facts["changed"] == "2" and truth.facts["written"] == str(len(other))
    with pytest.raises(BadInput, match="no answer of bf16"):
        sixteen.truth(replace(made, runs=tuple(it for it in made.runs if it.precision != "bf16")))


def test_the_bucket_is_the_one_that_torch_gives():
    import torch

    scale = max(map(abs, EXAMPLE_NUMBERS)) / 7
    levels = torch.fake_quantize_per_tensor_affine(torch.tensor(EXAMPLE_NUMBERS), scale, 0, -7, 7)
    codes = [round(it / scale) for it in levels.tolist()]
    truth = buckets.truth()
    assert truth.value == codes[1] == round(EXAMPLE_NUMBERS[1] / scale) == 3
    kept = codes[1] * scale
    assert truth.facts["asked_kept"] == f"{kept:.4f}"
    assert truth.facts["asked_error"] == f"{abs(kept - EXAMPLE_NUMBERS[1]):.4f}"
    wide = 4.2 / 7
    assert truth.facts["outlier_code"] == str(round(EXAMPLE_NUMBERS[1] / wide)) == "0"
    given = buckets.given()
    assert (given["first_code"], given["last_code"], given["scale"]) == ("−7", "0", f"{scale:.5f}")


def test_the_learners_own_numbers():
    found = buckets.picture(Acted(numbers="1, -0.5, 0.26", bits=3))
    assert found.grid.codes == (3, -2, 1) and max(found.grid.scales[0].codes) == 3
    for acted, what in (
        (Acted(numbers=""), "No number was typed"),
        (Acted(numbers="1, two"), "'two' is no number"),
        (Acted(numbers="nan"), "finite"),
        (Acted(bits=1), "1 bits cannot"),
        (Acted(bits=9), "9 bits cannot"),
    ):
        with pytest.raises(BadInput, match=what):
            buckets.picture(acted)


def linear(config: dict) -> int:
    """Numbers in the matrices of a model of the Llama kind that are quantized."""
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    width, narrow = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    return layers * (2 * hidden * width + 2 * hidden * narrow + 3 * hidden * config["intermediate_size"])


def test_what_becomes_of_the_learners_own_numbers_is_told_in_sentences():
    def told(numbers: str, bits: int = 4) -> str:
        return buckets.told(buckets.picture(Acted(numbers=numbers, bits=bits)))

    said = told("-0.4251, 0.1872, -0.0031, 4.2")
    assert "is 4.2, and the buckets go from −7 to 7: the scale is 4.2 / 7 = 0.6." in said
    assert "off by 0.187 at most. 2 of them are not 0, and yet bucket 0 is the nearest: read again, they are 0." in said
    assert "4.2 / 127 = 0.03307" in told("4.2, 1", 8) and "from −127 to 127" in told("4.2, 1", 8)
    assert "1 of them is not 0, and yet" in told("4.2, 0.1, 0, 1") and "bucket 0" not in told("4.2, 1, 0")
    for zeros in ("0, 0, 0", "0", "-0.0, 0"):
        assert "the scale is 0 too" in told(zeros) and "Type a number that is not 0" in told(zeros)


def test_what_a_learner_planned_is_told_with_what_comes_on_top():
    found = memory.picture(Acted(planned="shape:SmolLM2-135M", context=32_000))
    wide, four = found.precisions
    # 30 layers, 3 heads of 64 numbers for keys and as many for values, 16 bits each
    kept = 30 * 2 * 3 * 64 * 2 * 32_000
    assert wide.kv_cache_bytes == four.kv_cache_bytes == kept
    said = memory.told(found)
    assert said.startswith(f"The weights of SmolLM2-135M take {wide.stored_bytes / 1e6:.0f} MB at bf16 and ")
    assert f"To remember 32,000 tokens (the KV cache) it takes {kept / 1e6:.0f} MB, whatever the precision" in said
    assert "that is more than the weights take at bf16 and nf4" in said
    assert "more than" not in memory.told(memory.picture(Acted()))


def test_the_gigabytes_are_those_of_plain_arithmetic():
    config = json.loads((ASSETS / "shapes" / "Mistral-7B-v0.3.json").read_text())
    packed = linear(config)
    tables = 2 * 2 * config["vocab_size"] * config["hidden_size"]
    norms = 2 * config["hidden_size"] * (2 * config["num_hidden_layers"] + 1)
    scales = 4 * packed // 64  # one float32 for 64 weights
    truth = memory.truth()
    # The 16 levels of each matrix, 64 bytes, and a few more are left out here.
    assert truth.value * 1e9 == pytest.approx(packed / 2 + scales + tables + norms, rel=1e-5)
    weights = packed + tables // 2 + norms // 2
    assert weights == 7_248_023_552  # as published: 7.25 billion
    assert truth.facts["bits"] == f"{8 * truth.value * 1e9 / weights:.2f}"
    assert truth.facts["tables"] == f"{tables / 1e6:.0f} MB"
    assert memory.given()["tables_weights"] == f"{tables / 2e6:.0f} million"
    assert memory.given()["sixteen"] == "14.5 GB" == f"{2 * weights / 1e9:.1f} GB"


def test_what_a_learner_plans():
    plan = memory.picture(Acted(planned="shape:SmolLM2-135M", precision="int8", context=100))
    assert [it.precision for it in plan.precisions] == ["bf16", "int8"] and plan.context == 100
    assert [it.precision for it in memory.picture(Acted(precision="bf16")).precisions] == ["bf16"]
    for acted, what in (
        (Acted(planned="shape:none"), "Unknown model"),
        (Acted(planned="/etc"), "Unknown model"),
        (Acted(precision="nf5"), "Unknown precision"),
        (Acted(context=0), "context cannot be 0"),
        (Acted(context=-5), "context cannot be -5"),
    ):
        with pytest.raises(BadInput, match=what):
            memory.picture(acted)


def mcnemar(lost: int, won: int) -> float:
    """Two-sided and exact."""
    count, few = lost + won, min(lost, won)
    return min(1.0, 2 * sum(math.comb(count, k) for k in range(few + 1)) / 2**count)


def test_what_breaks_first_follows_from_the_single_answers():
    record = recorded("lesson-4").record
    reference = record.run(breaking.REFERENCE)
    expected = None
    for name in breaking.FEWER:
        losses = {}
        for ability, task in breaking.TASKS.items():
            then, now = reference.tasks[task].correct, record.run(name).tasks[task].correct
            lost = sum(one and not other for one, other in zip(then, now, strict=True))
            won = sum(other and not one for one, other in zip(then, now, strict=True))
            if lost > won and mcnemar(lost, won) < 0.05:
                losses[ability] = (lost - won) / len(now)
        if losses:
            expected = max(losses, key=losses.get)
            break
    truth = breaking.truth(record)
    assert truth.value == expected and not truth.doubt
    assert expected in truth.facts["sentence"] and name in truth.facts["sentence"]


def changed(record, **scores):
    """The recorded tests with other scores of some abilities at rtn-3: what was lost, as a share, and p."""
    runs = []
    for run in record.runs:
        if run.precision in ("rtn-4", "rtn-3", "rtn-2"):
            tasks = dict(run.tasks)
            for ability, task in breaking.TASKS.items():
                lost, p = scores.get(ability, (0.0, 1.0)) if run.precision == "rtn-3" else (0.0, 1.0)
                tasks[task] = replace(
                    tasks[task], flips_lost=lost, flips_won=0.0, mcnemar_p=p, acc=1 - lost, acc_se=0.01
                )
            run = replace(run, tasks=tasks)
        runs.append(run)
    return replace(record, runs=tuple(runs))


def test_other_figures_give_another_verdict():
    record = recorded("lesson-4").record
    assert breaking.truth(changed(record, grammar=(0.3, 1e-9), sums=(0.1, 1e-3))).value == "grammar"
    assert breaking.truth(changed(record, facts=(0.2, 1e-9), sums=(0.3, 0.2))).value == "facts", "0.3 may be chance"
    tied = breaking.truth(changed(record, facts=(0.20, 1e-9), sums=(0.21, 1e-9)))
    assert (tied.value, tied.ties) == ("sums", ("facts",))
    nothing = breaking.truth(changed(record))
    assert nothing.doubt.startswith("Nothing broke")
    with pytest.raises(BadInput, match="no tests of rtn-2"):
        breaking.truth(replace(record, runs=tuple(it for it in record.runs if it.precision != "rtn-2")))


@pytest.mark.parametrize("name", ["demo", "smollm2"])
def test_the_speed_is_the_ratio_of_the_medians(name):
    record = recorded(f"lesson-5-{name}").record
    truth = speed.truth(record)
    narrow, wide = (record.run(it).decode_samples for it in ("nf4", "bf16"))
    assert truth.value == pytest.approx(statistics.median(narrow) / statistics.median(wide)) and truth.of == name
    assert truth.low == min(narrow) / max(wide) <= truth.value <= truth.high == max(narrow) / min(wide)


def test_a_busy_machine_gives_no_verdict_on_speed():
    record = recorded("lesson-5-demo").record
    busy = CpuUse(10.0, 5.0, 14.0, 2, 2, 3.0)
    runs = tuple(replace(it, cpu=busy) for it in record.runs)
    truth = speed.truth(replace(record, runs=runs))
    assert "no verdict" in truth.doubt and "busy" in truth.doubt
    with pytest.raises(BadInput, match="not timed"):
        speed.truth(replace(record, runs=tuple(replace(it, decode_samples=(), timing=None) for it in record.runs)))


def test_what_fits_is_what_plain_arithmetic_says():
    config = json.loads((ASSETS / "shapes" / "Llama-3.1-8B.json").read_text())
    packed, tables = linear(config), 2 * config["vocab_size"] * config["hidden_size"]
    cache = 2 * 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * 128 * 4_096
    card = 12_288 * 2**20  # RTX 3060, as nvidia-smi reports it
    assert packed + tables == pytest.approx(8.03e9, rel=1e-3)
    fits = [
        name for name, nbytes in (
            ("fp32", 4 * (packed + tables)), ("bf16", 2 * (packed + tables)), ("int8", packed + 2 * tables),
            ("nf4", packed / 2 + packed / 16 + 2 * tables),
        ) if nbytes + cache < card - 0.6e9
    ]  # fmt: skip
    assert choosing.truth().value == choosing.ANSWERS[fits[0]] == "int8 (8 bits)"


def test_a_card_of_ones_own():
    card, suited = choosing.picture(Acted(card="8 GB", context=1_000))
    assert card.nbytes == 8 * 10**9 and len(suited) == 7
    for typed, what in (("RTX 1", "Unknown card"), ("-3 GB", "cannot have"), ("", "No card was named")):
        with pytest.raises(BadInput, match=what):
            choosing.picture(Acted(card=typed))


@pytest.mark.parametrize(("prompt", "what"), [("  ", "empty"), ("x" * 301, "301 characters")])
def test_a_prompt_that_cannot_be(prompt, what):
    with pytest.raises(BadInput, match=what):
        checked_prompt(prompt)
    with pytest.raises(BadInput, match=what):
        observing.observe(1, Acted(prompt=prompt))


def test_what_is_asked_of_a_lesson_that_lacks_it():
    with pytest.raises(BadInput, match="runs no model"):
        observing.request(2, Acted())
    with pytest.raises(BadInput, match="Unknown model"):
        observing.observe(5, Acted(model="gpt"))
    assert [number for number in range(1, 7) if observing.runs(number)] == [1, 4, 5]
