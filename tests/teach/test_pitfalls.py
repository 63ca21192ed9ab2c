"""The pitfalls: each is noticed where it is there, and not where it is not."""

import json
import shutil
from collections import namedtuple
from dataclasses import replace
from types import SimpleNamespace

import pytest

from quantlab import cli, models
from quantlab.errors import BadInput, ModelError
from quantlab.methods import METHODS
from quantlab.records.pitfalls import CARE, FINE, UNSEEN, WRONG
from quantlab.runtime import hardware
from quantlab.settings import AppSettings
from quantlab.teach.pitfalls import diagnose, of_machine, of_model

APP = AppSettings(public=False)


@pytest.mark.parametrize(("native", "state", "dtype"), [(True, FINE, "bfloat16"), (False, CARE, "float32")])
def test_the_type_of_products_follows_the_processor(monkeypatch, native, state, dtype):
    monkeypatch.setattr(hardware, "computes_bfloat16", lambda device: native)
    found = of_machine.compute_type("cpu")
    assert found.state == state and found.code.endswith(f"bnb_4bit_compute_dtype=torch.{dtype})")


def test_devices():
    assert of_machine.on_a_processor("cpu").state == CARE
    assert of_machine.device_map(1).state == FINE
    assert of_machine.device_map(2).state == CARE and "auto" in of_machine.device_map(2).code


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(METHODS["hqq"], "unavailable", lambda device: "needs the package hqq: pip install hqq")
    found = of_machine.kernels("cpu")
    assert found.state == CARE and f"{METHODS['hqq'].title}: it needs the package hqq: pip install hqq." in found.seen
    for method in METHODS.values():
        monkeypatch.setattr(method, "unavailable", lambda device: None)
    assert of_machine.kernels("cpu").state == FINE


@pytest.mark.parametrize(
    ("ranges", "state", "told"),
    [
        ({"torch": ">=2"}, FINE, "All 1"),
        ({"torch": "<1"}, WRONG, "made for <1"),
        ({"no-such-package-at-all": ">1"}, WRONG, "is missing"),
        ({}, UNSEEN, "not known"),
    ],
)
def test_versions_are_held_against_their_ranges(ranges, state, told):
    found = of_machine.versions(ranges)
    assert found.state == state and told in found.seen


def test_the_ranges_are_those_of_the_requirements():
    assert {"torch", "transformers", "gradio", "bitsandbytes"} <= set(of_machine._ranges())


def test_matrices_that_k_quants_do_not_divide_are_counted():
    assert of_model.fallen_back(models.peek_main("shape:Mistral-7B-v0.3", APP)).state == FINE
    checkpoint = models.peek_main("shape:SmolLM2-135M", APP)
    found = of_model.fallen_back(checkpoint)
    # SmolLM2's rows have 576 values, those of down_proj 1,536 = 6 x 256.
    odd = [name for name, it in checkpoint.tensors.items() if len(it.shape) == 2 and it.shape[1] % 256]
    counted = sum(int(part.split()[0]) for part in found.seen.rpartition(": ")[2].rstrip(".").split(", "))
    assert found.state == CARE and counted == len(odd)


@pytest.mark.parametrize(("dtype", "state"), [("bfloat16", CARE), ("float32", FINE), (None, UNSEEN)])
def test_what_was_trained_in_bfloat16_may_leave_the_range_of_float16(dtype, state):
    known = models.peek_main("demo", APP)
    config = {key: it for key, it in known.config.items() if key not in ("dtype", "torch_dtype")}
    config |= {"torch_dtype": dtype} if dtype else {}
    assert of_model.range_of_float16(replace(known, config=config)).state == state


@pytest.mark.parametrize(("plain", "ours", "state"), [([5, 5, 6], [5, 6], CARE), ([5, 6], [5, 6], FINE)])
def test_a_second_begin_of_text_is_noticed(monkeypatch, plain, ours, state):
    made = SimpleNamespace(bos_token_id=5, chat_template="x", encode=lambda text: plain)
    monkeypatch.setattr("quantlab.models.tokenizer.load_tokenizer", lambda model: made)
    monkeypatch.setattr("quantlab.models.templates.render", lambda tokenizer, text: text)
    monkeypatch.setattr("quantlab.models.tokenizer.encode_prompt", lambda tokenizer, text, raw: ours)
    found = of_model.begin_of_text(models.resolve("demo", APP))
    assert found.state == state and ("puts 2, quantlab one" in found.seen) is (state == CARE)
    assert of_model.begin_of_text(None).state == UNSEEN


def test_of_the_demo_a_plain_script_reads_it_twice():
    from transformers import AutoTokenizer

    demo = models.resolve("demo", APP)
    tokenizer = AutoTokenizer.from_pretrained(demo.folder)
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
    assert tokenizer.encode(rendered)[:2] == [tokenizer.bos_token_id] * 2
    assert of_model.begin_of_text(demo).state == CARE


def test_too_little_room_is_noticed(monkeypatch):
    known = models.peek_main("demo", APP)
    assert of_model.space(known, APP).state == FINE
    assert of_model.space(known, APP.model_copy(update={"cache_bytes": 100})).state == CARE
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10**9, 10**9 - 1_000, 1_000))
    assert of_model.space(known, APP).state == WRONG


def test_without_a_model_its_pitfalls_are_not_looked_at():
    found = diagnose(None, "cpu", APP)
    assert [it.state for it in found[-4:]] == [UNSEEN] * 4 and len(found) == 9
    assert {it.name for it in found} == {it.name for it in diagnose("demo", "cpu", APP)}


def test_what_does_not_exist_is_told():
    with pytest.raises(ModelError):
        diagnose("/no/such/model", "cpu", APP)
    with pytest.raises(BadInput):
        diagnose(None, "gpu", APP)


def test_the_command_gives_json(capsys):
    code = cli.main(["doctor", "--model", "demo", "--device", "cpu", "--json", "-"])
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "quantlab.doctor/1" and len(found["pitfalls"]) == 9
    assert code == any(it["state"] == WRONG for it in found["pitfalls"])
    assert cli.main(["doctor", "--model", "/no/such"]) == 2
