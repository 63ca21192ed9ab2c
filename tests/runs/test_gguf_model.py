"""A GGUF file as the model of a comparison: alone, in parts, from Ollama's store, and what cannot be one."""

import json
import shutil

import pytest
import torch
import transformers

from quantlab import cli, models
from quantlab.checkpoints import store
from quantlab.errors import ModelError
from quantlab.methods import precision
from quantlab.methods.dequantized import PRECISION as DEQUANTIZED_PRECISION
from quantlab.methods.gguf.library import tokens
from quantlab.models.gguf import splits
from quantlab.models.source import DEMO_FOLDER, of_demo_world
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import FROM_GGUF, Model, Placement, ResolvedPlacement, Variant, silent
from quantlab.runs import compare
from quantlab.runs.estimates import estimates
from quantlab.runs.loading import NO_CHAT
from quantlab.runs.plan import SPLITS
from quantlab.settings import app_settings
from tests import gguf_files
from tests.methods.gguf import making

PROMPT = "It's 1984: a café"
CPU = ResolvedPlacement("cpu", "float32")
COLUMNS = "fp32,stored,q4_0,nf4,rtn-4"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A random Qwen2 in Q8_0."""
    return gguf_files.make(tmp_path_factory.mktemp("gguf"), "Q8_0")


@pytest.fixture(autouse=True)
def _after():
    yield
    compare.variant_cache().drop_unused()


def compared(capsys, model, *arguments, columns=COLUMNS) -> dict:
    code = cli.main(
        [
            *("compare", "--model", str(model), "--precisions", columns, "--prompt", PROMPT, "--max-new-tokens", "8"),
            *("--compute-dtype", "float32", "--json", "-", *arguments),
        ]
    )
    told = capsys.readouterr()
    assert code == 0, told.err
    return json.loads(told.out)


@pytest.mark.slow
def test_every_kind_of_column_runs_of_one_file(file, capsys):
    told = compared(capsys, file)
    assert told["model"]["name"] == file.name and told["model"]["kind"] == "gguf"
    assert told["model"]["caution"] == FROM_GGUF
    runs = {run["precision"]: run for run in told["runs"]}
    assert list(runs) == COLUMNS.split(",") and not any(run["error"] for run in runs.values())
    assert told["reference"] == "fp32"
    kld = {name: sum(it["kld"] for it in run["differences"]) / 8 for name, run in runs.items() if name != "fp32"}
    # The file and its dequantized weights are one model but for the rounding of activations to 8 bits.
    assert kld["stored"] < 0.01 < kld["q4_0"]
    twice = "it was made of weights that were Q8_0 already, and is worse for it than one made of the original"
    assert twice in runs["q4_0"]["notes"] and twice not in runs["stored"]["notes"]
    assert 4.5 <= runs["q4_0"]["bits_per_quantized_weight"] < 6  # embeddings and head take more
    for run in runs.values():
        assert not [note for note in run["notes"] if "were estimated before" in note], run["precision"]


def test_the_dequantized_reference_is_what_a_plain_script_reads(file, tmp_path, capsys, at_once):
    told = compared(capsys, file, columns="fp32,rtn-8")
    model = models.resolve_main(str(file), app_settings())
    ids = load_tokenizer(model).encode(PROMPT)
    plain = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    ).eval()
    answer = plain.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False, eos_token_id=None)
    assert told["runs"][0]["token_ids"] == answer[0, len(ids) :].tolist()[: len(told["runs"][0]["token_ids"])]
    scale = max(it.abs().max() for it in plain.state_dict().values())
    from quantlab.checkpoints.load import checkpoint_store, with_weights
    from quantlab.methods import precision
    from quantlab.records import Variant

    variant = with_weights(
        Variant(model, precision("fp32"), ResolvedPlacement("cpu", "float32")), checkpoint_store(), silent
    )
    ours = transformers.AutoModelForCausalLM.from_pretrained(variant.model.folder, dtype=torch.float32).state_dict()
    for name, theirs in plain.state_dict().items():
        assert (ours[name] - theirs).abs().max() <= scale * 2**-11, name


def test_the_file_itself_is_what_llama_cpp_python_says(file, capsys, at_once):
    import llama_cpp

    told = compared(capsys, file, columns="fp32,stored")
    plain = llama_cpp.Llama(str(file), n_ctx=256, verbose=False, logits_all=True)
    ids = load_tokenizer(models.resolve_main(str(file), app_settings())).encode(PROMPT)
    stored = told["runs"][1]["token_ids"]
    plain.eval([*ids, *stored[:-1]])
    found = [int(plain.scores[len(ids) - 1 + at].argmax()) for at in range(len(stored))]
    assert found == stored


@pytest.mark.slow
def test_a_split_file_is_the_whole_one(file, tmp_path, capsys, at_once):
    parts = gguf_files.split(file, tmp_path / "parts")
    assert len(parts) > 2
    whole = compared(capsys, file)
    for named in (parts[0], parts[1], tmp_path / "parts"):
        told = compared(capsys, named)
        for one, other in zip(whole["runs"], told["runs"], strict=True):
            assert one["token_ids"] == other["token_ids"] and one["stored_bytes"] == other["stored_bytes"]
    asked = ["--variant", str(parts[0]), "--reference", "fp32"]
    told = compared(capsys, file, *asked, columns="fp32")
    assert told["runs"][1]["token_ids"] == whole["runs"][1]["token_ids"]


def test_parts_that_are_missing_or_of_another_model(file, tmp_path):
    def refused(words: str) -> ModelError:
        with pytest.raises(ModelError, match=words) as caught:
            models.resolve_main(str(parts[0]), app_settings())
        return caught.value

    parts = gguf_files.split(file, tmp_path / "parts")
    others = gguf_files.split(gguf_files.make(tmp_path / "other", "Q8_0", family="llama-smaug"), tmp_path / "others")
    aside = tmp_path / "aside"
    parts[1].rename(aside)
    assert parts[1].name in str(refused("is not there"))
    shutil.copyfile(others[1], parts[1])
    refused("another model|hold .* tensors")
    shutil.copyfile(parts[2], parts[1])
    refused("says that it is part 3")
    aside.rename(parts[1])
    lone = parts[0].rename(tmp_path / "lone.gguf")
    parts[0] = lone
    assert "-00001-of-" in refused("one part of a model").advice


@pytest.mark.slow
def test_a_model_of_ollama_is_found_and_told_by_its_name(file, tmp_path, monkeypatch, capsys, at_once):
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    gguf_files.ollama(file, tmp_path)
    told = compared(capsys, "ollama:small", columns="fp32,stored,q4_0")
    assert told["model"]["name"] == "ollama:small"
    assert [run["token_ids"] for run in told["runs"][:2]] == [
        run["token_ids"] for run in compared(capsys, file, columns="fp32,stored")["runs"]
    ]
    as_column = compared(capsys, file, "--variant", "ollama:small", columns="fp32")
    assert as_column["runs"][1]["token_ids"] == told["runs"][1]["token_ids"]


def test_without_precisions_the_file_is_a_column_of_its_own(file, capsys):
    assert cli.main(["compare", "--model", str(file), "--max-new-tokens", "2", "--json", "-"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["precision"] for run in runs] == ["fp32", "stored", "int8", "nf4"]
    assert [NO_CHAT in run["notes"] for run in runs] == [True, False, False, False]


def test_what_it_takes_is_known_before_it_loads(file):
    found = {it.precision.name: it for it in estimates(models.peek_main(str(file), app_settings()), Placement("cpu"))}
    assert found["stored"].estimated_bytes == models.peek(str(file), app_settings()).nbytes
    assert found["stored"].precision.bits == 8.5  # 34 bytes for 32 weights, not the 16 of weights of any kind
    for name in ("stored", "fp32", "nf4", "q4_0", "gptq-4", "iq2_xxs"):
        assert found[name].unavailable is None and found[name].estimated_bytes, name


def test_an_architecture_that_transformers_does_not_know_runs_by_llama_cpp_alone(file, tmp_path, capsys):
    # The same network under the name of one that llama.cpp has and transformers' reader has not.
    odd = gguf_files.rewrite(file, tmp_path / "odd.gguf", architecture="internlm2")
    model = models.resolve_main(str(odd), app_settings())
    found = {it.precision.name: it for it in estimates(models.checkpoint(model), Placement("cpu"))}
    assert "transformers cannot read it" in found["nf4"].unavailable and "choose stored" in found["nf4"].unavailable
    assert found["stored"].unavailable is None and found["q4_0"].unavailable is None


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Exception("No space (os error 28)")])
def test_a_disk_that_is_full_while_it_is_described_is_told(file, tmp_path, monkeypatch, error):
    (copy := tmp_path / "other.gguf").write_bytes(file.read_bytes())
    gguf_files.rewrite(copy, tmp_path / "new.gguf", general_name="of its own")

    def full(*_args):
        raise error

    monkeypatch.setattr("quantlab.models.gguf.described._describe", full)
    with pytest.raises(ModelError, match=r"description of .*new\.gguf cannot be written"):
        app = app_settings().model_copy(update={"cache_folder": tmp_path / "cache"})
        models.resolve_main(str(tmp_path / "new.gguf"), app)


def test_a_file_without_a_layer_s_weight_is_refused_with_what_is_wrong(file, tmp_path):
    short = gguf_files.rewrite(file, tmp_path / "short.gguf", leave_out="blk.0.attn_q.weight")
    found = models.checkpoint(models.resolve_main(str(short), app_settings()))
    (nf4,) = [it for it in estimates(found, Placement("cpu")) if it.precision.name == "nf4"]
    assert "and the file has" in nf4.unavailable and "choose stored" in nf4.unavailable


def test_its_weights_are_kept_once_however_it_is_called(file, tmp_path, monkeypatch):
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    gguf_files.ollama(file, tmp_path)
    names = {
        store._name(Variant(models.resolve_main(name, app_settings()), DEQUANTIZED_PRECISION, CPU))
        for name in ("ollama:small", "ollama:small:latest")
    }
    assert len(names) == 1


def test_a_file_of_the_demo_is_of_its_world(file, tmp_path):
    demo = making.built(Variant(Model("demo", "demo", DEMO_FOLDER), precision("q8_0"), CPU), tmp_path)
    assert of_demo_world(str(demo), app_settings()) and not of_demo_world(str(file), app_settings())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"without": ("tokenizer.ggml.tokens", "tokenizer.ggml.model", "tokenizer.ggml.token_type")}, "no tokenizer"),
        ({"tokenizer_ggml_model": "rwkv"}, "cannot read the tokenizer"),
    ],
)
def test_a_file_without_a_tokenizer_is_refused(file, tmp_path, damage, words):
    odd = gguf_files.rewrite(file, tmp_path / "odd.gguf", **damage)
    with pytest.raises(ModelError, match=words) as caught:
        models.resolve_main(str(odd), app_settings())
    # Beside another model it would be refused too, where it has none at all.
    assert ("made with one" if words == "no tokenizer" else "--variant") in caught.value.advice


def test_a_tokenizer_that_transformers_reads_otherwise_is_refused(file, tmp_path, capsys):
    odd = gguf_files.rewrite(file, tmp_path / "odd.gguf", tokenizer_ggml_pre="deepseek-v3")
    assert cli.main(["compare", "--model", str(odd), "--precisions", "fp32", "--prompt", PROMPT]) == cli.REFUSED
    assert "reads the tokenizer of" in capsys.readouterr().err


@pytest.mark.parametrize("pre", [*splits.DIGITS_APART, *splits.BY_THREE, *splits.BY_ONE, "gpt-2", "tekken"])
def test_a_text_is_parted_as_llama_cpp_parts_it(file, tmp_path, pre):
    named = gguf_files.rewrite(file, tmp_path / f"{pre}.gguf", tokenizer_ggml_pre=pre)
    tokenizer = load_tokenizer(models.resolve_main(str(named), app_settings()))
    for text in (making.text(), SPLITS):
        assert tuple(tokenizer.encode(text, add_special_tokens=False)) == tuple(tokens(named, text))


def test_a_file_that_is_cut_short_is_refused(file, tmp_path, capsys):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:-1_000])
    assert cli.main(["compare", "--model", str(cut), "--precisions", "fp32", "--prompt", PROMPT]) == cli.REFUSED
    assert "cut short" in capsys.readouterr().err


@pytest.mark.slow
def test_a_file_written_over_is_another_model(file, tmp_path, capsys, at_once):
    mine = tmp_path / "mine.gguf"
    shutil.copyfile(file, mine)
    first = compared(capsys, mine, columns="fp32,stored")
    shutil.copyfile(gguf_files.make(tmp_path / "b", "Q8_0", family="llama-smaug"), mine)
    second = compared(capsys, mine, columns="fp32,stored")
    assert first["runs"][0]["token_ids"] != second["runs"][0]["token_ids"]
    assert not any(run["error"] for run in second["runs"])
