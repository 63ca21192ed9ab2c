"""The page as served: what is off, what the server refuses whatever a client sends, and a port in use."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from quantlab.settings import AppSettings
from quantlab.ui import launch
from quantlab.ui.compare.form import FIELDS, Choice
from quantlab.ui.launch import PortInUse, start
from quantlab.ui.page import build_page
from tests.fakes import Script, services
from tests.ui.pages import FAST, Refused, ask_privately, served

ROOT = Path(__file__).parents[2]
GOOD = Choice(precisions=("fp32", "nf4"), prompt="Hello there", max_new_tokens=8)


@pytest.fixture(scope="module")
def script() -> Script:
    return Script(0, 0)


@pytest.fixture(scope="module")
def url(script) -> Iterator[str]:
    with served(script, public=True, max_new_tokens=128, queue_size=3) as address:
        yield address


def ask(url: str, **changes: object) -> str:
    """What the page would show after its `compare` with a good choice but for `changes`."""
    values = {**GOOD.__dict__, **changes}
    arguments = [list(v) if isinstance(v, tuple) else v for v in (values[name] for name in FIELDS)]
    return str(ask_privately(url, "tab_compare", *arguments))


def test_the_handler_of_the_page_runs_a_comparison(url, script):
    before = len(script.stops)
    found = ask(url)
    assert "Mira Toll" in found and "col-done" in found and len(script.stops) == before + 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "/etc"),
        ("model", "../../etc/passwd"),
        ("model", "openai/gpt"),
        ("model", "shape:Llama-2-70B"),
        ("precisions", []),
        ("precisions", ["fp32", "fp32"]),
        ("precisions", [f"p{i}" for i in range(7)]),
        ("precisions", "fp32"),
        ("precisions", [{"a": 1}]),
        ("prompt", " "),
        ("prompt", "word " * 2_000),
        ("max_new_tokens", 129),
        ("max_new_tokens", 0),
        ("compute_dtype", "int8"),
        ("seed", None),
    ],
)
def test_the_server_refuses_what_a_page_would_not_send(url, script, name, value):
    written = script.written
    try:
        found = ask(url, **{name: value})
    except Refused as refused:  # by the component itself
        found = f"fault: {refused}"
    assert "fault" in found and "Mira Toll" not in found
    assert script.written == written and "Traceback" not in found


def test_a_model_in_public_is_picked_from_the_list_only(url):
    config = httpx.get(f"{url}config").json()
    (model,) = [c["props"] for c in config["components"] if c["props"].get("elem_id") == "model"]
    assert model["allow_custom_value"] is False and "/etc" not in str(model["choices"])


def test_a_session_begins_without_a_description_of_every_component():
    page, app = build_page(AppSettings(public=True, port=0), services(Script(0, 0))), AppSettings(public=True, port=0)
    start(page, app, block=False)
    try:
        session = page.state_holder["one"]
        assert session.config_values == {} and set(session.blocks_config.blocks) == set(page.blocks)
        assert "Mira Toll" in str(ask(page.local_url))
        told = [it for it in page.state_holder.session_data.values() if it.config_values]
        assert told and all(len(it.config_values) < len(page.blocks) / 2 for it in told), "what was changed alone"
    finally:
        page.close(verbose=False)


def test_what_watches_or_publishes_is_off(url):
    assert httpx.get(f"{url}monitoring", follow_redirects=True).status_code >= 400
    config = httpx.get(f"{url}config").json()
    assert config["analytics_enabled"] is False and config.get("run_history") is False
    assert config["show_error"] is False and config["footer_links"] == ["api"] and config["mcp_server"] is False
    assert httpx.get(f"{url}gradio_api/file={ROOT / 'pyproject.toml'}").status_code in (403, 404)
    assert httpx.get(f"{url}gradio_api/file=/etc/passwd").status_code in (403, 404)


def upload(url: str, *sizes: int, **headers: str) -> httpx.Response:
    files = [("files", (f"{number}.txt", os.urandom(size))) for number, size in enumerate(sizes)]
    return httpx.post(f"{url}gradio_api/upload", files=files, headers=headers, timeout=20)


def test_uploads_in_public_have_a_quota(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(launch, "PUBLIC_UPLOADS", 3)
    monkeypatch.setattr(launch, "PUBLIC_UPLOADS_BYTES", 2_000_000)
    with served(Script(0, 0), public=True) as url:
        assert upload(url, 700_000).status_code == 200
        assert upload(url, 600_000, 600_000).status_code == 413, "two files in one request"
        assert upload(url, 1_100_000).status_code == 413
        assert httpx.post(f"{url}gradio_api/upload", content=iter([b"a", b"b"])).status_code == 411
        assert upload(url, 700_000).status_code == 200
        refused = upload(url, 10)
        assert refused.status_code == 507 and "try later" in refused.text
        assert httpx.get(f"{url}config").status_code == 200
        for file in tmp_path.rglob("*.txt"):
            file.unlink()
        assert [upload(url, 10 + i).status_code for i in range(4)] == [200, 200, 200, 507]


def test_at_home_there_is_no_quota(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(launch, "PUBLIC_UPLOADS", 0)
    with served(Script(0, 0)) as url:
        assert upload(url, 1_500_000, 600_000).status_code == 200


@pytest.mark.parametrize("public", [True, False])
def test_of_strangers_little_is_kept_in_memory(public):
    app = AppSettings(public=public, port=0)
    page = build_page(app, services())
    start(page, app, block=False)
    try:
        assert page.state_session_capacity == page.server_app.state_holder.capacity == (250 if public else 10_000)
        assert page.delete_cache == ((300, 1_800) if public else None)
    finally:
        page.close(verbose=False)


def test_a_port_in_use_says_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        app = AppSettings(port=port, public=False)
        with pytest.raises(PortInUse, match=rf"Port {port} is in use. .*PORT={port + 1}"):
            start(build_page(app, services()), app, block=False)


@pytest.mark.slow
def test_the_page_is_built_without_the_heavy_packages():
    code = """
import sys
from quantlab.settings import AppSettings
from quantlab.ui.launch import real_services
from quantlab.ui.page import build_page
build_page(AppSettings(public=False), real_services(AppSettings(public=False)))
print(*({"torch", "transformers", "plotly", "bitsandbytes", "accelerate", "limits"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr[-2_000:]


def test_of_a_page_only_the_launch_makes_a_web_application(monkeypatch):
    """gradio makes one more each time where a page is begun, ended and queued, and serves none of them."""
    from gradio import blocks

    made, own = [], blocks.App.create_app

    def counted(*args, **options):
        made.append(own(*args, **options))
        return made[-1]

    monkeypatch.setattr(blocks.App, "create_app", staticmethod(counted))
    with served(Script(**FAST)) as address:
        assert len(made) == 1
        assert httpx.get(address).status_code == 200
    assert blocks.App.create_app is not None and len(made) == 1


def test_of_what_is_chosen_the_last_counts():
    """Gradio drops an event of `input` while an earlier one of the same handler is not answered yet."""
    page = build_page(AppSettings(public=False), services())
    dropped = [
        block.fn.__qualname__
        for block in page.fns.values()
        if block.fn is not None and any(event == "input" for _, event in block.targets) and block.trigger_mode == "once"
    ]
    assert dropped == []
