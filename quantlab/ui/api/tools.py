"""The endpoints as tools for language models (MCP), where the page's settings ask for that."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from quantlab.errors import Unavailable
from quantlab.settings import AppSettings


def wanted(app: AppSettings) -> bool:
    """Whether the tools are served. Raises Unavailable where they are asked for without their package."""
    if app.mcp and importlib.util.find_spec("mcp") is None:
        raise Unavailable(
            "Tools for language models (QUANTLAB_MCP) need the package mcp.", "Install it: pip install 'quantlab[mcp]'."
        )
    return app.mcp


def tell_json(page: gr.Blocks) -> None:
    """Let the tools of a page that is served answer in JSON; by itself gradio writes objects as Python shows them."""
    server = page.mcp_server_obj
    if server is None:
        return
    write = server.postprocess_output_data

    def written(data: Sequence[Any], root_url: str) -> Any:
        return write([as_json(it) if isinstance(it, Mapping) else it for it in data], root_url)

    server.postprocess_output_data = written


def as_json(data: Any) -> str:
    """JSON without spaces, which a language model would pay for."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
