"""What of a link was not taken, said on the page: nothing that it asks for is replaced in silence."""

from collections.abc import Collection, Mapping

from quantlab.errors import LONGEST_SHOWN, shown
from quantlab.settings import AppSettings
from quantlab.ui.common.precision_list import PrecisionList
from quantlab.ui.common.problem import Problem
from quantlab.ui.compare import share
from quantlab.ui.compare.form import MOST_PRECISE, Choice

#: So many names are listed.
_LISTED = 6


def left_out(
    query: Mapping[str, str], choice: Choice, found: PrecisionList, ticked: Collection[str], app: AppSettings
) -> Problem | None:
    """What the query names and the page does not show: None where it shows all of it.

    `choice` was made of the query, `found` is the list for its model, `ticked` what is ticked in it.
    """
    refused = share.refused(query, app)
    said = [_model(query["model"], app)] if "model" in refused else []
    said += _precisions(query.get("precisions", ""), ticked)
    settings = [name for name in refused if name not in ("model", "precisions")]
    if choice.reference not in (MOST_PRECISE, *found.names):
        settings.append("reference")
    if settings:
        said.append(f"These of the link hold nothing that this page can take, and are as they were: {_few(settings)}.")
    advice = "The list says which precisions can run here, and why others cannot."
    return Problem(" ".join(said), advice) if said else None


def joined(first: Problem | None, other: Problem | None) -> Problem | None:
    """Both in one."""
    if first is None or other is None:
        return first or other
    return Problem(f"{other.what} {other.advice} {first.what}", first.advice)


def _model(named: str, app: AppSettings) -> str:
    """A link comes from anybody: it may not open what lies on this machine."""
    opens = "this page offers the models of its list" if app.public else "a link opens bundled models and the Hub’s"
    return f"The link’s model {shown(named)} was left out: {opens}."


def _precisions(named: str, ticked: Collection[str]) -> list[str]:
    missed = [name for name in dict.fromkeys(named.split(",")) if name.strip() and name not in ticked]
    if not missed:
        return []
    return [
        f"Of the link’s precisions these were left out, as they are unknown, too many or not to be had: {_few(missed)}."
    ]


def _few(names: list[str]) -> str:
    cut = (name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}…" for name in names[:_LISTED])
    return ", ".join(cut) + ", …" * (len(names) > _LISTED)
