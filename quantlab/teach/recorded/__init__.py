"""Results that were recorded ahead, so that a class sees real ones at once: exports in `assets/recorded/`.

`python -m quantlab.teach.recorded` makes them anew.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from quantlab.errors import BadInput
from quantlab.export import read_json
from quantlab.fidelity import METRICS
from quantlab.records import Comparison, Quality, units
from quantlab.settings import ASSETS

FOLDER = ASSETS / "recorded"
_AGAIN = "Measure it on this machine instead, or make the recorded results anew: python -m quantlab.teach.recorded"


@dataclass(frozen=True)
class Recorded:
    """One recorded result, and in words when and on what it was made."""

    record: Comparison | Quality
    told: str


def recorded(name: str, folder: Path = FOLDER) -> Recorded:
    """The recorded result of that name. Raises BadInput where it is missing, damaged or of another version."""
    file = folder / f"{name}.json"
    try:
        state = file.stat()
    except OSError:
        raise BadInput(f"The recorded result {name} is not here.", _AGAIN) from None
    return _read(file, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=16)
def _read(file: Path, _changed: int, _size: int) -> Recorded:
    try:
        record = read_json(file.read_bytes())
    except (BadInput, OSError) as error:
        what = error.what if isinstance(error, BadInput) else f"{error.strerror}."
        raise BadInput(f"The recorded result {file.stem} cannot be read: {what}", _AGAIN) from None
    if any(run.metrics != METRICS for run in record.runs if not run.error):
        raise BadInput(
            f"The recorded result {file.stem} is of another version of quantlab: its figures mean other things.",
            _AGAIN,
        )
    return Recorded(record, told(record))


def told(record: Comparison | Quality) -> str:
    """When and on what a result was made."""
    machine, day = record.machine, record.started
    device = "" if machine.device.startswith("cpu") else f", {machine.device}"
    return f"{day.day} {day:%B %Y}, {machine.cpu}, {units.counted(machine.cores, 'core')}{device}"
