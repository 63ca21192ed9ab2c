"""The reports of a sweep in its folder."""

from pathlib import Path

from quantlab.errors import Unavailable
from quantlab.records.swept import Sweep
from quantlab.reporting.html.swept import swept_html
from quantlab.runs.sweep.exported import to_csv, to_json, without_paths


def write(folder: Path, sweep: Sweep) -> tuple[Path, ...]:
    """Write report.html, report.json and report.csv, each aside first, so that none is half.

    Models on this disk are told by their last name. Raises Unavailable.
    """
    told = without_paths(sweep)
    made = {"report.html": swept_html(told), "report.json": to_json(told), "report.csv": to_csv(told)}
    try:
        for name, text in made.items():
            aside = folder / f".{name}.part"
            aside.write_text(text, encoding="utf-8")
            aside.replace(folder / name)
    except OSError as error:
        what = f"The report cannot be written into {folder}: {error.strerror}."
        raise Unavailable(what, "Free some room, and call it again: nothing is measured twice.") from error
    return tuple(folder / name for name in made)
