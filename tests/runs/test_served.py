"""A served model as a column of a comparison: what it gives and what it lacks."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import httpx
import pytest

from quantlab.errors import BadInput
from quantlab.export import read_json, to_csv, to_json, to_markdown
from quantlab.measure import trust
from quantlab.records import Comparison, QualitySettings, Settings
from quantlab.records.events import Finished, Loaded, TimingAgain, Token
from quantlab.reporting.html import html
from quantlab.runs import compare as comparing
from quantlab.runs.quality import quality
from quantlab.settings import app_settings
from tests.served_columns import NEW, PROMPT, compared, run_of
from tests.served_stand_in import WORDS, Script, serving


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """No server is waited for longer than a test may take."""
    monkeypatch.setattr(app_settings(), "served_seconds", 1.0)


def test_its_text_comes_piece_by_piece_and_is_timed():
    with serving(Script(gap_s=0.06)) as spec:
        events = list(comparing.compare("demo", ("fp32", spec), PROMPT, Settings(max_new_tokens=4)))
    name = f"served@{spec.removeprefix('openai:http://').removesuffix('/v1')}"
    texts = [it.text for it in events if isinstance(it, Token) and it.precision == name]
    assert list(dict.fromkeys(texts)) == ["".join(WORDS[: i + 1]) for i in range(4)]
    assert not any(isinstance(it, Loaded) and it.precision == name for it in events)
    assert [it.answers for it in events if isinstance(it, TimingAgain) and it.precision == name] == [2, 3]
    (run,) = [it.run for it in events if isinstance(it, Finished) and it.run.precision == name]
    assert run.text == "".join(WORDS) == "".join(run.tokens) and not run.stopped
    assert run.timing is not None and len(run.timing.itl_s) == 3 and all(gap > 0.03 for gap in run.timing.itl_s)
    assert run.timing.ttft_s > 0.03 and len(run.ttft_samples) == len(run.decode_samples) == trust.ANSWERS
    assert 0 < (run.decode_tokens_per_s or 0) < 1 / 0.03


def test_what_no_server_tells_is_missing_and_says_why():
    with serving(Script()) as spec:
        found = compared("fp32", spec)
    run = found.runs[1]
    assert (run.load, run.peak, run.kv_cache_bytes, run.bandwidth_share, run.differences) == (
        None,
        None,
        None,
        None,
        (),
    )
    assert run.served is not None and set(run.served.missing) == {"memory", "kld"}
    for shown in (" ".join(run.served.said), html(found), to_markdown(found)):
        assert "does not tell what its weights and its KV cache take" in shown
        assert "does not tell the probabilities of all tokens" in shown
    again = read_json(to_json(found))
    assert isinstance(again, Comparison) and again.runs[1].served == run.served
    assert run.served.address in to_csv(found)


def test_the_program_of_a_comparison_leaves_it_out_and_says_so():
    from quantlab.reporting.code import as_asked, code

    with serving(Script()) as spec:
        found = compared("fp32", spec)
    program = code(found, as_asked(found, ["fp32", spec]))
    compile(program, "program", "exec")
    address = spec.removeprefix("openai:")
    assert (
        f"was answered by a server, 'demo' at {address}" in program and 'from_pretrained(\n    "openai' not in program
    )


def test_a_file_without_the_field_is_read():
    import json

    with serving(Script()) as spec:
        data = json.loads(to_json(compared("fp32", spec)))
    for run in data["runs"]:
        del run["served"]
    assert all(run.served is None for run in read_json(json.dumps(data)).runs)


def test_the_divergence_of_the_few_has_a_row_of_its_own():
    with serving(Script()) as spec:
        run = run_of(spec)
    assert run.served is not None and run.served.top_k == 5 and run.served.top_k_kld
    assert "Top-5 divergence" in " ".join(run.served.said) and "at most the full KLD" in " ".join(run.served.said)
    assert run.differences == ()


def test_without_log_probabilities_there_is_none():
    for script in (Script(logprobs=False), Script(refuses=("logprobs",))):
        with serving(script) as spec:
            run = run_of(spec)
        assert run.text == "".join(WORDS) and run.served is not None
        assert run.served.top_k is None and run.served.top_k_kld == () and run.served.distance is None
        assert "tells no log-probabilities" in " ".join(run.served.said)


def test_a_server_that_takes_plain_requests_only():
    script = Script(refuses=("repeat_penalty", "repetition_penalty", "top_k"))
    with serving(script) as spec:
        run = run_of(spec)
    assert run.text == "".join(WORDS) and run.served is not None and run.served.top_k == 5
    assert "repeat_penalty" not in script.asked[-1][1] and script.asked[-1][1]["temperature"] == 0


def test_greedy_is_asked_for_without_any_penalty():
    script = Script()
    with serving(script) as spec:
        run_of(spec)
    sent = script.asked[-1][1]
    assert (sent["temperature"], sent["repeat_penalty"], sent["max_tokens"], sent["model"]) == (0, 1.0, NEW, "demo")
    assert sent["prompt"].endswith("<|assistant|>") and "<|bos|>" not in sent["prompt"]


def test_a_server_that_is_not_greedy_is_found_out():
    def penalty(handler, path, body):
        if path != "completions" or not body.get("stream"):
            return False
        handler.begin("text/event-stream")
        told = '{"tokens": [" b"], "top_logprobs": [{" a": -0.2, " b": -2.0}]}'
        handler.send(f'data: {{"choices": [{{"text": " b", "logprobs": {told}, "finish_reason": "stop"}}]}}\n\n')
        return True

    with serving(Script(reply=penalty)) as spec:
        run = run_of(spec)
    assert run.served is not None and "does not answer greedily" in " ".join(run.served.notes)


def test_a_server_of_chat_alone():
    script = Script(chat_only=True)
    with serving(script) as spec:
        run = run_of(spec)
    assert run.text == "".join(WORDS) and run.served is not None and run.served.endpoint == "chat/completions"
    assert "in the server's own template" in " ".join(run.served.said) and run.served.top_k == 5
    (message,) = script.asked[-1][1]["messages"]
    assert message == {"role": "user", "content": PROMPT}, "the template is the server's"


def test_a_prompt_that_is_read_otherwise_is_told():
    with serving(Script()) as spec:
        run = run_of(spec)
    assert run.served is not None and "read the prompt as 3 tokens" in " ".join(run.served.notes)


def test_a_key_is_handed_over_and_told_to_nobody(monkeypatch):
    from pydantic import SecretStr

    script = Script(key="sesame-7")
    with serving(script) as spec:
        refused = run_of(spec)
        assert "wants a key" in (refused.error or "") and "QUANTLAB_OPENAI_KEY" in refused.advice
        monkeypatch.setattr(app_settings(), "openai_key", SecretStr("sesame-7"))
        found = compared("fp32", spec)
    assert found.runs[1].error is None and script.keys[-1] == "Bearer sesame-7"
    assert "sesame" not in to_json(found) and "sesame" not in repr(app_settings())


def test_which_model_is_meant():
    with serving(Script(models=("one", "two"))) as spec:
        assert "serves one, two" in (run_of(spec).error or "")
        assert "Choose from: one, two" in run_of(f"{spec}#three").advice
        assert run_of(f"{spec}#two").error is None
    with serving(Script(models=())) as spec:
        assert "serves no model" in (run_of(spec).error or "")
        assert run_of(f"{spec}#demo").error is None, "some servers list none"


def test_stop_leaves_a_server_that_does_not_answer_at_once(monkeypatch):
    monkeypatch.setattr(app_settings(), "served_seconds", 60.0)
    left, stop = threading.Event(), threading.Event()

    def never(handler, path, body):
        stop.set()
        left.wait(20)
        return True

    with serving(Script(reply=never)) as spec:
        begun = time.monotonic()
        found = compared("fp32", spec, stop=stop)
        took = time.monotonic() - begun
        left.set()
    assert found.runs[1].stopped and found.runs[1].error is None and took < 15


def test_stop_keeps_what_came():
    stop = threading.Event()
    with serving(Script(words=tuple(f" {i}" for i in range(50)), gap_s=0.05)) as spec:
        events = comparing.compare("demo", ("fp32", spec), PROMPT, Settings(max_new_tokens=50), stop=stop)
        for event in events:
            if isinstance(event, Token) and event.precision != "fp32" and event.index == 2:
                stop.set()
            last = event
    run = last.comparison.runs[1]
    assert run.stopped and run.text.startswith(" 0 1 2") and len(run.text) < 100


def test_it_cannot_be_the_reference():
    with serving(Script()) as spec:
        with pytest.raises(BadInput, match="Only served models"):
            compared(spec)
        with pytest.raises(BadInput, match="tells too little to be the reference"):
            compared("fp32", spec, reference=spec)


def test_in_a_race_it_answers_after_the_others():
    with serving(Script()) as spec:
        run = run_of(spec, race=True)
    assert run.text == "".join(WORDS) and run.timings_count is False


def test_its_quality_cannot_be_measured():
    from quantlab.fidelity.texts import text

    with serving(Script()) as spec:
        how = QualitySettings(windows=1, layers=False, noise_floor=False)
        *_, last = quality("demo", ("fp32", spec), text("demo"), how)
    run = last.quality.runs[1]
    assert "tells too little for its quality" in (run.error or "") and last.quality.runs[0].error is None


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """The demo model as a GGUF file, made by quantlab."""
    pytest.importorskip("llama_cpp")
    from quantlab.checkpoints.export import quantize
    from quantlab.records import Calibration, Placement
    from quantlab.runtime.background import result

    folder = tmp_path_factory.mktemp("served") / "q8"
    result(quantize("demo", "q8_0", str(folder), Placement("cpu"), Calibration(), stop=threading.Event()))
    (found,) = folder.glob("*.gguf")
    return found


@pytest.fixture(scope="module")
def served(file) -> Iterator[str]:
    """llama-cpp-python's own server on that file."""
    pytest.importorskip("sse_starlette")
    pytest.importorskip("starlette_context")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        **{"model": str(file), "model_alias": "demo", "host": "127.0.0.1", "port": str(port)},
        **{"n_ctx": "512", "n_threads": "1", "logits_all": "true", "verbose": "false"},
    }
    command = [sys.executable, "-m", "llama_cpp.server", *(it for k, v in options.items() for it in (f"--{k}", v))]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("QUANTLAB_", "HF_"))}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address, until = f"http://127.0.0.1:{port}/v1", time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            try:
                if httpx.get(f"{address}/models", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield f"openai:{address}#demo"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_the_same_file_in_process_and_served_gives_the_same_text_and_times_beside_each_other(file, served, monkeypatch):
    monkeypatch.setattr(app_settings(), "served_seconds", 30.0)
    found = compared("fp32", str(file), served, max_new_tokens=48)
    _, here, there = found.runs
    assert here.error is None and there.error is None
    assert there.text == here.text and len(there.text) > 100
    assert (
        there.served is not None
        and there.served.notes == ()
        and there.served.prompt_tokens == len(found.prompt_token_ids)
    )
    for run in (here, there):
        assert run.ttft_s and run.decode_tokens_per_s and len(run.timing.itl_s) == 47
    assert there.ttft_s > here.ttft_s, "the way to the server and back costs time"
    # Of the same weights: the divergence over five tokens is below the full one, and not far below; and the rounding of
    # two programs differs by some 1e-5 nats.
    full = mean(it.kld for it in here.differences)
    assert len(there.served.top_k_kld) == len(here.differences) == 48
    assert 0.5 * full < there.served.distance <= full * 1.05 + 2e-5
