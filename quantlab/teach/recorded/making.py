"""Makes the recorded results: the lessons' own requests, run here and written as exports."""

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from quantlab.errors import BadInput, unknown
from quantlab.export import to_json
from quantlab.measure import trust
from quantlab.records import Comparison, ComparisonRequest, Quality, QualityRequest
from quantlab.records.events import Done, QualityDone
from quantlab.runs.compare import compare
from quantlab.runs.quality import quality
from quantlab.teach.lessons import breaking, sixteen, speed
from quantlab.teach.lessons.acted import Acted
from quantlab.teach.recorded import FOLDER

#: Name of each recorded result -> what is run for it.
REQUESTS: Mapping[str, Callable[[], ComparisonRequest | QualityRequest]] = {
    "lesson-1": lambda: sixteen.request(Acted()),
    "lesson-4": breaking.tested,
    "lesson-5-demo": lambda: speed.request(Acted(model="demo")),
    "lesson-5-smollm2": lambda: speed.request(Acted(model="smollm2")),
}
#: A speed that bears no verdict is measured so often, in the hope that the machine comes to rest.
TRIES = 5


def main(arguments: Sequence[str]) -> int:
    """`python -m quantlab.teach.recorded [NAME ...]`: all, or those named. 1 where a speed bears no verdict."""
    for name in arguments:
        if name not in REQUESTS:
            raise unknown("recorded result", name, REQUESTS)
    doubtful = 0
    for name in arguments or REQUESTS:
        record, doubt = made(name)
        (FOLDER / f"{name}.json").write_text(to_json(record) + "\n", "utf-8")
        print(f"{name}: written{f', but {doubt}' if doubt else ''}", flush=True)
        doubtful += bool(doubt)
    return int(doubtful > 0)


def made(name: str) -> tuple[Comparison | Quality, str]:
    """The result, and why its speeds bear no verdict although it was tried several times; that only of lesson 5."""
    request = REQUESTS[name]()
    for _ in range(TRIES if name.startswith("lesson-5") else 1):
        record = run(request)
        doubt = trust.verdict(record.runs).why_not if isinstance(record, Comparison) else ""
        if not doubt:
            return record, ""
        print(f"{name}: {doubt}", file=sys.stderr, flush=True)
    return record, doubt if name.startswith("lesson-5") else ""


def run(request: ComparisonRequest | QualityRequest) -> Comparison | Quality:
    """One request, run to its end. Raises BadInput where a column failed."""
    events: Generator[Any, None, None]
    if isinstance(request, ComparisonRequest):
        events = compare(request.model, request.precisions, request.prompt, request.settings)
    else:
        events = quality(request.model, request.precisions, request.text, request.settings)
    found: Comparison | Quality | None = None
    for event in events:
        if isinstance(event, Done):
            found = event.comparison
        elif isinstance(event, QualityDone):
            found = event.quality
    if found is None:
        raise BadInput("The run did not come to its end.", "Try again.")
    for column in found.runs:
        if column.error:
            raise BadInput(f"{column.precision} failed: {column.error}", column.advice)
    return found
