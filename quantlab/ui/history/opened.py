"""What a visitor has open of the history, from an entry or from a file, and how far one is that is resumed."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantlab.errors import BadInput
from quantlab.export import LONGEST, read_json
from quantlab.history import Entry, History
from quantlab.history.entries import Kind
from quantlab.records import Comparison, Quality
from quantlab.ui.common import fragments
from quantlab.ui.compare import view
from quantlab.ui.history import fragments as html
from quantlab.ui.quality import view as quality_view
from quantlab.ui.turns.cut_short import CutShort
from quantlab.ui.turns.turns import Place


@dataclass(frozen=True)
class Opened:
    """`record` None: it cannot be read any more, and `fault` says why. `entry` None: it is kept nowhere."""

    record: Comparison | Quality | None
    entry: Entry | None
    fault: str = ""

    @property
    def id(self) -> int | None:
        return self.entry.id if self.entry else None


def kept(history: History, entry: int) -> Opened:
    """An entry as it is now. Raises BadInput where it is gone."""
    line = history.entry(entry)
    try:
        return Opened(history.get(entry), line)
    except BadInput as error:
        return Opened(None, line, error.what)


def uploaded(file: str | None) -> Comparison | Quality:
    """The record of an uploaded file, of which no copy stays. Raises BadInput for what is not an export of ours."""
    if not file:
        raise BadInput("No file was uploaded.", "Choose one that was exported to JSON.")
    path = Path(file)
    try:
        with path.open("rb") as content:
            found = content.read(LONGEST + 1)
    except OSError as error:
        raise BadInput("The uploaded file cannot be read any more.", "Upload it again.") from error
    finally:
        with suppress(OSError):
            path.unlink()
    return read_json(found)


def known(history: History, record: Comparison | Quality) -> Entry | None:
    """The entry that holds the same record already."""
    kind: Kind = "comparison" if isinstance(record, Comparison) else "quality"
    for entry in history.entries(kind=kind, limit=10_000):
        if entry.started == record.started and kept(history, entry.id).record == record:
            return entry
    return None


def progress(told: Iterator[Place | CutShort | list[Any]], entry: Entry) -> Iterator[str]:
    """How far the work on an entry is, as HTML: where it waits for its turn, then for each batch of its events."""
    comparison = entry.kind == "comparison"
    shown: Any = view.View() if comparison else quality_view.QualityView()
    for batch in told:
        if isinstance(batch, Place):
            yield fragments.waiting(batch)
            continue
        for event in () if isinstance(batch, CutShort) else batch:
            shown = view.fold(shown, event) if comparison else quality_view.fold(shown, event, time.monotonic())
        yield html.progress(shown)
