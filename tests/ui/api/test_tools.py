"""The endpoints as tools for language models, asked by the protocol's own client."""

import asyncio
import importlib.util
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from quantlab.errors import Unavailable
from quantlab.export import record_from
from quantlab.settings import AppSettings
from quantlab.ui.api import tools
from quantlab.ui.turns.turns import Turns
from tests.fakes import Script
from tests.ui.pages import FAST, served

NAMES = {"compare", "quality", "plan", "estimate", "models", "precisions"}
GOOD = {"model": "demo", "precisions": ["fp32", "nf4"], "prompt": "Hello there", "max_new_tokens": 8}
installed = pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason="needs the package mcp")


def asked(
    what: Callable[[Any], Coroutine[Any, Any, Any]],
    script: Script | None = None,
    until: Callable[[], bool] = lambda: True,
) -> Any:
    """What a client of the protocol finds out from a public page with tools; the page stays `until` something holds."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def ask(url: str) -> Any:
        async with (
            streamable_http_client(f"{url}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await what(session)

    with served(script or Script(**FAST), public=True, mcp=True) as url:
        found = asyncio.run(ask(url))
        last = time.monotonic() + 15
        while not until() and time.monotonic() < last:
            time.sleep(0.05)
        return found


@installed
def test_every_tool_says_what_it_does_and_what_each_argument_means():
    async def listed(session):
        return (await session.list_tools()).tools

    found = asked(listed)
    assert {it.name for it in found} == NAMES
    for tool in found:
        assert (len(tool.description) > 80 and "Returns: quantlab." in tool.description) or "event" in tool.description
        for name, schema in tool.inputSchema["properties"].items():
            assert schema.get("description"), f"{tool.name}: {name}"
    compare = next(it for it in found if it.name == "compare").inputSchema
    assert compare["required"] == ["model", "precisions", "prompt"]
    assert compare["properties"]["precisions"]["items"] == {"type": "string"}


@installed
def test_a_tool_answers_in_json_with_its_last_event():
    async def compared(session):
        looked = await session.call_tool("models", {})
        told = []

        async def progress(step, _total, _message):
            told.append(step)

        whole = await session.call_tool("compare", GOOD, progress_callback=progress)
        assert told, "whoever asks is told that it goes on"
        return looked, whole, await session.call_tool("compare", GOOD | {"brief": True})

    looked, whole, brief = asked(compared)
    assert json.loads(looked.content[0].text)["models"][0]["name"] == "demo" and not looked.isError
    done = json.loads(whole.content[0].text)
    assert done["event"] == "done" and record_from(done["comparison"]).run("nf4").text
    short = json.loads(brief.content[0].text)["comparison"]["runs"]
    assert [it["text"] for it in short] == [it["text"] for it in done["comparison"]["runs"]]
    assert len(brief.content[0].text) < len(whole.content[0].text)


@installed
@pytest.mark.parametrize(
    ("tool", "changes", "said"),
    [
        ("compare", {"model": "/etc"}, "Unknown model '/etc'"),
        ("compare", {"precisions": ["nf4", "/etc"]}, "takes no checkpoints of visitors"),
        ("compare", {"max_new_tokens": 10_000}, "Ask for 1 to 512"),
        ("precisions", {"model": "/etc"}, "Unknown model"),
    ],
)
def test_the_limits_of_the_page_hold(tool, changes, said):
    async def refused(session):
        needed = GOOD if tool == "compare" else {}
        return await session.call_tool(tool, {**needed, **changes})

    script = Script(0, 0)
    found = asked(refused, script)
    assert found.isError and said in found.content[0].text and "Traceback" not in found.content[0].text
    assert script.stops == []


@installed
@pytest.mark.parametrize("follows", [False, True], ids=["waits", "follows"])
def test_a_client_that_goes_away_stops_its_run(follows):
    """It would have gone on for half a minute."""
    script = Script(load_s=0, gap_s=0.5)

    async def left(session):
        async def progress(*_told):
            """Asked for, so that the tool is followed."""

        more = {"progress_callback": progress} if follows else {}
        waiting = asyncio.create_task(session.call_tool("compare", GOOD | {"max_new_tokens": 400}, **more))
        while not script.running:
            await asyncio.sleep(0.05)
        waiting.cancel()

    asked(left, script, until=lambda: not script.running)
    assert script.stops[0].is_set() and not script.running and script.written < 40


def test_there_are_no_tools_unless_they_are_asked_for():
    with served(Script(**FAST)) as url:
        # The page answers whatever is no route of its own.
        found = httpx.post(f"{url}gradio_api/mcp/", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        assert found.status_code in (404, 405)
    assert AppSettings().mcp is False


def test_tools_without_their_package_say_what_to_install(monkeypatch):
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda _name: None)
    assert tools.wanted(AppSettings(mcp=False)) is False
    with pytest.raises(Unavailable, match=r"need the package mcp.*pip install 'quantlab\[mcp\]'"):
        tools.wanted(AppSettings(mcp=True))


@installed
def test_each_client_has_turns_of_its_own(monkeypatch):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    turns, names = Turns(), []
    monkeypatch.setattr(turns, "enter", lambda name, kind: names.append(name) or Turns.enter(turns, name, kind))

    async def ask(url: str, address: str) -> None:
        own = {"x-forwarded-for": address, "x-quantlab-visitor": "somebody else"}
        async with (
            httpx.AsyncClient(headers=own, timeout=60) as http,
            streamable_http_client(f"{url}gradio_api/mcp/", http_client=http) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            assert not (await session.call_tool("compare", GOOD)).isError

    with served(Script(0, 0), {"turns": turns}, mcp=True, space="somebody/quantlab") as url:
        for address in ("1.2.3.4", "1.2.3.5", "1.2.3.4"):
            asyncio.run(ask(url, address))
    first, second, again = names
    assert first == again != second and all(it.startswith("tools: ") for it in names)
    assert "somebody else" not in "".join(names)
