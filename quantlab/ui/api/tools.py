"""The endpoints as tools for language models (MCP), where the page's settings ask for that."""

import asyncio
import importlib.util
import json
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import gradio as gr

from quantlab.errors import Unavailable
from quantlab.settings import AppSettings

#: How often it is looked whether a tool has answered, in seconds.
_EVERY_S = 0.05


def wanted(app: AppSettings) -> bool:
    """Whether the tools are served. Raises Unavailable where they are asked for without their package."""
    if app.mcp and importlib.util.find_spec("mcp") is None:
        raise Unavailable(
            "Tools for language models (QUANTLAB_MCP) need the package mcp.", "Install it: pip install 'quantlab[mcp]'."
        )
    return app.mcp


def fit(page: gr.Blocks) -> None:
    """What gradio's tools lack, for a page that is served: by themselves they write objects as Python shows them, and
    what a client began goes on when it has gone away."""
    server = page.mcp_server_obj
    if server is None:
        return
    write, follow = server.postprocess_output_data, server._execute_tool_with_progress

    def written(data: Sequence[Any], root_url: str) -> Any:
        return write([as_json(it) if isinstance(it, Mapping) else it for it in data], root_url)

    async def followed(job: Any, token: str | int) -> list[Any]:
        return await with_its_request(job, follow(job, token))

    server.postprocess_output_data = written
    server._execute_tool_with_progress = followed
    server._execute_tool_without_progress = awaited


async def awaited(job: Any) -> list[Any]:
    """What a job of gradio's client gives, waited for in no thread: that could not be called off."""

    async def result() -> list[Any]:
        while not job.done():
            await asyncio.sleep(_EVERY_S)
        return [job.result()]

    return await with_its_request(job, result())


async def with_its_request(job: Any, answer: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """The answer of a job, which is cancelled with the request that waits for it."""
    try:
        return await answer
    except asyncio.CancelledError:
        job.cancel()
        raise


def as_json(data: Any) -> str:
    """JSON without spaces, which a language model would pay for."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
