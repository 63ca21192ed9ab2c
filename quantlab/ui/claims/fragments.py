"""HTML of the claims and their verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass

from quantlab.records.claims import FAILS, HOLDS, UNTESTED, Claims, ClaimVerdict, Figure
from quantlab.reporting.templates import Pieces
from quantlab.teach.claims import CLAIMS

_HTML = Pieces("ui/claims/fragments.html")
_SIGNS = {HOLDS: "✓", FAILS: "✗", UNTESTED: "–", "": "·"}
_KEYS = {HOLDS: "holds", FAILS: "fails", UNTESTED: "untested", "": "open"}


@dataclass(frozen=True)
class _Row:
    number: int
    text: str
    tested_by: str
    outcome: str
    key: str
    sign: str
    why: str
    figures: tuple[Mapping[str, str], ...]


def intro(public: bool) -> str:
    """What this tab is for."""
    return _HTML.intro(public)


def claims(found: Mapping[int, ClaimVerdict]) -> str:
    """All claims, those with a verdict with it."""
    rows = []
    for claim in CLAIMS:
        verdict = found.get(claim.number)
        outcome = verdict.outcome if verdict else ""
        figures = tuple(map(_figure, verdict.figures)) if verdict else ()
        rows.append(
            _Row(
                claim.number,
                claim.text,
                claim.tested_by,
                outcome or "not tested yet",
                _KEYS[outcome],
                _SIGNS[outcome],
                verdict.why if verdict else "",
                figures,
            )
        )
    return _HTML.claims(rows)


def counted(found: Claims) -> str:
    """How many verdicts of each kind there are, and of what."""
    return _HTML.counted(found.counted, found.machine.device, found.model)


def progress(done: int, total: int, what: str) -> str:
    """How far testing is."""
    return _HTML.progress(what, done, total)


def _figure(figure: Figure) -> Mapping[str, str]:
    return {"name": figure.name, "value": figure.text, "source": "measured" if figure.measured else "configuration"}
