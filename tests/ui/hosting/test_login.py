"""A class's password, and sign-in with Hugging Face: what is shut, and for whom."""

import base64
import hashlib
import json
import re
import time

import httpx
import pytest
from gradio import oauth
from gradio_client import Client
from itsdangerous import TimestampSigner

from quantlab.errors import BadInput
from quantlab.settings import AppSettings
from quantlab.ui.launch import start
from quantlab.ui.page import build_page
from tests.fakes import Script, services
from tests.ui.hosting.asking import ask, finished
from tests.ui.pages import served

PASSWORD = "bits are cheap"
#: What shows or does something, of gradio's routes.
SHUT = ("config", "gradio_api/info", "gradio_api/queue/data?session_hash=a", "gradio_api/file=assets/style.css")


def test_with_the_password_a_class_comes_in():
    with served(Script(0, 0), password=PASSWORD) as url:
        client = Client(url, auth=("Ada", PASSWORD), verbose=False, download_files=False)
        assert finished(ask(client)) == 2


def test_without_it_nothing_is_shown_or_done():
    with served(Script(0, 0), password=PASSWORD) as url:
        assert {path: httpx.get(url + path).status_code for path in SHUT} == dict.fromkeys(SHUT, 401)
        body = {"data": [], "fn_index": 0, "session_hash": "a"}
        for path in ("gradio_api/queue/join", "gradio_api/run/compare", "gradio_api/call/compare", "gradio_api/upload"):
            assert httpx.post(url + path, json=body).status_code == 401, path
        page = httpx.get(url).text
        assert "teacher gave you" in page and "Compare" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
        # As the README says of both.
        assert [httpx.get(url + path).status_code for path in ("healthz", "metrics")] == [200, 200]
        with pytest.raises(Exception, match=r"(?i)auth|credential|log"):
            Client(url, auth=("Ada", "wrong"), verbose=False)


def test_a_password_cannot_be_guessed_fast_and_the_right_one_is_never_counted():
    with served(Script(0, 0), password=PASSWORD) as url:

        def tried(password: str) -> int:
            return httpx.post(f"{url}login", data={"username": "x", "password": password}).status_code

        assert [tried(PASSWORD) for _ in range(30)] == [200] * 30, "a class behind one address"
        assert [tried(f"guess {number}") for number in range(22)] == [400] * 20 + [429] * 2
        assert 'quantlab_refused_total{why="login"} 20.0' in httpx.get(f"{url}metrics").text


def test_the_password_is_not_shown_with_the_settings():
    assert PASSWORD not in repr(AppSettings(password=PASSWORD))


def refused(**more: object) -> str:
    app = AppSettings(**{"public": False, "port": 0, **more})
    with pytest.raises(BadInput) as error:
        start(build_page(app, services()), app, block=False)
    return str(error.value)


def test_sign_in_is_for_spaces(monkeypatch):
    assert "hf_oauth: true" in refused(sign_in=True)
    assert "QUANTLAB_PASSWORD" in refused(organisation="a-school")
    monkeypatch.setenv("OAUTH_CLIENT_ID", "id")
    assert "not both" in refused(sign_in=True, password="x", space="somebody/quantlab")


def test_a_space_that_has_sign_in_asks_for_it(monkeypatch):
    monkeypatch.setenv("OAUTH_CLIENT_ID", "id")
    assert not AppSettings().sign_in
    monkeypatch.setenv("SPACE_ID", "somebody/quantlab")
    assert AppSettings().signs_in and not AppSettings(sign_in=False).signs_in


@pytest.fixture
def space(monkeypatch) -> None:
    """What Hugging Face sets in a Space whose front matter says hf_oauth."""
    monkeypatch.setenv("OAUTH_CLIENT_ID", "id")
    for name, value in {
        "OAUTH_CLIENT_ID": "id",
        "OAUTH_CLIENT_SECRET": "secret",
        "OAUTH_SCOPES": "openid profile",
        "OPENID_PROVIDER_URL": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setattr(oauth, name, value)
    monkeypatch.setattr(oauth, "get_space", lambda: "somebody/quantlab")


def cookie(*organisations: str, left_s: float = 3_600) -> dict[str, str]:
    """The session of somebody who has signed in, as gradio's own middleware signs it."""
    orgs = [{"sub": "1", "name": it.title(), "preferred_username": it} for it in organisations]
    info = {"userinfo": {"preferred_username": "ada", "orgs": orgs}, "expires_at": time.time() + left_s}
    held = base64.b64encode(json.dumps({"oauth_info": info}).encode())
    key = hashlib.sha256(b"secret-v4").hexdigest()
    return {"Cookie": f"session={TimestampSigner(key).sign(held).decode()}"}


def test_who_is_not_signed_in_is_sent_there(space):
    with served(Script(0, 0), sign_in=True, space="somebody/quantlab") as url:
        first = httpx.get(url)
        assert (first.status_code, first.headers["location"]) == (302, "/login/huggingface")
        assert {path: httpx.get(url + path).status_code for path in SHUT} == dict.fromkeys(SHUT, 401)
        answer = httpx.post(f"{url}gradio_api/queue/join", json={})
        assert answer.status_code == 401 and "Sign in" in answer.json()["detail"]
        assert httpx.get(f"{url}gradio_api/heartbeat/abc").status_code == 401
        forged = cookie()["Cookie"][:-2] + "xx"
        assert httpx.get(f"{url}config", headers={"Cookie": forged}).status_code == 401
        assert httpx.get(f"{url}config", headers=cookie(left_s=-1)).status_code == 401
        assert httpx.get(f"{url}config", headers=cookie()).status_code == 200
        assert httpx.get(f"{url}healthz").status_code == 200


def test_of_an_organisation_only_its_members_come_in(space):
    with served(Script(0, 0), organisation="a-school", space="somebody/quantlab") as url:
        member = cookie("another", "a-school")
        assert httpx.get(f"{url}config", headers=member).status_code == 200
        client = Client(url, headers=member, verbose=False, download_files=False)
        assert finished(ask(client)) == 2
        for others in ((), ("another",), ("a-school-too",)):
            answer = httpx.get(f"{url}config", headers=cookie(*others))
            assert answer.status_code == 403 and "members of a-school" in answer.json()["detail"]
