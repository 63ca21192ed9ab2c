"""A sweep as JSON and as CSV, a row for each cell."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

from quantlab.export import codec
from quantlab.export.tables import cell as as_cell
from quantlab.records.swept import Cell, Sweep

SCHEMA = "quantlab.sweep/1"
#: The first columns of the CSV; those of the tasks follow, `NAME.acc` and `NAME.acc_se`.
COLUMNS = (
    *("model", "precision", "kind", "read", "outcome", "error", "advice", "entry", "reference", "stored_bytes"),
    *("decode_tokens_per_s", "speed_doubt", "kld", "kld_se", "noise_floor", "same_top", "perplexity", "perplexity_se"),
    *("read_as", "same_answer", "notes"),
)


def to_json(sweep: Sweep) -> str:
    """`quantlab.sweep/1`: docs/scale.md. Without NaN and Infinity."""
    data = codec.plain(sweep)
    return json.dumps({"schema": SCHEMA, **data}, indent=1, ensure_ascii=False, allow_nan=False)


def to_csv(sweep: Sweep) -> str:
    """One row a cell, lines ended by `\\n`; an empty cell where there is no figure, 1 and 0 for yes and no."""
    tasks = list(dict.fromkeys(task for cell in sweep.cells for task in cell.accuracy))
    columns = (*COLUMNS, *(f"{task}.{name}" for task in tasks for name in ("acc", "acc_se")))
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(map(as_cell, columns))
    rows = (_row(cell) for cell in sweep.cells)
    writer.writerows([as_cell(row.get(column)) for column in columns] for row in rows)
    return codec.whole(written.getvalue())


def _row(cell: Cell) -> dict[str, Any]:
    told = codec.plain(cell)
    of_tasks = {f"{task}.acc": value for task, value in cell.accuracy.items()}
    of_tasks |= {f"{task}.acc_se": value for task, value in cell.accuracy_se.items()}
    return {**told, **told["place"], **of_tasks, "notes": "; ".join(cell.notes)}


def without_paths(sweep: Sweep) -> Sweep:
    """The same with models on this disk by their last name: where they lay is nobody else's business."""
    places = [replace(cell, place=replace(cell.place, model=shown_model(cell.place.model))) for cell in sweep.cells]
    fronts = tuple(
        replace(
            front,
            among=shown_model(front.among) if front.measure == "mean KLD" else front.among,
            points=tuple(replace(point, model=shown_model(point.model)) for point in front.points),
        )
        for front in sweep.fronts
    )
    models = tuple(map(shown_model, sweep.asked.models))
    return replace(sweep, cells=tuple(places), fronts=fronts, asked=replace(sweep.asked, models=models))


def shown_model(name: str) -> str:
    """A model's name as it is told to others: of a path the last name."""
    is_path = name.startswith(("/", "~", ".", "\\")) or name[1:3] == ":\\"
    return codec.last_name(name) if is_path else name
