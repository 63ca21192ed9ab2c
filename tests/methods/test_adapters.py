"""Adapters beside a precision's weights: the same tokens as by peft alone, exact bytes, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import quantlab
from quantlab import models
from quantlab.errors import BadInput, QuantlabError
from quantlab.methods import PRECISIONS, adapters, method_of, precision, published, refusal, without_adapter
from quantlab.records import Calibration, Placement, QualitySettings, Settings
from quantlab.records.finetuning import FinetuneSettings
from quantlab.reporting.code import code
from quantlab.runs import estimates
from quantlab.settings import app_settings
from tests.adapters import random_adapter
from tests.reporting.test_code import run

CAN = [
    name
    for name, it in PRECISIONS.items()
    if method_of(it).takes_adapters and method_of(it).unavailable("cpu") is None and name not in ("ao-int4", "hqq-1")
]
PROMPT = "Tell me a story about Sanna Corsa."


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return random_adapter(tmp_path_factory.mktemp("adapters") / "style")


def compared(*names: str):
    # Few windows of calibration: what is made need not be good, but the same.
    asked = Settings(
        max_new_tokens=24, placement=Placement("cpu", "float32"), calibration=Calibration(samples=8, length=128)
    )
    *_, done = quantlab.compare("demo", list(names), PROMPT, asked)
    return done.comparison


def changed(folder: Path, tmp_path: Path, **config: object) -> Path:
    there = Path(shutil.copytree(folder, tmp_path / "changed"))
    told = json.loads((there / adapters.CONFIG).read_text()) | config
    (there / adapters.CONFIG).write_text(json.dumps(told))
    return there


@pytest.mark.slow
@pytest.mark.parametrize("name", CAN)
def test_the_same_tokens_as_by_peft(name, folder, monkeypatch, tmp_path):
    """The program that "Copy the code" writes knows nothing of quantlab; the base beside it is not touched."""
    asked = f"{name}+{folder}"
    comparison = compared(name, asked)
    plain, adapted = (comparison.run(it) for it in (name, f"{name}+style"))
    assert adapted.error is None and adapted.token_ids != plain.token_ids
    answers = run(code(comparison, [name, asked]), monkeypatch, tmp_path)
    assert answers == {name: list(plain.token_ids), f"{name}+style": list(adapted.token_ids)}
    again = compared(name).run(name)
    assert again.token_ids == plain.token_ids


@pytest.mark.parametrize("name", CAN)
def test_its_bytes_are_known_before(name, folder):
    placement = Placement("cpu", "float32")
    told = estimates.estimate_precision("demo", f"{name}+{folder}", placement, app_settings())
    plain = estimates.estimate_precision("demo", name, placement, app_settings())
    matrices = load_file(folder / adapters.WEIGHTS).values()
    assert told.estimated_bytes - plain.estimated_bytes == sum(4 * it.numel() for it in matrices)


@pytest.mark.slow
def test_its_bytes_are_those_afterwards(folder):
    for name in CAN:
        asked = Settings(
            max_new_tokens=1, placement=Placement("cpu", "float32"), calibration=Calibration(samples=8, length=128)
        )
        *_, done = quantlab.compare("demo", [f"{name}+{folder}"], PROMPT, asked)
        (found,) = done.comparison.runs
        told = estimates.estimate_precision("demo", f"{name}+{folder}", asked.placement, app_settings())
        # GPTQ's kernel on a CPU keeps small tables beside the codes, which no estimate knows.
        allowed = 5e-3 if name.startswith("gptq") else 0
        assert found.load.stored_bytes == pytest.approx(told.estimated_bytes, rel=allowed, abs=0), name
        assert any("what it learnt is part of each distance" in note for note in found.load.notes)


@pytest.mark.slow
def test_quality_with_keys_and_values_of_fewer_bits(folder):
    names = ["fp32", f"nf4+{folder}", f"nf4+{folder}+kv-int8"]
    settings = QualitySettings(windows=1, placement=Placement("cpu", "float32"), noise_floor=False)
    *_, done = quantlab.quality("demo", names, "demo", settings)
    assert [it.precision for it in done.quality.runs] == ["fp32", "nf4+style", "nf4+style+kv-int8"]
    assert all(it.error is None for it in done.quality.runs)
    ours = done.quality.run("nf4+style").fidelity
    assert ours.kld.mean > 0.01  # it was changed, and not by its bits alone
    kept = done.quality.run("nf4+style+kv-int8").fidelity
    assert kept.kld.mean == pytest.approx(ours.kld.mean, rel=0.05)


def test_a_column_is_called_by_the_adapters_name(folder, tmp_path):
    twin = shutil.copytree(folder, tmp_path / "twin" / "style")
    names = [f"nf4+{folder}", f"nf4+{folder}+kv-int8", f"fp32+{folder}"]
    assert list(published.labels(names).values()) == ["nf4+style", "nf4+style+kv-int8", "fp32+style"]
    both = [f"nf4+{folder}", f"nf4+{twin}"]
    assert list(published.labels(both).values()) == both
    assert not published.is_published(names[0]) and published.is_published("./nf4+style::nf4")
    chosen = precision(names[1])
    assert (chosen.name, chosen.adapter.folder, chosen.kv_cache) == ("nf4+style+kv-int8", folder, "int8")
    assert without_adapter(precision(names[0])) == precision("nf4")


def test_a_name_alone_is_looked_up_where_adapters_are_kept(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(app_settings(), "adapters_folder", tmp_path / "kept")
    with pytest.raises(BadInput, match="There is no adapter 'stile'"):
        precision("nf4+stile")
    there = shutil.copytree(folder, tmp_path / "kept" / "style")
    assert precision("nf4+style").adapter.folder == there
    with pytest.raises(BadInput, match="There is no adapter 'stile'") as told:
        precision("nf4+stile")
    assert "Did you mean style?" in told.value.advice
    monkeypatch.chdir(there.parent)
    assert published.whole("nf4+style", app_settings()) == f"nf4+{there}"


def test_other_files_are_another_variant(folder, tmp_path):
    there = shutil.copytree(folder, tmp_path / "style")
    before = precision(f"nf4+{there}")
    held = load_file(there / adapters.WEIGHTS)
    save_file({name: it + 1 for name, it in held.items()}, there / adapters.WEIGHTS)
    after = precision(f"nf4+{there}")
    assert before.name == after.name and before != after


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "of the kind PROMPT_TUNING"),
        ({"peft_type": None}, "of the kind None"),
        ({"modules_to_save": ["lm_head"]}, r"changes more than layers .*\(modules_to_save\)"),
        ({"trainable_token_indices": [1]}, r"\(trainable_token_indices\)"),
        ({"init_lora_weights": "pissa_niter_4"}, "began with pissa_niter_4"),
        ({"init_lora_weights": "olora"}, "began with olora"),
    ],
)
def test_adapters_that_are_more_than_lora(change, told, folder, tmp_path):
    with pytest.raises(BadInput, match=told):
        precision(f"nf4+{changed(folder, tmp_path, **change)}")


def test_damaged_files(folder, tmp_path):
    there = Path(shutil.copytree(folder, tmp_path / "style"))
    weights, config = there / adapters.WEIGHTS, there / adapters.CONFIG
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="cut short"):
        precision(f"nf4+{there}")
    weights.unlink()
    (there / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(BadInput, match="may run code"):
        precision(f"nf4+{there}")
    (there / "adapter_model.bin").unlink()
    with pytest.raises(BadInput, match="no weights"):
        precision(f"nf4+{there}")
    save_file({"base_model.model.a.weight": torch.zeros(2)}, weights)
    with pytest.raises(BadInput, match="no matrix of LoRA"):
        precision(f"nf4+{there}")
    a, b = "base_model.model.x.lora_A.weight", "base_model.model.x.lora_B.weight"
    save_file({a: torch.zeros(2, 3), b: torch.zeros(4, 5)}, weights)
    with pytest.raises(BadInput, match="do not fit each other"):
        precision(f"nf4+{there}")
    save_file({}, weights)
    with pytest.raises(BadInput, match="no matrices"):
        precision(f"nf4+{there}")
    for broken in ("{", "[]", "[" * 100_000, '{"peft_type": ' * 50_000):
        config.write_text(broken)
        with pytest.raises(BadInput):
            precision(f"nf4+{there}")
    config.unlink()
    with pytest.raises(BadInput, match="holds no adapter"):
        precision(f"nf4+{there}")


@pytest.mark.parametrize("typed", ["", " ", ".", "..", "/", "~", "~nobody/x", "x" * 5_000, "a\0b", "a/b", "\u202e"])
def test_what_is_typed_behind_the_plus(typed):
    with pytest.raises(BadInput):
        precision(f"nf4+{typed}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / adapters.WEIGHTS)
    (tmp_path / adapters.CONFIG).write_text('{"peft_type": "LORA"}')
    with pytest.raises(QuantlabError):
        precision(f"nf4+{tmp_path}")


def test_methods_that_take_none(folder):
    for name in ("q4_k_m", "rtn-4", "awq-4", "stored"):
        with pytest.raises(BadInput, match=f"No adapter can lie beside {name}") as told:
            precision(f"{name}+{folder}")
        assert "nf4-dq" in told.value.advice


def test_an_adapter_of_another_model(folder):
    chosen = precision(f"nf4+{folder}")
    other = models.peek_main("shape:SmolLM2-135M", app_settings())
    assert "has 576 x 1536 weights in model.layers.0.mlp.down_proj" in refusal(chosen, other, "cpu")
    assert refusal(chosen, models.peek_main("demo", app_settings()), "cpu") is None
    small = models.peek_main("shape:bench-100m", app_settings())
    assert refusal(chosen, small, "cpu")


def test_what_it_was_trained_on_is_told(folder, tmp_path):
    there = Path(shutil.copytree(folder, tmp_path / "style"))
    demo = models.resolve_main("demo", app_settings())
    asked = {"model": "demo", "identity": demo.identity, "settings": {"precision": FinetuneSettings().precision}}
    (there / adapters.ASKED).write_text(json.dumps(asked))
    adapter = precision(f"nf4+{there}").adapter
    (beside,) = adapters.notes(adapter, demo, "nf4-dq")
    assert adapters.notes(adapter, demo, "fp32") == (
        beside, "the adapter was trained on nf4-dq, and lies on fp32 here",
    )  # fmt: skip
    (there / adapters.ASKED).write_text(json.dumps(asked | {"identity": "0", "model": "gemma"}))
    assert "trained on 'gemma', and these are other files" in adapters.notes(adapter, demo, "nf4-dq")[1]
    for foreign in ("[]", "{", '{"settings": 3, "identity": 4}'):
        (there / adapters.ASKED).write_text(foreign)
        assert adapters.notes(adapter, demo, "nf4-dq") == (beside,)
