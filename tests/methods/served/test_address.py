"""What names a served model, and what is refused before anything is asked."""

import pytest

from quantlab.errors import BadInput
from quantlab.methods import served
from quantlab.methods.published import check_there, is_published, label, labels, whole
from quantlab.methods.published import read as read_published
from quantlab.settings import AppSettings

LOCAL = "openai:http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("spec", "address", "model", "shown"),
    [
        (f"{LOCAL}#demo", "http://127.0.0.1:8000/v1", "demo", "demo@127.0.0.1:8000"),
        (LOCAL, "http://127.0.0.1:8000/v1", None, "served@127.0.0.1:8000"),
        (f"{LOCAL}/#meta/Llama-3", "http://127.0.0.1:8000/v1", "meta/Llama-3", "Llama-3@127.0.0.1:8000"),
        ("OpenAI:https://h/v1#/x/a%20b.gguf", "https://h/v1", "/x/a b.gguf", "a b@h"),
        ("openai:http://[::1]:80/v1#a:b", "http://[::1]:80/v1", "a:b", "a:b@[::1]:80"),
    ],
)
def test_an_address_is_read(spec, address, model, shown):
    assert served.read(spec) == served.Server(address, model)
    assert is_published(spec) and label(spec) == read_published(spec).label == shown
    assert whole(spec, AppSettings()) == spec


@pytest.mark.parametrize(
    "spec",
    [
        "openai:",
        "openai:demo",
        "openai:file:///etc/passwd",
        "openai:ftp://h/v1",
        "openai:http://",
        "openai:http://h:99999/v1",
        "openai:http://[::1/v1",
        "openai:http://user:word@h/v1",
        "openai:http://h/v1?key=1",
        "openai:http://h/ v1",
        "openai:http://h/v1\r\nHost: x",
        f"{LOCAL}#demo+kv-int8",
        "openai:http://h/" + "x" * 600,
    ],
)
def test_what_is_no_address_is_refused(spec):
    with pytest.raises(BadInput) as caught:
        label(spec)
    assert "openai:http://HOST:PORT/v1#MODEL" in str(caught.value) and len(str(caught.value)) < 400


def test_in_public_no_server_is_asked():
    check_there(read_published(LOCAL), AppSettings(public=False))
    with pytest.raises(BadInput, match="asks no servers of visitors"):
        check_there(read_published(LOCAL), AppSettings(public=True))


def test_two_servers_of_one_model_have_two_names():
    other = "openai:http://127.0.0.1:8001/v1#demo"
    assert list(labels([f"{LOCAL}#demo", other]).values()) == ["demo@127.0.0.1:8000", "demo@127.0.0.1:8001"]
