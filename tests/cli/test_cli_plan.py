"""`quantlab plan`: what it prints, as text and as JSON, and what it refuses."""

import json

import pytest

import quantlab
from quantlab.cli import main

MISTRAL = "shape:Mistral-7B-v0.3"


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(["plan", *arguments])
    found = capsys.readouterr()
    return code, found.out, found.err


def test_one_card_is_told_in_sentences(capsys):
    code, out, _ = run(capsys, "--model", MISTRAL, "--precisions", "bf16,nf4", "--card", "RTX 3060")
    told = " ".join(out.split())
    assert code == 0 and "7,248,023,552 weights" in told and "* an estimate" in told
    assert "bf16 needs 15.5 GB. It does not fit RTX 3060 (12.9 GB)" in told and "or it takes 2 such cards" in told
    assert "nf4 needs 5.49 GB and fits RTX 3060" in told and "longest context" in told
    assert max(len(line) for line in out.splitlines()) <= 80


def test_where_no_context_is_named_that_of_a_small_model_is_taken_and_told(capsys):
    _, out, _ = run(capsys, "--model", "demo", "--precisions", "bf16", "--card", "12")
    told = " ".join(out.split())
    assert "1 x 1,024 tokens" in told and "No context was named" in told and "more than the model" not in told
    _, out, _ = run(capsys, "--card", "12", "--model", "demo", "--model", MISTRAL)
    assert "A model that was made for fewer tokens is planned with as many as that." in " ".join(out.split())
    assert main(["precisions", "--model", "demo", "--card", "12"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "1,024 tokens" in told and "4,096" not in told


def test_without_a_card_every_card_is_listed(capsys):
    _, out, _ = run(capsys, "--model", "shape:Llama-2-70B", "--precisions", "bf16,nf4-dq")
    rows = {line.split("  ")[0]: line.split()[-2:] for line in out.splitlines() if "cards" in line or "fits" in line}
    assert rows["RTX 3090"] == ["2", "cards"] and rows["A100 40GB"][-1] == "fits"


def test_a_card_alone_says_what_it_can_hold(capsys):
    code, out, _ = run(capsys, "--card", "RTX 3060", "--model", "demo", "--model", "/nowhere")
    assert code == 0 and "none fits" in out and "There is no folder" in " ".join(out.split())
    assert [line.split()[1] for line in out.splitlines() if line.startswith(("demo", MISTRAL))] == ["q8_0", "bf16"]
    assert "/nowhere: There is no folder" in out


def test_json_is_one_object_with_all_of_it(capsys):
    code, out, err = run(capsys, "--model", MISTRAL, "--precisions", "nf4,stored", "--card", "12", "--json", "-")
    data = json.loads(out)
    plan = quantlab.plan(MISTRAL, ["nf4"], card=12)
    nf4, stored = data["precisions"]
    assert (code, err, data["schema"]) == (0, "", "quantlab.plan/1") and "needs weights" in stored["refused"]
    assert nf4["stored_bytes"] == sum(nf4["parts"].values()) == plan.precisions[0].stored_bytes
    assert nf4["total_bytes"] == nf4["stored_bytes"] + nf4["kv_cache_bytes"] + nf4["activation_bytes"]
    assert nf4["fits"][0]["fits"] and nf4["fits"][0]["card"]["nbytes"] == 12 * 10**9 and data["finetuned"] is None
    _, out, _ = run(capsys, "--card", "24GB", "--json", "-")
    data = json.loads(out)
    assert data["schema"] == "quantlab.which-fit/1" and len(data["models"]) == 7


def test_json_goes_to_a_file_beside_the_tables(capsys, tmp_path):
    file = tmp_path / "plan.json"
    _, out, _ = run(capsys, "--model", MISTRAL, "--finetune", "lora", "--card", "24", "--json", str(file))
    assert json.loads(file.read_text())["finetuned"]["trainable"] == 6_815_744
    assert "LoRA on 16 bits needs" in out and "adapters" in out


def test_numbers_take_the_place_of_a_model(capsys):
    numbers = "layers=32,hidden_size=4096,heads=32,key_value_heads=8,intermediate_size=14336,vocabulary=32768"
    _, out, _ = run(capsys, "--numbers", f"{numbers},head_dim=128,tied=no", "--precisions", "bf16", "--card", "24")
    assert "numbers as typed, 7,248,023,552 weights" in out
    _, tied, _ = run(capsys, "--numbers", f"{numbers},tied=yes", "--precisions", "bf16", "--card", "24")
    assert "7,113,805,824 weights" in tied


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "Nothing was asked."),
        (("--model", MISTRAL, "--model", "demo"), "Several models are planned for one card."),
        (("--model", MISTRAL, "--card", "0 MB"), "A card cannot have '0 MB' of memory."),
        (("--model", MISTRAL, "--card", "nan"), "A card cannot have 'nan' of memory."),
        (("--model", MISTRAL, "--context", "0"), "The context cannot be 0."),
        (("--model", MISTRAL, "--batch", "0"), "The batch cannot be 0."),
        (("--model", MISTRAL, "--precisions", "nf5"), "Unknown precision 'nf5'."),
        (("--model", "shape:nobody"), "Unknown shape"),
        (("--numbers", "layers=two"), "layers=two is no whole number."),
        (("--numbers", "layers"), "Unknown number 'layers'."),
        (("--numbers", "depth=2"), "Unknown number 'depth'."),
        (("--numbers", "layers=2"), "A model needs these numbers too: hidden_size, heads"),
        (("--card", "24", "--finetune", "lora"), "--finetune is planned for one model."),
        (("--model", MISTRAL, "--json", "/nowhere/at/all.json"), "There is no folder for"),
    ],
)
def test_what_cannot_be_is_refused_in_two_lines(capsys, arguments, what):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "") and err.startswith(f"quantlab: {what}") and len(err.splitlines()) == 2
