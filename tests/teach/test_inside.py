"""What is shown of some numbers: codes, levels, errors, bytes; and what is told of input that cannot be."""

import math
from dataclasses import replace

import pytest
import torch

from quantlab.errors import BadInput, ModelError
from quantlab.records.inside import InsideRequest
from quantlab.settings import AppSettings
from quantlab.teach import inside
from quantlab.teach.inside import grids, numbers, weights
from tests import tiny
from tests.teach.conftest import APP

PUBLIC = AppSettings(public=True, port=0)
TUTORIAL = InsideRequest(values=numbers.EXAMPLE, precision="plain-8-row")
UP = "model.layers.1.mlp.up_proj"


def look(precision: str, values: str, **more):
    return inside.look(replace(InsideRequest(values=values, precision=precision), **more), PUBLIC)


def test_the_tutorials_numbers_have_the_codes_of_an_absmax_scale():
    """-0.4251 / (0.4251 / 127) = -127, 0.1872 gives 55.93 and -0.0031 gives -0.93."""
    found = inside.look(TUTORIAL, PUBLIC)
    assert found.grid.codes == (-127, 56, -1)
    assert found.grid.scales[0].scale == pytest.approx(0.4251 / 127)
    assert found.grid.kept == pytest.approx((-0.4251, 56 * 0.4251 / 127, -0.4251 / 127))
    assert found.grid.figures.max_error == pytest.approx(0.4251 / 127 - 0.0031, rel=1e-4)


def test_int8_of_bitsandbytes_agrees_with_them():
    assert look("int8", numbers.EXAMPLE).grid.codes == (-127, 56, -1)


@pytest.mark.parametrize("zero_point", [False, True])
@pytest.mark.parametrize("block", ["16", "64", "row", "tensor"])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_plain_integers_by_their_definition_in_plain_loops(demo, bits, block, zero_point):
    weight = weights.weight(demo, f"{UP}.weight")
    name = grids.plain_name(bits, block, zero_point)
    found = inside.look(InsideRequest("demo", UP, name, block=1025, shown=64), PUBLIC)
    row, columns = weight[found.row].tolist(), weight.shape[1]
    assert found.values == tuple(row[found.column : found.column + 64])
    for place, (value, code, kept) in enumerate(zip(found.values, found.grid.codes, found.grid.kept, strict=True)):
        size = {"row": columns, "tensor": columns}.get(block) or int(block)
        first = (found.column + place) // size * size
        group = weight.flatten().tolist() if block == "tensor" else row[first : first + size]
        if zero_point:
            low, high = min(*group, 0.0), max(*group, 0.0)
            scale = (high - low) / (2**bits - 1)
            zero = round(-low / scale)
            wanted = min(max(round(value / scale) + zero, 0), 2**bits - 1)
        else:
            scale, zero = max(map(abs, group)) / (2 ** (bits - 1) - 1), 0
            wanted = round(value / scale)
        # A value in the middle between two levels may go either way in float32.
        assert code == wanted or abs(value / scale % 1 - 0.5) < 1e-4
        assert kept == pytest.approx(scale * (code - zero), rel=1e-5, abs=1e-9)


def test_ratio_and_errors_by_their_formulae():
    found = look("plain-3-row", "1 0.4 -0.3 0.07")
    errors = [kept - value for value, kept in zip(found.values, found.grid.kept, strict=True)]
    assert found.grid.kept == pytest.approx((1.0, 1 / 3, -1 / 3, 0.0))
    noise, signal = sum(it**2 for it in errors), sum(it**2 for it in found.values)
    figures = found.grid.figures
    assert figures.snr_db == pytest.approx(10 * math.log10(signal / noise))
    assert figures.max_error == pytest.approx(0.07, rel=1e-6)
    assert figures.rms_error == pytest.approx(math.sqrt(noise / 4))


def test_every_value_lies_on_a_level_of_its_scale_with_its_code(demo):
    for name in (*grids.PLAIN, *grids.names()):
        grid = inside.look(InsideRequest("demo", UP, name, block=3), PUBLIC, others=False).grid
        assert [scale.start for scale in grid.scales] + [64] == [0, *(scale.stop for scale in grid.scales)]
        for scale in grid.scales:
            assert list(scale.levels) == sorted(scale.levels)
            for place in range(scale.start, scale.stop):
                at = scale.codes.index(grid.codes[place])
                assert scale.levels[at] == grid.kept[place], name


def test_nearest_level_but_for_methods_that_weigh_otherwise(demo):
    """Rounding to nearest means just that; nf4 too, up to its kernel's ties."""
    for name in ("plain-4-g64", "rtn-4", "nf4", "int8"):
        found = inside.look(InsideRequest("demo", UP, name, block=3), PUBLIC, others=False)
        for value, kept in zip(found.values, found.grid.kept, strict=True):
            nearest = min(abs(level - value) for level in found.grid.levels)
            assert abs(kept - value) <= nearest * (1 + 1e-4) + 1e-7, name


def test_all_methods_are_compared_and_the_best_stands_first(demo):
    found = inside.look(InsideRequest("demo", UP, "nf4", "plain-4-g64", 3), PUBLIC)
    assert {each.name for each in found.others} == {*grids.PLAIN, *grids.names()}
    ratios = [each.snr_db for each in found.others if not each.refused]
    assert ratios == sorted(ratios, reverse=True) and len(ratios) > 20
    by_name = {each.name: each for each in found.others}
    assert by_name["nf4"] == found.grid.figures and by_name["plain-4-g64"] == found.beside.figures
    # 32 bits for 64 weights against 8.125 and a codebook of 1,028 bytes (docs/measurement.md).
    assert by_name["nf4"].overhead_bits == pytest.approx(0.5 + 8 * 64 / found.shape[0] / found.shape[1])
    saved = by_name["nf4"].overhead_bits - by_name["nf4-dq"].overhead_bits
    assert saved == pytest.approx(0.5 - 8.125 / 64 - 8 * 1028 / (512 * 256))
    assert "saves 0.310 bits" in inside.double_saves(found) and saved == pytest.approx(0.310, abs=5e-4)


def test_gptq_without_a_checkpoint_is_its_grid_and_says_so():
    assert "The grid alone" in look("gptq-4", "0.5 " * 64).grid.figures.caution


def test_the_histogram_counts_every_number_of_the_matrix(demo):
    found = inside.look(InsideRequest("demo", UP, "nf4"), PUBLIC, others=False)
    weight = weights.weight(demo, f"{UP}.weight")
    histogram = found.histogram
    assert sum(histogram.counts) + histogram.below + histogram.above == weight.numel()
    low, high = histogram.edges[0], histogram.edges[-1]
    assert histogram.below == sum(value < low for value in weight.flatten().tolist())
    assert (low, high) == (min(*found.values, *found.grid.levels), max(*found.values, *found.grid.levels))


def test_the_sentence_says_what_is_seen():
    said = inside.told(look("plain-2-row", "1 0.4 -1"))
    assert said.startswith("Each of these 3 numbers becomes one of 3 levels; the largest error is 0.400")


# Input that cannot be, or is at an edge.


def test_a_block_of_zeros_has_scale_zero_and_no_error():
    for name in ("plain-4-g64", "plain-4-g64-zp", "int8", "nf4", "fp4", "rtn-4", "q4_0", "q8_0"):
        found = look(name, "0 " * 32)
        assert set(found.grid.kept) == {0.0}, name
        assert (found.grid.figures.max_error, found.grid.figures.snr_db) == (0, None)
    plain = look("plain-4-g64", "0 0 0").grid
    assert plain.scales[0].scale == 0 and plain.codes == (0, 0, 0)
    positive = look("plain-4-g64-zp", "1 2 3").grid.scales[0].zero_point
    assert str(positive) == "0.0", "no minus zero"
    assert "none of them changes" in inside.told(look("plain-4-g64", "0 0 0"))


def test_one_value():
    found = look("plain-8-row", "5")
    assert found.grid.codes == (127,) and found.grid.kept == (5.0,) and found.blocks == 1
    assert inside.told(found) == "This number stays as it is."
    assert sum(found.histogram.counts) == 1


def test_a_minus_sign_of_a_typesetter_and_semicolons_are_read():
    assert numbers.typed("−0.5;\n.25,  1e-2").tolist() == [pytest.approx([-0.5, 0.25, 0.01])]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (" , ", "No number was given"),
        ("1, two", "'two' is no number"),
        ("1, nan", "nan has no place among levels"),
        ("1 -inf", "-inf has no place among levels"),
        ("1e39", "larger than 32-bit floating point holds"),
        ("1 " * 5_000, "5,000 numbers were given, and at most 4,096"),
        ("9" * 500_000, "more than 200,000 characters"),
    ],
)
def test_numbers_that_are_none(values, says):
    with pytest.raises(BadInput, match=says):
        look("nf4", values)


def test_thousands_of_numbers():
    found = look("q4_0", " ".join(str(math.sin(place)) for place in range(4_096)))
    assert len(found.grid.codes) == 4_096 and len(found.grid.scales) == 128
    assert all(not each.refused for each in found.others)


def test_what_rounds_slowly_is_not_asked_of_a_large_matrix_unless_chosen(monkeypatch):
    from quantlab.teach.inside import looking

    numbers = "0.5 -0.25 " * 256
    open_ = {each.name: each.refused for each in look("hqq-2", numbers).others}
    assert not any(why for name, why in open_.items() if name.startswith(("hqq", "ao-", "awq"))), "all are laid open"
    monkeypatch.setattr(looking, "LARGE", 100)
    found = look("hqq-2", numbers)
    refused = {each.name: each.refused for each in found.others}
    assert refused["hqq-4"] == "hqq-4 takes long for a matrix so large: choose it above" and not refused["ao-int8"]
    assert found.grid.figures.name == "hqq-2" and found.grid.figures.levels == 4


def test_a_block_size_that_does_not_divide_leaves_a_shorter_block():
    found = look("plain-8-g64", " ".join(str(1 + place) for place in range(100)))
    assert [(scale.start, scale.stop) for scale in found.grid.scales] == [(0, 64), (64, 100)]
    assert found.grid.scales[1].scale == pytest.approx(100 / 127)
    refused = {each.name: each.refused for each in found.others if each.refused}
    assert refused["q4_0"] == "Rows of 100 numbers are no whole blocks of 32."
    assert refused["gptq-4"] == "Rows of 100 numbers do not divide into groups of 64."


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (InsideRequest(layer="model.layers.9.mlp.up_proj"), "Unknown layer 'model.layers.9.mlp.up_proj'"),
        (InsideRequest(layer="model.norm"), "model.norm of demo is no weight of a linear layer"),
        (InsideRequest(layer="model.embed_tokens"), "no weight of a linear layer"),
        (InsideRequest(block=-1), "The block cannot be -1"),
        (InsideRequest(block=10**9), "Choose 0 to 511"),
        (InsideRequest(shown=0), "The numbers shown cannot be 0"),
        (InsideRequest(precision="nf5"), "Unknown precision 'nf5'. Did you mean nf4"),
        (InsideRequest(precision="bf16"), "The levels of bf16 are not laid open here"),
        (InsideRequest(precision="rtn-4-g7"), "the group size cannot be 7"),
        (InsideRequest(precision="plain-9-row"), "cannot have 9 bits"),
        (InsideRequest(precision="plain-4-g8"), "cannot have 8 numbers"),
        (InsideRequest(precision="plain-4"), "names no plain integers"),
        (InsideRequest(model="/etc"), "Unknown model '/etc'"),
    ],
)
def test_what_cannot_be_is_told(request_, says):
    with pytest.raises(BadInput) as told:
        inside.look(request_, PUBLIC)
    assert says in str(told.value)


def test_a_quantized_model_is_told(tmp_path, small):
    import json
    import shutil

    from safetensors.torch import save_file

    folder = shutil.copytree(small.folder, tmp_path / "quantized")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 64}
    (folder / "config.json").write_text(json.dumps(config))
    held = {
        f"model.layers.0.mlp.up_proj.{kind}": torch.zeros(8, 8, dtype=torch.int32) for kind in ("qweight", "qzeros")
    }
    held["model.embed_tokens.weight"] = torch.zeros(320, 64)
    save_file(held, folder / "model.safetensors")
    with pytest.raises(ModelError, match="quantized already"):
        inside.look(InsideRequest(model=str(folder)), APP)


def test_a_layer_with_numbers_that_are_none_is_told(tmp_path, small):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(small.folder, tmp_path / "broken")
    held = load_file(folder / "model.safetensors")
    held["model.layers.0.self_attn.k_proj.weight"][1, 2] = float("nan")
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="holds what is no finite number"):
        inside.look(InsideRequest(model=str(folder)), APP)


def test_gpt2_keeps_its_weights_the_other_way_round(tmp_path):
    import transformers

    tiny.write(tmp_path, "gpt2")
    model = inside.resolved(str(tmp_path), APP)
    layers = inside.layers(model)
    assert {name.rpartition(".")[2] for name in layers} == {"c_attn", "c_proj", "c_fc"}
    network = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    for layer in layers[:4]:  # c_proj of the attention is square
        expected = network.get_submodule(layer).weight.detach().T
        assert torch.equal(weights.weight(model, f"{layer}.weight"), expected)


def test_a_shape_can_be_looked_into_and_says_that_it_is_random():
    found = inside.look(InsideRequest("shape:bench-100m", precision="nf4"), PUBLIC, others=False)
    assert "random" in found.caution and len(found.values) == 64


def test_where_a_model_lies_is_told_to_nobody(small):
    found = inside.look(InsideRequest(str(small.folder)), APP, others=False)
    assert found.source == f"{small.folder.name}, model.layers.0.self_attn.k_proj.weight"


def test_a_weight_that_would_fill_the_memory_is_told(monkeypatch, small):
    monkeypatch.setattr(weights, "MOST", 100)
    weights._weight.cache_clear()
    with pytest.raises(BadInput, match="has more than 100 numbers"):
        inside.look(InsideRequest(str(small.folder), "model.layers.1.mlp.up_proj"), APP)


def test_the_layers_of_a_model_are_those_that_methods_quantize(small):
    from tests.loading import load

    loaded = load(small, "rtn-4")
    packed = {name for name, module in loaded.module.named_modules() if type(module).__name__ == "RtnLinear"}
    loaded.close()
    assert set(inside.layers(small)) == packed
