"""The table twin of a chart: the same figures as text."""

from dataclasses import dataclass

from quantlab.records import Comparison, QualityRun, Run
from quantlab.records.units import NONE


@dataclass(frozen=True)
class Table:
    """Formatted text, with units, `units.NONE` where there is no figure. Cells are plain text, not markup.

    `note` is what the caption says of the figures themselves, for those who see the chart in its place.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    note: str = ""


def absent(run: Run | QualityRun, columns: int, why: str) -> tuple[str, ...]:
    """The row of a run that the chart lacks: its name, no figures, and the reason in the last of `columns`."""
    return (run.precision, *[NONE] * (columns - 2), reason(run, why))


def reason(run: Run | QualityRun, why: str = "") -> str:
    """What a reader must know of a run: its error and advice, else `why`, else that it was stopped; of a served one
    what no server tells, too."""
    if run.error is not None:
        return f"{run.error} {run.advice}".strip()
    if run.stopped:
        why = f"stopped early{': ' + why if why else ''}"
    served = run.served.said if isinstance(run, Run) and run.served else ()
    return " ".join((f"{why}." if why and served else why, *served)).strip()


def race_note(comparison: Comparison) -> str:
    """What to say where times were spoilt by other variants, else the empty string."""
    if all(run.timings_count for run in comparison.runs):
        return ""
    return "Taken in a race: the precisions ran at the same time and slowed each other, so these times do not count."
