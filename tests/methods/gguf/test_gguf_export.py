"""The export loses nothing: the same tokens and the same logits as transformers, for every architecture."""

import json
import re
from pathlib import Path

import pytest
import torch
import transformers

from quantlab import models
from quantlab.errors import ModelError
from quantlab.methods.gguf import GGUF, building, load_file, read_header
from quantlab.methods.gguf.export import export
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Model, ResolvedPlacement, silent
from tests.methods.gguf import making

TOKENS = 2_000
CPU = ResolvedPlacement("cpu", "float32")


def exported(model: Model, folder: Path) -> Path:
    file = folder / "export.gguf"
    export(model, building._config(model), file, silent)
    return file


def reference(model: Model, ids: list[int]) -> torch.Tensor:
    """transformers' log-probabilities `[len(ids) - 1, vocabulary]`, in float32 of the weights as stored."""
    network = transformers.AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32)
    with torch.inference_mode():
        return torch.log_softmax(network(torch.tensor([ids])).logits[0, :-1].float(), dim=-1)


def kld(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.kl_div(found.double(), expected.double(), log_target=True, reduction="none").sum(-1)


@pytest.mark.parametrize("name", making.FAMILIES)
def test_an_export_in_float32_is_the_original(name, tmp_path):
    settings, tokenizer = making.FAMILIES[name]
    model = making.write(tmp_path / name, settings(), tokenizer())
    loaded = load_file(exported(model, tmp_path), model, CPU, silent)
    own = load_tokenizer(model)
    theirs, ours = loaded.tokenize(making.text()), own.encode(making.text(), add_special_tokens=False)
    assert len(ours) >= TOKENS and list(theirs) == ours
    ids = [1, *ours][:TOKENS]
    expected = reference(model, ids)
    found = torch.cat(list(loaded.start(TOKENS).score(ids, 1)))
    loaded.close()
    assert expected.exp().max(-1).values.mean() > 0.02, "a flat distribution would hide every difference"
    assert kld(found, expected).mean() < 1e-6
    assert kld(found.roll(1, 0), expected).mean() > 1e-3


def test_a_sharded_model_gives_the_same_file(tmp_path):
    settings, tokenizer = making.FAMILIES["qwen2"]
    whole = making.write(tmp_path / "whole", settings(), tokenizer())
    sharded = making.write(tmp_path / "sharded", settings(), tokenizer(), shard="100KB")
    assert len(list(sharded.folder.glob("*.safetensors"))) > 1
    one, other = (exported(model, model.folder) for model in (whole, sharded))
    assert read_header(one).tensors == read_header(other).tensors
    assert weights(one) == weights(other)


def weights(file: Path) -> dict[str, bytes]:
    import gguf

    return {tensor.name: tensor.data.tobytes() for tensor in gguf.GGUFReader(file).tensors}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_matrices_keep_their_type_and_vectors_become_float32(dtype, tmp_path):
    settings, tokenizer = making.FAMILIES["llama"]
    model = making.write(tmp_path / "half", settings(), tokenizer(), dtype=dtype)
    file = exported(model, tmp_path)
    name = {torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]
    assert {(len(it.shape), it.dtype) for it in read_header(file).tensors.values()} == {(2, name), (1, "F32")}
    loaded = load_file(file, model, CPU, silent)
    ids = load_tokenizer(model).encode(making.text())[:200]
    found = torch.cat(list(loaded.start(200).score(ids, 1)))
    loaded.close()
    # llama.cpp rounds activations to the type of the weights.
    assert building.relative_error(found, reference(model, ids)) < building.TOLERANCE[name]


def test_a_vocabulary_smaller_than_the_model_is_filled_up_and_special_tokens_are_marked(tmp_path):
    settings, tokenizer = making.FAMILIES["llama"]
    model = making.write(tmp_path / "llama", settings(), tokenizer())
    metadata = read_header(exported(model, tmp_path)).metadata
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == 640
    assert [types[tokens.index(token)] for token in making.SPECIALS] == [3, 3, 3]
    assert tokens[-1] == "[PAD639]" and types[-1] == 5
    assert (metadata["tokenizer.ggml.bos_token_id"], metadata["tokenizer.ggml.eos_token_id"]) == (1, 2)
    assert metadata["tokenizer.ggml.add_bos_token"] and not metadata["tokenizer.ggml.add_eos_token"]
    assert metadata["tokenizer.ggml.pre"] == "llama-bpe"


def test_the_chat_template_goes_along(tmp_path):
    settings, tokenizer = making.FAMILIES["llama"]
    talking = tokenizer()
    talking.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    file = exported(making.write(tmp_path / "llama", settings(), talking), tmp_path)
    assert read_header(file).metadata["tokenizer.chat_template"] == talking.chat_template


def test_a_sliding_window_limits_the_context_in_which_the_file_is_exact(tmp_path):
    settings = making.config("Mistral", sliding_window=32)
    model = making.write(tmp_path / "mistral", settings, making.gpt2())
    loaded = load_file(exported(model, tmp_path), model, CPU, silent)
    ids = load_tokenizer(model).encode(making.text())[:32]
    assert loaded.context_length == 32 and "no more than 32 tokens" in loaded.facts.notes[0]
    found = torch.cat(list(loaded.start().score(ids, 1)))
    assert kld(found, reference(model, ids)).mean() < 1e-6
    loaded.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["GemmaForCausalLM"]}, "LlamaForCausalLM, .* and not GemmaForCausalLM"),
        ({"hidden_act": "gelu"}, "SiLU, and this one has gelu"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "kinds default, linear, llama3, yarn"),
        ({"rope_parameters": {**making.YARN, "beta_fast": 16}}, "beta_fast"),
        ({"architectures": ["Qwen3ForCausalLM"], "attention_bias": True}, "biases"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_anything_loads(changes, words, tmp_path):
    settings, tokenizer = making.FAMILIES["llama"]
    model = making.write(tmp_path / "llama", settings(), tokenizer())
    chosen = GGUF.precisions[0]
    assert GGUF.refuses(chosen, models.checkpoint(model), "cpu") is None
    config = json.loads((model.folder / "config.json").read_text())
    (model.folder / "config.json").write_text(json.dumps(config | changes))
    reason = GGUF.refuses(chosen, models.checkpoint(model), "cpu")
    assert reason is not None and re.search(words, reason)


def test_an_unknown_split_or_normalizer_is_named(tmp_path):
    from tokenizers import normalizers, pre_tokenizers

    settings = making.FAMILIES["llama"][0]()
    odd = making._trained(
        pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(False)]), False
    )
    with pytest.raises(ModelError, match="Punctuation"):
        exported(making.write(tmp_path / "odd", settings, odd), tmp_path)
    lower = making._trained(pre_tokenizers.ByteLevel(False), False, normalizer=normalizers.Lowercase())
    with pytest.raises(ModelError, match="Lowercase"):
        exported(making.write(tmp_path / "lower", settings, lower), tmp_path)


def test_an_export_that_differs_is_found_out(tmp_path):
    settings, tokenizer = making.FAMILIES["llama"]
    model = making.write(tmp_path / "llama", settings(), tokenizer())
    file = exported(model, tmp_path)
    ids = load_tokenizer(model).encode(building.PROBE)[:33]
    expected = reference(model, ids)
    building.check(file, model, ids, expected)
    with pytest.raises(ModelError, match="does not compute what the original does"):
        building.check(file, model, ids, expected.roll(1, 0))
    other = making.write(tmp_path / "other", making.FAMILIES["qwen2"][0](), making.smollm())
    with pytest.raises(ModelError, match="other tokens"):
        building.check(file, other, ids, expected)
