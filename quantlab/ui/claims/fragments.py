"""HTML of the claims and their verdicts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from quantlab.records.claims import FAILS, HOLDS, UNTESTED, Claims, ClaimVerdict, Figure
from quantlab.reporting.rules import rules
from quantlab.reporting.templates import Pieces
from quantlab.teach.claims import CLAIMS
from quantlab.teach.claims.recorded import recorded

_HTML = Pieces("ui/claims/fragments.html")
_SIGNS = {HOLDS: "✓", FAILS: "✗", UNTESTED: "–", "": "·"}
_KEYS = {HOLDS: "holds", FAILS: "fails", UNTESTED: "untested", "": "open"}


@dataclass(frozen=True)
class _Elsewhere:
    """A verdict that was recorded on another machine."""

    model: str
    where: str
    outcome: str
    key: str
    sign: str
    why: str


@dataclass(frozen=True)
class _Row:
    number: int
    text: str
    tested_by: str
    rule: str
    outcome: str
    key: str
    sign: str
    why: str
    figures: tuple[Mapping[str, str], ...]
    elsewhere: tuple[_Elsewhere, ...]


def intro(public: bool) -> str:
    """What this tab is for."""
    return _HTML.intro(public)


def claims(found: Mapping[int, ClaimVerdict]) -> str:
    """All claims, those with a verdict with it, beside what was recorded on other machines."""
    rows, kept = [], recorded()
    for claim in CLAIMS:
        verdict = found.get(claim.number)
        outcome = verdict.outcome if verdict else ""
        figures = tuple(map(_figure, verdict.figures)) if verdict else ()
        rows.append(
            _Row(
                claim.number,
                claim.text,
                claim.tested_by,
                rules().get(claim.number, ""),
                outcome or "not tested yet",
                _KEYS[outcome],
                _SIGNS[outcome],
                verdict.why if verdict else "",
                figures,
                tuple(_elsewhere(kept, claim.number)),
            )
        )
    return _HTML.claims(rows)


def _elsewhere(kept: Sequence[Claims], number: int) -> Iterator[_Elsewhere]:
    for claims in kept:
        for it in claims.verdicts:
            if it.number == number:
                yield _Elsewhere(
                    claims.model,
                    claims.where,
                    it.outcome.replace(" here", " there"),
                    _KEYS[it.outcome],
                    _SIGNS[it.outcome],
                    it.why,
                )


def counted(found: Claims) -> str:
    """How many verdicts of each kind there are, and of what."""
    return _HTML.counted(found.counted, found.machine.device, found.model)


def progress(done: int, total: int, what: str) -> str:
    """How far testing is."""
    return _HTML.progress(what, done, total)


def _figure(figure: Figure) -> Mapping[str, str]:
    return {"name": figure.name, "value": figure.text, "source": "measured" if figure.measured else "configuration"}
