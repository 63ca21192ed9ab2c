"""The endpoints as a program meets them: names and types, what they give, what they refuse, and that a run ends with
whoever asked for it."""

import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlab.errors import BadInput
from quantlab.export import record_from
from quantlab.settings import DOCS, AppSettings
from quantlab.ui.api.endpoints import Endpoints
from quantlab.ui.hosting.work import Work
from quantlab.ui.page import build_page
from quantlab.ui.turns.turns import Turns
from tests.fakes import Script, services
from tests.ui.pages import FAST, served

SCHEMA = Path(__file__).with_name("schema.json")
NAMES = {"/compare", "/quality", "/plan", "/estimate", "/models", "/precisions"}
GOOD = {"model": "demo", "precisions": ["fp32", "nf4"], "prompt": "Hello there", "max_new_tokens": 8}


@pytest.fixture(scope="module")
def script() -> Script:
    return Script(**FAST)


@pytest.fixture(scope="module")
def url(script) -> Iterator[str]:
    with served(script, public=True, max_new_tokens=128) as address:
        yield address


@pytest.fixture(scope="module")
def client(url) -> Client:
    return Client(url, verbose=False, download_files=False)


def told_of(public: bool) -> dict[str, Any]:
    """Name -> parameters and what is given, as `/gradio_api/info` tells it."""
    info = build_page(AppSettings(public=public), services()).get_api_info()
    assert info["unnamed_endpoints"] == {}
    kept = ("parameter_name", "parameter_has_default", "parameter_default", "type")
    return {
        name: {
            "parameters": [{key: it[key] for key in kept} for it in held["parameters"]],
            "returns": [it["type"] for it in held["returns"]],
        }
        for name, held in info["named_endpoints"].items()
    }


@pytest.mark.parametrize("public", [True, False])
def test_names_types_and_defaults_stay_as_they_are(public):
    assert told_of(public) == json.loads(SCHEMA.read_text())


def test_no_handler_of_the_page_is_offered(client):
    assert {f"/{it['api_name']}" for it in client.config["dependencies"] if it["api_visibility"] == "public"} == NAMES
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == NAMES
    with pytest.raises(ValueError, match="Cannot find a function"):
        client.predict(api_name="/class_open")


def test_a_comparison_is_told_event_by_event_and_whole_at_the_end(client, script):
    before = len(script.stops)
    job = client.submit(**GOOD, api_name="/compare")
    done = job.result()
    told = job.outputs()
    assert len(script.stops) == before + 1 and told[-1] == done
    names = [it["event"] for it in told if it["event"] != "working"]
    assert names[0] == "started" and names[-1] == "done" and {"loading", "loaded", "token", "finished"} < set(names)
    assert names.count("finished") == 2 and names.count("done") == 1
    record = record_from(done["comparison"])
    assert [run.precision for run in record.runs] == ["fp32", "nf4"] and record.settings.max_new_tokens == 8
    assert record.run("nf4").text == [it for it in told if it["event"] == "token"][-1]["text"]
    finished = [it["run"] for it in told if it["event"] == "finished"]
    assert finished == done["comparison"]["runs"] and done["notice"] is None and done["replayed"] is False


def test_a_quality_run_too(client):
    job = client.submit("demo", ["fp32", "nf4"], windows=3, api_name="/quality")
    done = job.result()
    record = record_from(done["quality"])
    assert record.run("nf4").fidelity is not None and {"measuring", "measured"} < {it["event"] for it in job.outputs()}


def test_a_text_of_ones_own_is_read(client):
    done = client.predict("demo", ["fp32", "nf4"], text="A text of a program. " * 300, windows=2, api_name="/quality")
    assert done["quality"]["text"]["name"] == "pasted text", "source is not read"


def test_brief_leaves_the_long_lists_out(client):
    whole = client.predict(**GOOD, api_name="/compare")["comparison"]
    short = client.predict(**GOOD, brief=True, api_name="/compare")["comparison"]
    assert len(json.dumps(short)) < 0.6 * len(json.dumps(whole))
    for run, same in zip(short["runs"], whole["runs"], strict=True):
        assert "differences" not in run and "token_ids" not in run
        assert (run["text"], run["stored_bytes"]) == (same["text"], same["stored_bytes"])


def test_what_is_looked_up(client):
    assert {"name", "kind", "description"} == set(client.predict(api_name="/models")["models"][0])
    listed = client.predict("demo", api_name="/precisions")["precisions"]
    nf4 = next(it for it in listed if it["precision"] == "nf4")
    one = client.predict("demo", "nf4", api_name="/estimate")
    assert one["schema"] == "quantlab.estimate/1" and set(one) == {*nf4, "schema", "model"}
    assert one["estimated_bytes"] == nf4["estimated_bytes"] > 0
    plan = client.predict("shape:bench-100m", ["bf16", "nf4"], card="RTX 3060", finetune="lora", api_name="/plan")
    assert plan["schema"] == "quantlab.plan/1" and plan["finetuned"]["total_bytes"] > 0
    assert [it["precision"] for it in plan["precisions"]] == ["bf16", "nf4"]


REFUSED = [
    ("/compare", {"model": "/etc"}, "Unknown model"),
    ("/compare", {"model": "../../etc/passwd"}, "Unknown model"),
    ("/compare", {"model": ""}, "No model"),
    ("/compare", {"precisions": []}, "No precision"),
    ("/compare", {"precisions": "fp32"}, "no list of names"),
    ("/compare", {"precisions": [{"a": 1}]}, "no list of names"),
    ("/compare", {"precisions": ["fp32", "fp32"]}, "twice"),
    ("/compare", {"precisions": [f"rtn-{i}" for i in range(7)]}, "At most 6"),
    ("/compare", {"precisions": ["fp32", "./weights.gguf"]}, "takes no checkpoints"),
    ("/compare", {"precisions": ["fp32", "openai:http://127.0.0.1:1/v1#m"]}, "takes no checkpoints"),
    ("/compare", {"precisions": ["fp32", "nf4+/etc"]}, "takes no checkpoints|Unknown precision"),
    ("/compare", {"precisions": ["fp32", "rtn-4-g16"]}, "Unknown precision"),
    ("/compare", {"prompt": " "}, "prompt is empty"),
    ("/compare", {"prompt": "x" * 300_000}, "too long"),
    ("/compare", {"max_new_tokens": 129}, "Ask for 1 to 128"),
    ("/compare", {"max_new_tokens": "many"}, "max new tokens is not a number: 'many'"),
    ("/compare", {"compute_dtype": "int8"}, "Unknown compute dtype"),
    ("/compare", {"reference": "int8"}, "'int8' is none of the precisions"),
    ("/compare", {"seed": None}, "seed is empty. Give a number"),
    ("/quality", {"windows": 21}, "Ask for 1 to 20"),
    ("/quality", {"source": "/etc/passwd"}, "Unknown text"),
    (
        "/quality",
        {"source": "file"},
        "^Unknown text 'file'. Choose from: demo, english, wikitext2. A text of your",
    ),
    ("/quality", {"source": "paste"}, "Unknown text 'paste'"),
    ("/quality", {"text": " "}, "is empty"),
    ("/quality", {"text": "a b " * 60_000}, "reads at most"),
    ("/quality", {"tasks": ["hellaswag"]}, "Unknown task"),
    ("/quality", {"model": "/etc"}, "Unknown model"),
    ("/plan", {"model": "/etc"}, "."),
    ("/plan", {"context": "long"}, "context"),
    ("/plan", {"precisions": ["/etc"]}, "takes no checkpoints"),
    ("/plan", {"precisions": ["nf4+/etc"]}, "takes no checkpoints|Unknown precision"),
    ("/estimate", {"model": "/etc"}, "Unknown model"),
    ("/estimate", {"precision": "/etc"}, "takes no checkpoints"),
    ("/precisions", {"model": "openai/gpt"}, "Unknown model"),
    ("/precisions", {"compute_dtype": "x"}, "Unknown compute dtype"),
]
NEEDED: dict[str, dict[str, Any]] = {
    "/compare": GOOD,
    "/quality": {"model": "demo", "precisions": ["fp32", "nf4"]},
    "/plan": {"model": "demo"},
    "/estimate": {"model": "demo", "precision": "nf4"},
    "/precisions": {"model": "demo"},
}


@pytest.mark.parametrize(("name", "changes", "said"), REFUSED, ids=lambda it: str(it)[:50])
def test_a_public_page_refuses_in_plain_sentences(client, script, name, changes, said):
    before = len(script.stops)
    with pytest.raises(AppError, match=said) as caught:
        client.predict(**{**NEEDED[name], **changes}, api_name=name)
    assert len(script.stops) == before, "nothing was begun"
    assert re.search(r"[.:)]$", str(caught.value)) and "Traceback" not in str(caught.value)


@pytest.mark.parametrize("crash", [RuntimeError("secret of /etc/shadow"), BadInput("It cannot be.", "Ask otherwise.")])
def test_a_fault_is_told_without_its_traceback(crash, caplog, capfd):
    with served(Script(0, 0, crash=crash), public=True) as address:
        client = Client(address, verbose=False, download_files=False)
        with pytest.raises(AppError) as caught:
            client.predict(**GOOD, api_name="/compare")
    known = isinstance(crash, BadInput)
    assert str(caught.value) == ("It cannot be. Ask otherwise." if known else str(caught.value))
    assert "secret" not in str(caught.value) and known == ("secret" not in caplog.text)
    assert "Traceback" not in capfd.readouterr().err.replace(caplog.text, "")


def test_a_public_run_ends_at_its_time_and_says_so():
    script = Script(load_s=0, gap_s=0.2)
    with served(script, public=True, max_seconds=1) as address:
        client = Client(address, verbose=False, download_files=False)
        done = client.predict(**GOOD | {"max_new_tokens": 60}, api_name="/compare")
    assert done["notice"] == "Stopped after 1 s, the limit of this public page. Ask for fewer precisions or tokens."
    assert all(run["stopped"] for run in done["comparison"]["runs"]) and done["comparison"]["runs"][0]["text"]


@pytest.mark.parametrize(("name", "begun"), [("/compare", "token"), ("/quality", "measuring")])
def test_a_run_that_the_servers_end_cuts_short_says_so(name, begun):
    work, script = Work(), Script(load_s=0, gap_s=0.1)
    jobs = services(script)
    counted = {it: work.counted(it, getattr(jobs, it)) for it in ("compare", "quality")}
    with served(script, counted) as address:
        client = Client(address, verbose=False, download_files=False)
        long = {"max_new_tokens": 100} if name == "/compare" else {"windows": 100}
        job = client.submit(**{**NEEDED[name], **long}, api_name=name)
        while not any(it["event"] == begun for it in job.outputs()):
            time.sleep(0.02)
        assert not work.end(0)
        done = job.result()
    assert done["event"] == "done" and done["notice"] == "Cut short: this server ends. Ask again in a minute."
    record = done["comparison" if name == "/compare" else "quality"]
    assert any(run["stopped"] for run in record["runs"])


def ends(script: Script, after: int) -> bool:
    """Whether all runs that were begun have ended, within the time that a visitor may hold the machine."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if len(script.stops) > after and all(it.is_set() for it in script.stops) and not script.running:
            return True
        time.sleep(0.02)
    return False


def test_a_client_that_goes_away_stops_its_run():
    script = Script(load_s=0, gap_s=0.05)
    with served(script) as address:
        number = next(
            it["id"] for it in httpx.get(f"{address}config").json()["dependencies"] if it["api_name"] == "compare"
        )
        session = uuid.uuid4().hex
        parameters = json.loads(SCHEMA.read_text())["/compare"]["parameters"]
        sent = GOOD | {"max_new_tokens": 400}
        data = [sent.get(it["parameter_name"], it["parameter_default"]) for it in parameters]
        asked = {"data": data, "fn_index": number, "session_hash": session}
        httpx.post(f"{address}gradio_api/queue/join", json=asked).raise_for_status()
        with httpx.stream("GET", f"{address}gradio_api/queue/data", params={"session_hash": session}) as told:
            next(line for line in told.iter_lines() if '"token"' in line)
            assert script.running == 1
        assert ends(script, 0)


def test_a_cancelled_job_stops_its_run():
    script = Script(load_s=0, gap_s=0.05)
    with served(script) as address:
        job = Client(address, verbose=False).submit(**GOOD | {"max_new_tokens": 400}, api_name="/compare")
        while not any(it["event"] == "token" for it in job.outputs()):
            time.sleep(0.02)
        assert script.running == 1
        job.cancel()
        assert ends(script, 0)


def test_who_waits_is_told_his_place_and_that_no_more_are_taken():
    script = Script(load_s=0, gap_s=0.2)
    with served(script, {"turns": Turns(limit=1)}) as address:
        first, second, third = (Client(address, verbose=False, download_files=False) for _ in range(3))
        running = first.submit(**GOOD | {"max_new_tokens": 60}, api_name="/compare")
        while not script.running:
            time.sleep(0.02)
        waits = second.submit(**GOOD, api_name="/compare")
        while not any(it["event"] == "waiting" for it in waits.outputs()):
            time.sleep(0.02)
        with pytest.raises(AppError, match="1 run waits here already, and no more are taken now"):
            third.predict(**GOOD, api_name="/compare")
        assert waits.outputs()[-1] == {"event": "waiting", "number": 1, "waiting": 1, "seconds": None}
        running.cancel()
        assert waits.result()["event"] == "done"


EXAMPLES = re.findall(r"```python\n(.*?)```", (DOCS / "api.md").read_text("utf-8"), re.S)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_run(example, capsys):
    with served(Script(**FAST)) as address:
        exec(compile(example.replace("http://127.0.0.1:7860", address), "docs/api.md", "exec"), {})
    assert capsys.readouterr().out.strip()


#: What JSON can hold, with what might mean something.
WORDS = st.sampled_from(["", "demo", "nf4", "fp32", "/etc/passwd", "../x", "most precise", "\0", "\ud800", "nf4+/etc"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("name", sorted(NEEDED))
@settings(max_examples=150)
@given(data=st.data())
def test_whatever_is_sent_is_answered_or_refused(name, data):
    every = Endpoints(AppSettings(public=True), services(Script(0, 0)))
    parameters = json.loads(SCHEMA.read_text())[name]["parameters"]
    names = [it["parameter_name"] for it in parameters]
    sent = {**NEEDED[name], **data.draw(st.dictionaries(st.sampled_from(names), ANYTHING, max_size=4))}
    try:
        asker = {"request": gr.Request(session_hash="one")} if name in ("/compare", "/quality") else {}
        answer = getattr(every, name[1:])(**asker, **sent)
        found = answer if isinstance(answer, dict) else list(answer)[-1]
    except gr.Error as error:
        assert str(error.message) and "wrong on our side" not in error.message, sent
    else:
        json.dumps(found, allow_nan=False)
