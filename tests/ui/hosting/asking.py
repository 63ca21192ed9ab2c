"""A comparison asked for by a client of the API."""

import json
from typing import Any

from gradio_client import Client
from gradio_client.exceptions import AppError

ASKED = {"model": "demo", "precisions": ["fp32", "nf4"], "prompt": "Once upon a time", "max_new_tokens": 8}


def ask(client: Client, **changes: Any) -> str:
    """The answer as JSON to a comparison of two precisions of the demo, but for `changes`, or why it was refused."""
    try:
        return json.dumps(client.predict(**(ASKED | changes), api_name="/compare"))
    except AppError as error:
        return str(error)


def finished(answer: str) -> int:
    """How many columns of an answer have a text; of a refusal none."""
    try:
        runs = json.loads(answer)["comparison"]["runs"]
    except ValueError:
        return 0
    return sum(run["error"] is None and bool(run["text"]) for run in runs)
