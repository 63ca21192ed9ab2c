"""What is claimed of quantization, what was measured here to test it, and whether it holds; see docs/claims.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from quantlab.records import units
from quantlab.records.measured import Machine

Outcome = Literal["holds here", "does not hold here", "cannot be tested here"]
HOLDS: Outcome = "holds here"
FAILS: Outcome = "does not hold here"
UNTESTED: Outcome = "cannot be tested here"


@dataclass(frozen=True)
class Figure:
    """One figure that a verdict rests on. `unit` is bytes, bits, nats, tok/s, s, % or x (a ratio); empty: a count or
    words. `measured` is False where it follows from a configuration and nothing was run.
    """

    name: str
    value: float | int | str
    unit: str = ""
    measured: bool = True

    @property
    def text(self) -> str:
        """The value with its unit; bytes to the last one."""
        if isinstance(self.value, str):
            return self.value
        if self.unit == "bytes":
            return units.exact_bytes(int(self.value))
        whole = isinstance(self.value, int) and not self.unit
        return f"{self.value:,}" if whole else f"{units.number(self.value)} {self.unit}".strip()


@dataclass(frozen=True)
class ClaimVerdict:
    """One claim judged. `why` is the verdict's reason in one or two sentences with its figures."""

    number: int
    claim: str
    tested_by: str
    outcome: Outcome
    why: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Claims:
    """All claims, judged on one machine with one model. `started` is when testing began."""

    model: str
    started: datetime
    machine: Machine
    versions: Mapping[str, str]
    verdicts: tuple[ClaimVerdict, ...]

    @property
    def counted(self) -> str:
        """How many verdicts of each kind there are, in words."""
        kinds = ((HOLDS, "hold here", "holds here"), (FAILS, "do not hold here", "does not hold here"))
        counts = [(sum(it.outcome == kind for it in self.verdicts), many, one) for kind, many, one in kinds]
        untested = sum(it.outcome == UNTESTED for it in self.verdicts)
        said = [f"{count} {one if count == 1 else many}" for count, many, one in counts if count]
        return ", ".join([*said, *([f"{untested} cannot be tested here"] if untested else [])]) + "."

    @property
    def where(self) -> str:
        """The device that it was measured on, and the day."""
        machine = self.machine
        name = machine.cpu if machine.device.startswith("cpu") else machine.device
        return f"{name}, {units.counted(machine.cores, 'core')}, {self.started:%Y-%m-%d}"

    def verdict(self, number: int) -> ClaimVerdict:
        """Raises KeyError where there is no such claim."""
        for found in self.verdicts:
            if found.number == number:
                return found
        raise KeyError(number)
