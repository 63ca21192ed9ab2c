"""What is found wrong with a folder before anything loads it."""

import contextlib
import json
import math
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantlab import models
from quantlab.errors import ModelError
from quantlab.models import folder as folders
from quantlab.records import Model, TensorInfo

WEIGHTS = "model.safetensors"


def header(tensors: dict, rest: bytes = b"") -> bytes:
    """A safetensors file with this header, whatever it says."""
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text + rest


def refused(folder: Path, local, match: str) -> ModelError:
    with pytest.raises(ModelError, match=match) as caught:
        models.resolve(str(folder), local)
    return caught.value


def test_a_good_folder_is_resolved(make_folder, model_files, local):
    folder = make_folder(model_files)
    found = models.resolve(str(folder), local)
    assert found == Model(str(folder), "folder", folder, identity=models.identity(found))


@pytest.mark.parametrize("files", ["model_files", "sharded_files"])
def test_headers_are_read_as_safetensors_reads_them(make_folder, request, local, files):
    from safetensors import safe_open

    folder = make_folder(request.getfixturevalue(files))
    expected = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "numpy") as opened:
            for name in opened.keys():  # noqa: SIM118  (not a mapping)
                piece = opened.get_slice(name)
                expected[name] = TensorInfo(tuple(piece.get_shape()), piece.get_dtype())
    assert models.tensors(models.resolve(str(folder), local)) == expected


def test_what_transformers_saves_is_accepted_and_loads(make_folder, tokenizer_files, local, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

    saved = tmp_path / "saved"
    network = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=32, vocab_size=2048, n_positions=64))
    network.to(torch.bfloat16).save_pretrained(saved, max_shard_size="100KB")
    assert len(list(saved.glob("*.safetensors"))) > 1
    for name, content in tokenizer_files.items():
        (saved / name).write_bytes(content)
    found = models.tensors(models.resolve(str(saved), local))
    loaded = AutoModelForCausalLM.from_pretrained(saved)
    assert {name: it.shape for name, it in found.items()} == {
        name: tuple(it.shape) for name, it in loaded.named_parameters()
    }
    assert {it.dtype for it in found.values()} == {"BF16"}


@pytest.mark.parametrize(
    ("removed", "message"),
    [("config.json", r"no config\.json"), (WEIGHTS, "no weights"), ("tokenizer.json", "no tokenizer")],
)
def test_a_missing_file_is_named(make_folder, model_files, local, removed, message):
    refused(make_folder({name: it for name, it in model_files.items() if name != removed}), local, message)


def test_pickles_are_refused_with_how_to_convert_them(make_folder, model_files, local):
    files = {name: it for name, it in model_files.items() if name != WEIGHTS}
    error = refused(make_folder(files | {"pytorch_model.bin": b"\x80\x04."}), local, "pickles")
    assert "save_pretrained" in error.advice and "safetensors" in str(error)


def test_a_pickle_beside_safetensors_does_no_harm(make_folder, model_files, local):
    models.resolve(str(make_folder(model_files | {"pytorch_model.bin": b"\x80\x04."})), local)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("nested", [False, True])
def test_code_of_its_own_is_refused(make_folder, model_files, local, file, nested):
    asked = {"auto_map": {"AutoConfig": "configuration_evil.Evil"}}
    content = {"model_type": "llama", **({"text_config": asked} if nested else asked)}
    folder = make_folder(model_files | {file: json.dumps(content).encode(), "configuration_evil.py": b"1/0"})
    refused(folder, local, f"{file}.*auto_map")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (b"{}", "no model_type"),
    ],
)
def test_a_bad_config_is_told(make_folder, model_files, local, content, message):
    refused(make_folder(model_files | {"config.json": content}), local, message)


@pytest.mark.parametrize(
    ("settings", "stored_as"),
    [
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "awq"),
        ({"quantization_config": {"load_in_4bit": True}}, "bitsandbytes"),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ({"quantization_config": {"bits": 4}}, "gptq"),
        ({"quantization_config": {}}, None),
        ({}, None),
    ],
)
def test_a_folder_that_is_quantized_already_is_resolved_and_says_how(
    make_folder, quantized_files, local, settings, stored_as
):
    folder = make_folder(quantized_files(stored_as, settings))
    checkpoint = models.checkpoint(models.resolve(str(folder), local))
    assert checkpoint.stored_as == stored_as and checkpoint == models.peek(str(folder), local)
    sizes = {"F32": 4, "I32": 4, "F16": 2, "U8": 1}
    assert checkpoint.nbytes == sum(sizes[it.dtype] * math.prod(it.shape) for it in checkpoint.tensors.values())


def test_an_adapter_alone_is_named(make_folder, local):
    refused(make_folder({"adapter_config.json": b"{}", "adapter_model.safetensors": b""}), local, "holds an adapter")


def test_a_pointer_of_git_lfs_is_named(make_folder, model_files, local):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 269060552\n"
    refused(make_folder(model_files | {"model.safetensors": pointer}), local, "pointer of Git LFS")


def test_an_adapter_is_refused(make_folder, model_files, local):
    adapter = b'{"base_model_name_or_path": "elsewhere/model"}'
    refused(make_folder(model_files | {"adapter_config.json": adapter}), local, "adapter")


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 0.5, -1])
def test_weights_that_end_early_are_told(make_folder, model_files, local, kept):
    whole = model_files[WEIGHTS]
    kept = int(len(whole) * kept) if isinstance(kept, float) else kept
    refused(make_folder(model_files | {WEIGHTS: whole[:kept]}), local, "cut short")


def tensor(shape, offsets, dtype="F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "content",
    [
        b"not a safetensors file at all",
        struct.pack("<Q", 1 << 62) + b"{}" * 100,
        struct.pack("<Q", 8) + b"{garbage" + b"0" * 100,
        header({"a": tensor([2], [0, 8])}, b"0" * 9),
        header({"a": tensor([2], [0, 4])}, b"0" * 4),
        header({"a": tensor([2], [4, 12])}, b"0" * 12),
        header({"a": tensor([2], [0, 8]), "b": tensor([2], [4, 12])}, b"0" * 12),
        header({"a": tensor([2], [0, 8], "F33")}, b"0" * 8),
        header({"a": tensor([-2], [0, -8])}),
        header({"a": tensor("2", [0, 8])}, b"0" * 8),
        header({"a": {"dtype": "F32", "shape": [2]}}, b"0" * 8),
        header({"a": 3}),
        header([1, 2]),
    ],
)
def test_a_damaged_header_is_told(make_folder, model_files, local, content):
    refused(make_folder(model_files | {WEIGHTS: content}), local, "damaged")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.integers(0, 300))
def test_no_garbage_does_anything_but_raise(tmp_path, content, length):
    file = tmp_path / WEIGHTS
    for start in (b"", struct.pack("<Q", length), struct.pack("<Q", len(content))):
        file.write_bytes(start + content)
        with contextlib.suppress(ModelError):
            assert folders.read_header(file, "garbage") == {}


def test_a_missing_shard_is_named(make_folder, sharded_files, local):
    shard = "model-00002-of-00002.safetensors"
    folder = make_folder({name: it for name, it in sharded_files.items() if name != shard})
    refused(folder, local, f"lacks {shard}")


def test_a_tensor_that_is_not_in_its_shard_is_named(make_folder, sharded_files, local):
    index = json.loads(sharded_files["model.safetensors.index.json"])
    index["weight_map"]["model.norm.weight"] = "model-00001-of-00002.safetensors"
    folder = make_folder(sharded_files | {"model.safetensors.index.json": json.dumps(index).encode()})
    refused(folder, local, r"does not hold model\.norm\.weight")


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "pytorch_model.bin", "a\\b.safetensors"])
def test_an_index_that_leads_elsewhere_is_refused(make_folder, sharded_files, local, shard):
    index = {"weight_map": {"model.norm.weight": shard}}
    folder = make_folder(sharded_files | {"model.safetensors.index.json": json.dumps(index).encode()})
    refused(folder, local, "no safetensors file beside it")


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": ["a"]}])
def test_an_index_without_weights_is_told(make_folder, sharded_files, local, index):
    folder = make_folder(sharded_files | {"model.safetensors.index.json": json.dumps(index).encode()})
    refused(folder, local, "lists no weights")


def test_a_file_of_another_name_is_mentioned(make_folder, model_files, local):
    files = {name: it for name, it in model_files.items() if name != WEIGHTS}
    error = refused(make_folder(files | {"weights.safetensors": model_files[WEIGHTS]}), local, "no weights")
    assert "weights.safetensors" in error.advice


def test_a_huge_file_is_checked_without_reading_it(make_folder, model_files, local):
    folder = make_folder(model_files)
    elements = 1 << 34
    with (folder / WEIGHTS).open("wb") as file:
        start = header({"a": tensor([elements], [0, 4 * elements])})
        file.write(start)
        file.truncate(len(start) + 4 * elements)  # a hole: it takes no disk
    started = time.perf_counter()
    model = models.resolve(str(folder), local)
    assert models.tensors(model) == {"a": TensorInfo((elements,), "F32")}
    assert time.perf_counter() - started < 1
