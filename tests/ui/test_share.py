"""Links: what they keep, and what they refuse to believe."""

from dataclasses import replace
from html import unescape
from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.settings import AppSettings
from quantlab.ui.compare.form import FIELDS, Choice
from quantlab.ui.compare.handlers import Handlers
from quantlab.ui.compare.share import MAX_LINK_PROMPT, from_query, left_out, to_query
from tests.fakes import Script, services
from tests.ui.markup import Tags
from tests.ui.parts import parts

LOCAL = AppSettings(public=False)
PUBLIC = AppSettings(public=True)
DEFAULT = Choice(prompt="Default.")


def parsed(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}


@given(
    prompt=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=200),
    tokens=st.integers(1, 512),
    seed=st.integers(0, 2**31 - 1),
    sample=st.booleans(),
    precisions=st.lists(st.sampled_from(["fp32", "nf4-dq", "rtn-2"]), unique=True, min_size=1),
)
def test_a_link_restores_the_choice(prompt, tokens, seed, sample, precisions):
    choice = Choice(
        "shape:bench-100m",
        tuple(precisions),
        prompt,
        tokens,
        sample,
        1.25,
        7,
        0.5,
        seed,
        "nf4-dq",
        "float16",
        True,
        True,
        calibration_samples=64,
        calibration_length=512,
        kernel="marlin",
    )
    assert from_query(parsed(to_query(choice)), DEFAULT, LOCAL) == choice


def test_defaults_are_not_written():
    assert set(parsed(to_query(DEFAULT))) == {"model", "precisions", "prompt"}


def test_a_folder_and_a_long_prompt_stay_out_of_the_link():
    query = parsed(to_query(Choice(model="/home/me/secret", prompt="x" * (MAX_LINK_PROMPT + 1))))
    assert "model" not in query and "prompt" not in query


def test_a_published_checkpoint_of_the_hub_is_kept_and_one_on_this_disk_is_not():
    specs = ("nf4", "TheBloke/TinyLlama-GPTQ@main", "Qwen/Qwen2.5-GGUF::q4_k_m.gguf", "demo::rtn-3")
    query = to_query(Choice(precisions=(*specs, "/models/secret", "./x.gguf", "~/m::nf4")))
    assert "secret" not in query and from_query(parsed(query), DEFAULT, LOCAL).precisions == specs
    assert from_query(parsed(query), DEFAULT, PUBLIC).precisions == ("nf4",)


def test_a_served_model_is_neither_written_into_a_link_nor_taken_from_one():
    """A link comes from anybody: it makes this machine ask no server."""
    served = "openai:http://127.0.0.1:8000/v1#demo"
    query = parsed(to_query(replace(DEFAULT, precisions=("fp32", served))))
    assert query["precisions"] == "fp32"
    assert from_query({"precisions": f"fp32,{served}"}, DEFAULT, LOCAL).precisions == ("fp32",)


def test_what_a_link_leaves_out_is_named():
    assert left_out(Choice(precisions=("nf4", "TheBloke/TinyLlama-GPTQ"))) == ()
    choice = Choice("/home/me/model", ("nf4", "/models/secret.gguf"), "x" * (MAX_LINK_PROMPT + 1))
    told = " and ".join(left_out(replace(choice, calibration_file="own.txt")))
    for part in ("model, a folder", "/models/secret.gguf", "prompt, too long", "calibration text"):
        assert part in told


def test_the_name_of_a_checkpoint_on_this_disk_stays_out_as_reference_too():
    choice = Choice(precisions=("nf4", "/models/secret.gguf"), reference="secret")
    assert "secret" not in to_query(choice)
    assert "reference=x" in to_query(replace(choice, precisions=("nf4", "owner/x"), reference="x"))


def test_a_calibration_file_stays_out_of_the_link():
    assert "calibration" not in to_query(Choice(calibration_file="/tmp/gradio/private.txt"))


HOSTILE = {
    "model": [
        "/etc/passwd",
        "../../etc",
        "~/x",
        "a/../b",
        "C:\\x",
        "",
        "a/b/c",
        "x" * 500 + "/y",
        "http://evil/x",
        "a/b@..",
    ],
    "precisions": [
        "",
        "<img src=x>",
        ",".join("p" * 300 for _ in range(50)),
        "nf4;rm",
        "/etc/passwd",
        "~/x::nf4",
        "./a/b",
        "a/../b::nf4",
        "a/b::../../etc",
        "a/b::",
        "::nf4",
        "/models/x.gguf",
        "a/b::" + "x" * 400,
    ],
    "prompt": ["", "x" * 100_000, "a\0b"],
    "max_new_tokens": ["0", "-1", "513", "1e9", "9" * 400, "nan", "١٢"],
    "sample": ["2", "true", "<b>"],
    "temperature": ["nan", "inf", "-1", "0", "1e3", "9" * 400],
    "top_k": ["-1", "201", "x"],
    "top_p": ["0", "1.1", "nan"],
    "seed": ["-1", str(2**31), "0x10"],
    "reference": ["<script>", "a" * 99, "a b"],
    "compute_dtype": ["int8", "float64", "__import__"],
    "raw": ["yes"],
    "race": [""],
    "calibration_samples": ["0", "-1", "1e3", "99999"],
    "calibration_length": ["0", "15", "99999", "x"],
    "calibration_file": ["/etc/passwd", "a.txt"],
    "kernel": ["", "<script>", "a b", "/bin/sh", "x" * 99],
    "fresh": ["1", "true"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in HOSTILE.items() for text in texts])
def test_a_hostile_value_is_ignored(name, text):
    assert from_query({name: text}, DEFAULT, LOCAL) == DEFAULT


def test_of_a_links_precisions_those_that_are_names_are_taken():
    named = {"precisions": "nf4,,<b>,rtn-3,nf4,/etc/passwd,owner/name"}
    assert from_query(named, DEFAULT, LOCAL).precisions == ("nf4", "rtn-3", "owner/name")
    assert from_query(named, DEFAULT, PUBLIC).precisions == ("nf4", "rtn-3")
    many = {"precisions": ",".join(f"p{i}" for i in range(50))}
    assert from_query(many, DEFAULT, LOCAL).precisions == tuple(f"p{i}" for i in range(LOCAL.max_columns))


def test_every_field_has_hostile_values():
    assert set(HOSTILE) == set(FIELDS)


@pytest.mark.parametrize("name", ["gpt2/other", "shape:Llama-2-70B", "./x"])
def test_in_public_a_link_names_allowed_models_only(name):
    assert from_query({"model": name}, DEFAULT, PUBLIC).model == "demo"
    assert from_query({"model": PUBLIC.allowed_models[1]}, DEFAULT, PUBLIC).model == PUBLIC.allowed_models[1]


@given(st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=40)))
def test_nothing_makes_it_raise(query):
    assert isinstance(from_query(query, DEFAULT, LOCAL), Choice)


def test_a_link_says_which_of_its_precisions_cannot_be_ticked(open_page, url):
    page = open_page(f"{url}?precisions=fp32,nf4,nosuch-3&prompt=A+link.")
    page.wait_for_selector("#problem .fault:has-text('left out')")
    told = page.inner_text("#problem")
    assert "nosuch-3." in told and "fp32" not in told
    assert page.locator("#precisions input:checked").count() == 2


def told_of(query: dict[str, str], app: AppSettings = LOCAL) -> str:
    page = parts()
    page.examples = tuple(f"example {i}" for i in range(5))
    request = SimpleNamespace(query_params=query)
    return unescape(Handlers(page, app, services(Script(0, 0))).restore(request)["problem"])


def test_a_link_that_is_taken_whole_says_nothing():
    whole = {"model": "demo", "precisions": "fp32,nf4", "prompt": "A", "seed": "7", "reference": "nf4", "sample": "0"}
    assert told_of(whole) == ""


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_of_a_link_that_is_not_taken_is_named(name):
    for text in filter(None, HOSTILE[name]):
        told = told_of({name: text})
        assert "left out" in told if name in ("model", "precisions") else f"were: {name}." in told, text


def test_it_says_all_that_was_not_taken_and_why_at_once():
    told = told_of({"model": "/etc", "precisions": "rtn-3,<b>,nosuch", "seed": "x", "reference": "q9"})
    for words in ("The link’s model '/etc' was left out", "not to be had: <b>, nosuch.", "were: seed, reference."):
        assert words in told, words
    many = ["rtn-8", "rtn-4", "rtn-3", "rtn-2", "fp32", "bf16", "fp16"]
    assert f"too many or not to be had: {', '.join(many[LOCAL.max_columns :])}." in told_of(
        {"precisions": ",".join(many)}
    )


def test_what_a_link_names_is_not_printed_at_length():
    told = told_of(
        {"model": "m" * 5_000, "precisions": ",".join(f"{'p' * 900}{i}" for i in range(9)), "seed": "9" * 99}
    )
    assert "m" * 100 in told and len(Tags(told).text) < 1_200


def test_in_public_a_link_to_a_path_says_nothing_of_the_path(tmp_path):
    there, nowhere = told_of({"model": str(tmp_path)}, PUBLIC), told_of({"model": f"{tmp_path}x"}, PUBLIC)
    assert there.replace(str(tmp_path), "") == nowhere.replace(f"{tmp_path}x", "")
    assert "this page offers the models of its list" in there
