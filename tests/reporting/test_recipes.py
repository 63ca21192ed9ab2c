"""What runs a precision without quantlab: the programs are run here, and answer as quantlab's own column does."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

import quantlab
from quantlab import cli
from quantlab.models import source
from quantlab.records import Calibration, Model, Placement, Quality, QualitySettings
from quantlab.reporting.advice.recipes import CONTEXT, MOST_CONTEXT, Recipe, recipe
from quantlab.runs.compare import variant_cache
from quantlab.runtime.kv_cache import GROUP_DETAIL
from tests.examples import example_load
from tests.quality_examples import quality, quality_run

PROMPT = "Once upon a time"
ON_CPU = Placement("cpu", "float32")
SHORT = Calibration(samples=8, length=256)


@pytest.fixture(autouse=True, scope="module")
def nothing_left():
    """No variant stays in memory for the tests that follow."""
    yield
    variant_cache().drop_unused()


def measured(name: str, model: Model | None = None, details: dict[str, str] | None = None, **settings) -> Quality:
    """A quality of fp32 and `name`, at float32 on a CPU unless `settings` say otherwise."""
    base = quality(("fp32",), errors={})
    run = replace(quality_run("nf4", "fp32"), precision=name, load=replace(example_load("nf4"), details=details or {}))
    asked = QualitySettings(**{"placement": ON_CPU, **settings})
    return replace(base, model=model or base.model, settings=asked, runs=(*base.runs, run))


def code(found: Recipe, language: str) -> str:
    (block,) = (block.code for block in found.blocks if block.language == language)
    return block


def own_answer(name: str) -> list[int]:
    """The tokens of quantlab's column."""
    settings = quantlab.Settings(max_new_tokens=64, raw=True, placement=ON_CPU, calibration=SHORT)
    *_, done = quantlab.compare("demo", [name], PROMPT, settings)
    return list(done.comparison.run(name).token_ids)


def ran(program: str) -> list[int]:
    """The new tokens that a program's answer has, without the end of the text."""
    names: dict = {}
    exec(compile(program, "recipe.py", "exec"), names)
    new = names["output"][0][names["inputs"]["input_ids"].shape[1] :].tolist()
    return [token for token in new if token != names["tokenizer"].eos_token_id]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bf16", "nf4", "fp4-dq", "int8", "int8-plain", "hqq-4", "nf4+kv-int4"])
def test_the_program_answers_as_the_column_does(name, capsys):
    if name.startswith("hqq") or "+kv-" in name:
        pytest.importorskip("hqq")
    demo = Model("demo", "demo", source.DEMO_FOLDER)
    answer = ran(code(recipe(measured(name, demo), name), "python"))
    assert answer == own_answer(name) and len(answer) > 8
    assert PROMPT in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(("name", "package"), [("ao-int8", "torchao"), ("gptq-4", "gptqmodel")])
def test_what_is_made_first_is_loaded_from_its_folder(tmp_path, monkeypatch, name, package):
    pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    it = measured(name, Model("demo", "demo", source.DEMO_FOLDER), calibration=SHORT)
    found = recipe(it, name)
    assert cli.main(shlex.split(code(found, "sh"))[1:]) == 0
    assert ran(code(found, "python")) == own_answer(name)


def test_the_settings_are_those_that_were_measured():
    four = code(recipe(measured("nf4-dq", placement=Placement("cuda", "float16")), "nf4-dq"), "python")
    for setting in ('quant_type="nf4"', "double_quant=True", "compute_dtype=torch.float16", "dtype=torch.float16"):
        assert setting in four
    assert 'device_map="cuda"' in four
    mapped = Placement("cuda", "bfloat16", (("model", "cpu"),))
    assert "device_map={'model': 'cpu'}" in code(recipe(measured("fp4", placement=mapped), "fp4"), "python")
    eight = code(recipe(measured("int8"), "int8"), "python")
    assert "load_in_8bit=True, llm_int8_threshold=6.0" in eight
    assert "llm_int8_threshold=0.0" in code(recipe(measured("int8-plain"), "int8-plain"), "python")
    assert "dtype=torch.float16" in code(recipe(measured("fp16"), "fp16"), "python")


def test_a_model_of_the_hub_is_named_with_its_revision():
    hub = Model("owner/name", "hub", Path("/cache/x"), "abc123")
    program = code(recipe(measured("nf4", hub), "nf4"), "python")
    assert program.count('"owner/name"') == 1 and program.count('revision="abc123"') == 2 and "/cache" not in program
    command = code(recipe(measured("gptq-4", hub), "gptq-4"), "sh")
    assert "--model owner/name@abc123 --precision gptq-4 --out name-gptq-4" in command
    assert "--model demo --precision gptq-4" in code(recipe(measured("gptq-4"), "gptq-4", private=True), "sh")
    smollm2 = Model("smollm2", "hub", None, "12fd25f")
    assert '"HuggingFaceTB/SmolLM2-135M-Instruct"' in code(recipe(measured("nf4", smollm2), "nf4"), "python")


@pytest.mark.parametrize("name", ["gptq-4-g128", "awq-4", "q4_k_m", "ao-int8"])
def test_what_quantize_is_told_is_what_was_measured(name):
    text = Path("/home/me/mine.txt")
    it = measured(
        name, Model("/home/me/a model", "folder", Path("/home/me/a model")), calibration=Calibration(text, "", 8, 256)
    )
    found = recipe(it, name)
    asked = cli.parser().parse_args(shlex.split(code(found, "sh") if name != "q4_k_m" else found.blocks[0].code)[1:])
    assert (asked.verb, asked.model, asked.precision, asked.out) == (
        "quantize",
        "/home/me/a model",
        name,
        f"a-model-{name}",
    )
    assert (asked.device, asked.compute_dtype, asked.calibration) == ("cpu", "float32", str(text))
    assert (asked.calibration_samples, asked.calibration_length) == (8, 256)
    assert "/home/me" not in str(recipe(it, name, private=True))


def test_gguf_runs_in_llama_cpp_and_ollama():
    found = recipe(measured("q4_k_m", details={"file": "model.gguf"}), "q4_k_m", 2_048)
    _, server, modelfile = found.blocks
    assert server.code == "llama-server -m demo-model-q4_k_m/model.gguf -c 2048"
    assert modelfile.code == "FROM ./demo-model-q4_k_m/model.gguf\nPARAMETER num_ctx 2048"
    on_gpu = recipe(measured("q4_k_m", placement=Placement("cuda", "float16")), "q4_k_m")
    assert on_gpu.blocks[1].code.endswith(f"-c {CONTEXT} -ngl 999")
    assert f"num_ctx {MOST_CONTEXT}" in recipe(measured("q4_k_m"), "q4_k_m", 131_072).blocks[2].code


@pytest.mark.parametrize("name", ["fp32", "nf4", "int8", "gptq-4", "hqq-4", "rtn-4"])
def test_of_a_gguf_file_all_is_made_first(name):
    mine = Model("/home/me/My-Q8_0.gguf", "gguf", Path("/cache/x"), origin=Path("/home/me/My-Q8_0.gguf"))
    found = recipe(measured(name, mine), name)
    if name in ("hqq-4", "rtn-4"):
        assert found.blocks == ()
        return
    words = shlex.split(code(found, "sh"))
    assert (words[:2], words[3], words[5], words[7]) == (["quantlab", "quantize"], mine.name, name, f"My-Q8_0-{name}")
    program = code(found, "python")
    assert f'model_id = "./My-Q8_0-{name}"' in program and "quantization_config" not in program
    told = str(recipe(measured(name, mine), name, private=True))
    assert "--model ./My-Q8_0.gguf" in told and "/home/me" not in told


def test_a_gguf_file_as_the_model_runs_as_it_is(tmp_path):
    blob = {"file": "sha256-" + "0" * 64}
    (ollama, server) = recipe(measured("stored", Model("ollama:small:1b", "gguf", None), blob), "stored", 512).blocks
    assert ollama.code == "ollama run small:1b" and f"-m {blob['file']} -c 512" in server.code
    hub = Model("owner/name-GGUF@main::q8_0", "gguf", None, "abc123")
    plain = recipe(measured("stored", hub, {"file": "n-Q8_0.gguf"}), "stored", 512).blocks
    assert [block.code.split()[:3] for block in plain] == [
        ["llama-server", "-m", "n-Q8_0.gguf"],
        ["FROM", "./n-Q8_0.gguf", "PARAMETER"],
    ]
    made = code(recipe(measured("gptq-4", hub), "gptq-4"), "sh")
    assert "--model owner/name-GGUF@abc123::q8_0 " in made and "--out n" in made


def test_a_published_file_runs_as_it_is_and_steers_nothing():
    published = recipe(measured("Some-Q4_K_M", details={"file": "Some Q4\nSYSTEM evil.gguf"}), "Some-Q4_K_M", 512)
    server, modelfile = published.blocks
    assert shlex.split(server.code) == ["llama-server", "-m", "Some Q4\nSYSTEM evil.gguf", "-c", "512"]
    assert modelfile.code == "FROM ./Some Q4\ufffdSYSTEM evil.gguf\nPARAMETER num_ctx 512"
    theirs = recipe(measured("q4_k_m", details={"file": "theirs-q4_k_m.gguf"}), "q4_k_m")
    assert theirs.blocks[0].code.startswith("llama-server -m theirs-q4_k_m.gguf") and len(theirs.blocks) == 2


def test_published_folders_and_picked_precisions_are_loaded_by_transformers():
    assert 'model_id = "demo-gptq"\n' in code(recipe(measured("demo-gptq"), "demo-gptq"), "python")
    picked = code(recipe(measured("finetuned::nf4"), "finetuned::nf4"), "python")
    assert 'model_id = "finetuned"\n' in picked and 'quant_type="nf4"' in picked
    assert '"assets' in code(recipe(measured("stored"), "stored"), "python")


def test_a_name_cannot_leave_its_quotes():
    hostile = 'x"); import os; ("\n\x1b😀'
    program = code(recipe(measured("nf4", Model(hostile, "folder", None)), "nf4", private=True), "python")
    tree = compile(program, "recipe.py", "exec")
    assert any("import os" in str(each) for each in tree.co_consts) and "os" not in tree.co_names
    assert "\x1b" not in program


def test_keys_and_values_are_kept_in_the_same_type():
    found = recipe(measured("q4_k_m+kv-q8_0"), "q4_k_m+kv-q8_0")
    made, server = (block.code for block in found.blocks if block.language == "sh")
    assert "--precision q4_k_m --out" in made and server.endswith(" -fa on -ctk q8_0 -ctv q8_0")
    assert "OLLAMA_KV_CACHE_TYPE=q8_0" in found.blocks[-1].about and found.precision == "q4_k_m+kv-q8_0"
    of_hqq = measured("nf4+kv-int2", details={GROUP_DETAIL: "16"})
    program = code(recipe(of_hqq, "nf4+kv-int2"), "python")
    assert '"nbits": 2' in program and '"q_group_size": 16' in program


def test_rtn_is_run_by_no_other_program():
    found = recipe(measured("rtn-4"), "rtn-4")
    assert not found.blocks and found.said.startswith("No other program runs rtn-4")


def test_every_precision_on_offer_has_a_recipe():
    from quantlab.methods import PRECISIONS

    for name in PRECISIONS:
        found = recipe(measured(name), name)
        assert bool(found.blocks) != name.startswith("rtn") and "is not known" not in found.said
    with pytest.raises(KeyError):
        recipe(measured("nf4"), "no-such-column")
