"""What `quantlab.compare` and `quantlab.quality` are: the jobs, with a progress bar where a notebook runs them.

Elsewhere they are the jobs and nothing more.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

from quantlab.records import Settings
from quantlab.records.events import Event, QualityEvent
from quantlab.runs import compare as comparing
from quantlab.runs import quality as measuring
from quantlab.runs.notebook.bar import Bar, in_notebook

__all__ = ["compare", "quality"]

P = ParamSpec("P")
E = TypeVar("E", Event, QualityEvent)


def _with_bar(job: Callable[P, Generator[E, None, None]]) -> Callable[P, Generator[E, None, None]]:
    """The same job. What it gives is handed on as it comes."""

    @wraps(job)
    def followed(*args: P.args, **kwargs: P.kwargs) -> Generator[E, None, None]:
        if not in_notebook():
            yield from job(*args, **kwargs)
            return
        asked = signature(job).bind(*args, **kwargs).arguments.get("settings") or Settings()
        bar = Bar(getattr(asked, "max_new_tokens", 0))
        try:
            with closing(job(*args, **kwargs)) as events:
                for event in events:
                    bar.tell(event)
                    yield event
        finally:
            bar.end()

    return followed


compare = _with_bar(comparing.compare)
quality = _with_bar(measuring.quality)
