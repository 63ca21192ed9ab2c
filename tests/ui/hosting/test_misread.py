"""What no program should send is refused in words: gradio would answer 500, or break its answer off."""

import logging

import httpx
import pytest

from tests.fakes import Script
from tests.ui.pages import served


@pytest.fixture(scope="module")
def url():
    with served(Script(0, 0)) as address:
        yield f"{address}gradio_api/"


@pytest.mark.parametrize(
    ("path", "sent", "code", "said"),
    [
        ("call/v2/compare", {"json": {}}, 422, "required argument: model"),
        ("call/v2/estimate", {"json": {"model": "demo", "colour": "red"}}, 422, "`colour` is not a valid"),
        ("call/v2/nothing", {"json": {}}, 404, "no endpoint 'nothing'"),
        ("call/nothing", {"json": {"data": []}}, 404, "no endpoint 'nothing'"),
        ("upload", {"files": {"files": (None, b"{}")}}, 400, "cannot be read"),
        ("queue/join", {"json": {"data": [], "fn_index": 99_999, "session_hash": "x"}}, 400, "cannot be read"),
    ],
)
def test_it_is_refused_in_words_and_without_a_traceback(url, path, sent, code, said, caplog, capfd):
    with caplog.at_level(logging.WARNING):
        answer = httpx.post(url + path, **sent)
    assert answer.status_code == code and said in answer.json()["detail"]
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("path", ["call/compare/nothing", "call/v2/compare/nothing", "queue/data?session_hash=nothing"])
def test_a_run_that_is_not_there_has_no_events(url, path):
    answer = httpx.get(url + path, timeout=10)
    assert answer.status_code == 404 and "no such run" in answer.json()["detail"]


def test_what_can_be_read_is_answered(url):
    run = httpx.post(f"{url}call/v2/models", json={}).json()["event_id"]
    with httpx.stream("GET", f"{url}call/models/{run}", timeout=30) as told:
        assert told.status_code == 200 and "event: complete" in told.read().decode()
