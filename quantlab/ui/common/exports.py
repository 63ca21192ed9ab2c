"""What is open as a file to download, in a folder that only this download needs."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from quantlab.export import to_csv, to_json, to_markdown
from quantlab.records import Comparison, Quality
from quantlab.reporting import advice
from quantlab.ui.history.fragments import model_name

_OTHER = re.compile(r"[^\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Format:
    """`title` on its button, `ending` of the file's name, and what writes it."""

    title: str
    ending: str
    write: Callable[[Comparison | Quality], str]


def _report(record: Comparison | Quality) -> str:
    from quantlab.reporting import html  # brings plotly

    found = advice.advise(record, advice.KLD_BOUND).sentences if isinstance(record, Quality) else ()
    return html.html(record, found)


FORMATS = (
    Format("JSON", "json", to_json),
    Format("CSV", "csv", to_csv),
    Format("Markdown", "md", to_markdown),
    Format("HTML report", "html", _report),
)


def file_name(record: Comparison | Quality, ending: str) -> str:
    """quantlab-comparison-demo-20260102-030405.json"""
    kind = "comparison" if isinstance(record, Comparison) else "quality"
    model = _OTHER.sub("-", model_name(record)).strip("-.")[:60]
    return f"quantlab-{kind}-{model}-{record.started:%Y%m%d-%H%M%S}.{ending}"


def written(record: Comparison | Quality, form: Format, folder: Path) -> Path:
    """The record as a file in a new folder inside `folder`, whose name nobody can guess."""
    text = form.write(record)
    folder.mkdir(parents=True, exist_ok=True)
    file = Path(mkdtemp(prefix="export-", dir=folder), file_name(record, form.ending))
    file.write_text(text, encoding="utf-8", newline="\n")
    return file


class Exports:
    """The file that each session is downloading: at most one."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}

    def write(self, session: str, record: Comparison | Quality, form: Format, folder: Path) -> Path:
        """As `written`. The session's file before it was fetched, or never will be."""
        made = written(record, form, folder)
        self.forget(session)
        self._files[session] = made
        return made

    def forget(self, session: str) -> None:
        remove(self._files.pop(session, None))


def remove(file: Path | None) -> None:
    """Take a file of `written` away, with its folder."""
    if file is not None:
        shutil.rmtree(file.parent, ignore_errors=True)
