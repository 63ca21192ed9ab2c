"""A sweep as one HTML file that needs nothing else: its fronts, all its cells, and what failed."""

from collections.abc import Iterator

from quantlab.fidelity.summary import with_error
from quantlab.records import units
from quantlab.records.swept import Cell, Front, Sweep
from quantlab.reporting.charts import style, sweep_front
from quantlab.reporting.charts.inline import figure_json, library
from quantlab.reporting.charts.table import Table
from quantlab.reporting.html.sections import Section
from quantlab.reporting.templates import page

#: So many fronts of one model each are shown; of more the JSON alone has them.
MOST_EACH = 24
_CELLS = ("model", "precision", "over", "stored", "KLD (nats)", "same top", "perplexity", "decode", "note")


def swept_html(sweep: Sweep) -> str:
    """The whole page. Only text that can be encoded as UTF-8."""
    machine, failed = sweep.machine, [cell for cell in sweep.cells if cell.outcome != "done"]
    return page(
        "reporting/html/swept.html",
        title=f"Sweep {sweep.name}: {units.counted(len(sweep.asked.models), 'model')}, "
        f"{units.counted(len(sweep.cells), 'cell')}",
        facts=[
            ("Models", ", ".join(sweep.asked.models)),
            ("Precisions", ", ".join(sweep.asked.precisions)),
            ("Texts", ", ".join(sweep.asked.texts) or "none"),
            ("Tasks", ", ".join(sweep.asked.tasks) or "none"),
            ("Cells", _counted(sweep)),
            ("Written", f"{sweep.written:%Y-%m-%d %H:%M:%S %Z}".strip()),
            ("Processor", f"{machine.cpu}, {units.counted(machine.cores, 'core')}"),
            ("Device", f"{machine.device}, {units.size(machine.device_memory_bytes)}"),
            ("Versions", ", ".join(f"{name} {version}" for name, version in sweep.versions.items())),
        ],
        version=sweep.versions.get("quantlab", ""),
        failed=failed,
        hidden=len(sweep.fronts) - len(shown_fronts(sweep)),
        sections=list(_sections(sweep)),
        library=library(),
        chart_css=style.TEXT_CSS,
    )


def _counted(sweep: Sweep) -> str:
    counts = {
        "done": sum(cell.outcome == "done" for cell in sweep.cells),
        "failed": sum(cell.outcome == "failed" for cell in sweep.cells),
        "stopped": sum(cell.outcome == "stopped" for cell in sweep.cells),
        "not measured yet": sweep.missing,
    }
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _sections(sweep: Sweep) -> Iterator[Section]:
    for front in shown_fronts(sweep):
        yield Section.of(sweep_front.title(front), sweep_front.table(front), figure_json(sweep_front.figure(front)))
    if tasks := list(dict.fromkeys(task for cell in sweep.cells for task in cell.accuracy)):
        yield Section.of("Accuracy at the tasks", _accuracies(sweep, tasks))
    yield Section.of("All cells", cells_table(sweep))


def shown_fronts(sweep: Sweep) -> tuple[Front, ...]:
    """All fronts, but those of one model each only where there are few: a thousand of them nobody looks through."""
    each = sum(front.measure == "mean KLD" for front in sweep.fronts)
    return tuple(it for it in sweep.fronts if it.measure != "mean KLD" or each <= MOST_EACH)


def cells_table(sweep: Sweep) -> Table:
    """Every cell in a row, in the order of the file."""
    rows = tuple(_row(cell) for cell in sweep.cells)
    return Table(_CELLS, rows, "Speeds are told for each cell and compared nowhere: they are of one machine and time.")


def _row(cell: Cell) -> tuple[str, ...]:
    place = cell.place
    over = place.read if place.kind == "text" else f"“{place.read}”"
    if cell.outcome != "done":
        told = f"{cell.error} {cell.advice}".strip() or "stopped"
        return (place.model, place.precision, over, *[units.NONE] * 5, told)
    note = "the reference" if cell.reference else _same(cell)
    return (
        place.model,
        place.precision,
        over,
        units.size(cell.stored_bytes),
        units.NONE if cell.reference or cell.kld is None else with_error(cell.kld, cell.kld_se),
        units.percent(cell.same_top) if cell.same_top is not None else units.NONE,
        units.NONE if cell.perplexity is None else with_error(cell.perplexity, cell.perplexity_se),
        units.rate(cell.decode_tokens_per_s),
        "; ".join(filter(None, (note, cell.speed_doubt and f"speed: {cell.speed_doubt}"))),
    )


def _same(cell: Cell) -> str:
    answers = {True: "the reference's answer", False: "another answer than the reference's", None: ""}
    return "; ".join(filter(None, (answers[cell.same_answer], *cell.notes)))


def _accuracies(sweep: Sweep, tasks: list[str]) -> Table:
    rows = tuple(
        (
            cell.place.model,
            cell.place.precision,
            *(
                with_error(100 * cell.accuracy[task], 100 * cell.accuracy_se[task], "%")
                if task in cell.accuracy
                else units.NONE
                for task in tasks
            ),
        )
        for cell in sweep.cells
        if cell.accuracy
    )
    return Table(("model", "precision", *tasks), rows, "Share of right answers, with its standard error.")
