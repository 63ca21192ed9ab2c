"""Comparisons of the demo model with served columns."""

import threading

from quantlab.records import Comparison, Run, Settings
from quantlab.records.events import Done
from quantlab.runs import compare as comparing

PROMPT, NEW = "Tell me a story about Sanna Corsa.", 12


def compared(*names: str, prompt: str = PROMPT, stop: threading.Event | None = None, **how: object) -> Comparison:
    settings = Settings(**{"max_new_tokens": NEW, **how})
    *_, last = comparing.compare("demo", names, prompt, settings, stop=stop)
    assert isinstance(last, Done)
    return last.comparison


def run_of(spec: str, **how: object) -> Run:
    """The run of a served column beside fp32, which never suffers by it."""
    found = compared("fp32", spec, **how)
    assert found.reference == "fp32" and found.runs[0].error is None and len(found.runs[0].differences) == 0
    return found.runs[1]
