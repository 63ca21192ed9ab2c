"""The history tab's handlers without a page, and records to keep."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from quantlab.history import History
from quantlab.records import Comparison, Quality
from quantlab.reporting.charts.registry import COMPARISON as COMPARISON_CHARTS
from quantlab.reporting.charts.registry import QUALITY as QUALITY_CHARTS
from quantlab.settings import AppSettings
from quantlab.ui.common.exports import FORMATS
from quantlab.ui.history.handlers import HistoryHandlers
from quantlab.ui.history.parts import HistoryPanel, HistoryParts
from tests.examples import example_comparison
from tests.fakes import Script, services

REQUEST = SimpleNamespace(session_hash="a visitor")
COMPARISON = example_comparison()
LATER = replace(
    example_comparison(errors={}, stopped=None),
    prompt="A lamp under the bridge",
    prompt_token_ids=(4, 5),
    prompt_tokens=("A", " lamp"),
    machine=replace(COMPARISON.machine, cpu="Other CPU"),
    versions={"torch": "2.12.0"},
    started=datetime(2026, 2, 3, 4, 5, tzinfo=UTC),
)
FORMAT_NAMES = [it.title for it in FORMATS]


class File:
    """Stands for the download button: its folder is all that a handler reads."""

    def __init__(self, folder: Path) -> None:
        self.GRADIO_CACHE = str(folder)


def parts(folder: Path) -> HistoryParts:
    """Each component is its own name."""
    kinds = [(Comparison, chart) for chart in COMPARISON_CHARTS] + [(Quality, chart) for chart in QUALITY_CHARTS]
    made = tuple(
        HistoryPanel(
            chart.key,
            tuple(f"{chart.key}.{name or 'figure'}" for name in chart.parts),
            f"{chart.key}.table",
            f"{chart.key}.head",
            f"{chart.key}.pick" if chart.pick else None,
            kind,
            chart,
        )
        for kind, chart in kinds
    )
    names = {it.name: it.name for it in fields(HistoryParts)}
    return HistoryParts(**names | {"formats": tuple(FORMAT_NAMES), "panels": made, "file": File(folder)})


def handlers(history: History | None, folder: Path, resume=None) -> HistoryHandlers:
    kept = replace(services(Script(0, 0)), history=lambda: history, resume=resume or (lambda entry, stop: iter(())))
    return HistoryHandlers(parts(folder), AppSettings(public=False), kept)


def rows(updates) -> str:
    return updates["entries"]["props"]["rows"] if "props" in updates["entries"] else updates["entries"]["rows"]


def upload(folder: Path, content: str) -> str:
    folder.mkdir(exist_ok=True)
    file = folder / "colleague.json"
    file.write_text(content)
    return str(file)
