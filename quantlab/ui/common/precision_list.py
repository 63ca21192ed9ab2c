"""The precisions of the chosen model with their estimates, and published checkpoints that were added to them."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from quantlab.errors import QuantlabError
from quantlab.methods import PRECISIONS, method_of, precision
from quantlab.methods.published import SEPARATOR, STORED, is_published, labels, read
from quantlab.methods.served import is_served
from quantlab.records import Card, Estimate, Placement, Precision
from quantlab.runtime.kv_cache import MARK, split
from quantlab.settings import AppSettings
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.runner import problem_of
from quantlab.ui.compare.form import DEFAULT_TICKS, check_model
from quantlab.ui.services import Services

log = logging.getLogger(__name__)
PUBLISHED_TITLE = "As published"


@dataclass(frozen=True)
class Row:
    """One row of the list: `value` is what ticking it chooses, a precision's name or a checkpoint as typed."""

    value: str
    estimate: Estimate

    @property
    def added(self) -> bool:
        """Whether the visitor put it there."""
        return is_added(self.value)


@dataclass(frozen=True)
class Group:
    """Rows under one heading. `reason` is why none of them can run, where that is one reason for all."""

    title: str
    rows: tuple[Row, ...]
    reason: str = ""


@dataclass(frozen=True)
class Room:
    """What rows are held against in place of this machine: a card, with keys and values of so many tokens."""

    card: Card
    context: int


@dataclass(frozen=True)
class PrecisionList:
    """`own` are the model's precisions, `added` what the visitor put beside them, also when another model is chosen.

    `missed` are the visitor's ticks that this model cannot take: they come back with one that can. `stand_in` is what
    was ticked in their place where none of them could be. `room` None: whether they fit speaks of this machine.
    """

    own: tuple[Estimate, ...] = ()
    added: tuple[Row, ...] = ()
    missed: tuple[str, ...] = ()
    stand_in: str = ""
    room: Room | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        return (*(Row(estimate.precision.name, estimate) for estimate in self.own), *self.added)

    @property
    def specs(self) -> tuple[str, ...]:
        return tuple(row.value for row in self.added)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that the rows would have."""
        return tuple(row.estimate.precision.name for row in self.rows)

    def with_added(self, row: Row) -> "PrecisionList":
        """The same with one more checkpoint, or with a newer look at one that is there."""
        kept = tuple(row if old.value == row.value else old for old in self.added)
        return replace(self, added=kept if row.value in self.specs else (*kept, row))


def with_the_file(offered: PrecisionList, before: PrecisionList, wanted: Iterable[str]) -> tuple[str, ...]:
    """What is wanted, and with it the file itself where a GGUF file has just been chosen as the model."""
    wanted = tuple(wanted)
    if not _is_file(offered) or _is_file(before) or STORED in wanted:
        return wanted
    return (STORED, *wanted)


def _is_file(offered: PrecisionList) -> bool:
    """Whether the weights can be had as they are stored, and dequantized too."""
    can = {it.precision.name for it in offered.own if it.unavailable is None}
    return STORED in can and not can.isdisjoint(DEFAULT_TICKS)


def ticks(offered: PrecisionList, wanted: Iterable[str], limit: int) -> list[str]:
    """The first `limit` of the wanted that can run, in the order of the rows; else the first row that can."""
    can = [row.value for row in offered.rows if row.estimate.unavailable is None]
    chosen = [name for name in dict.fromkeys(wanted) if name in can][:limit]
    return sorted(chosen, key=can.index) or can[:1]


def wishes(offered: PrecisionList, ticked: Iterable[str]) -> tuple[str, ...]:
    """What the visitor wants ticked: what is, and what was until a model came that could not take it."""
    own = tuple(ticked)
    return tuple(dict.fromkeys((*(own if own != (offered.stand_in,) else ()), *offered.missed)))


def settled(offered: PrecisionList, wanted: Iterable[str], limit: int) -> tuple[PrecisionList, list[str]]:
    """The ticks for what a visitor wants, and the list with what of it has to wait."""
    wanted = tuple(wanted)
    ticked = ticks(offered, wanted, limit)
    can = {row.value for row in offered.rows if row.estimate.unavailable is None}
    stand_in = "" if set(ticked) & set(wanted) else "".join(ticked)
    missed = tuple(name for name in wanted if name not in can)
    return replace(offered, missed=missed, stand_in=stand_in), ticked


def arranged(offered: PrecisionList) -> tuple[tuple[Row, ...], tuple[Group, ...]]:
    """The rows to show at once, and the others by method. Methods that cannot run for one same reason share a group."""
    rows = offered.rows
    names = (STORED, *DEFAULT_TICKS) if _is_file(offered) else DEFAULT_TICKS
    first = [row for name in names for row in rows if row.value == name]
    if not any(row.estimate.unavailable is None for row in first):
        # A model that is quantized already runs at none of the usual ones: what it can run at comes first.
        can = [row for row in offered.rows if row.estimate.unavailable is None and row not in offered.added]
        first = can or first
    titles = dict.fromkeys(row.estimate.group for row in rows if row not in first)
    found: dict[str, Group] = {}
    for title in titles:
        members = tuple(row for row in rows if row.estimate.group == title and row not in first)
        reasons = {row.estimate.unavailable for row in members}
        reason = (reasons.pop() or "") if len(reasons) == 1 else ""
        key = reason or title
        if key in found:
            members, title = (*found[key].rows, *members), f"{found[key].title}, {title}"
        found[key] = Group(title, members, reason)
    return tuple(first), tuple(found.values())


def look_at(spec: str, model: str, placement: Placement, services: Services) -> Row:
    """What is added as a row: a precision of the model with options in its name, or a published checkpoint by its
    shortest name. Raises QuantlabError for what a user can mend.
    """
    if is_served(spec):
        return Row(spec.strip(), services.estimate_published(spec.strip(), placement))
    base, kv_cache = split(spec.strip())
    if is_precision(base):
        return Row(spec.strip(), services.estimate_precision(model, spec.strip(), placement))
    published = read(base)
    short = SEPARATOR.join(filter(None, (published.name, published.pick))) + (f"{MARK}{kv_cache}" if kv_cache else "")
    return Row(short, replace(services.estimate_published(short, placement), group=PUBLISHED_TITLE))


def of_model(
    model: str, placement: Placement, app: AppSettings, services: Services, added: tuple[Row, ...] = ()
) -> tuple[PrecisionList, Problem | None]:
    """The estimates for a model beside what was added, and what was wrong with the model."""
    try:
        check_model(model, app)
        return PrecisionList(services.estimates(model, placement), added), None
    except Exception as error:
        return PrecisionList((), added), problem_of(error, "no estimate for a model")


def is_precision(name: str) -> bool:
    """Whether a name is a precision's, be it one with options, and no published checkpoint's."""
    if is_published(name):
        return False
    try:
        return bool(precision(name))
    except QuantlabError:
        return False


def is_added(name: str) -> bool:
    """Whether a name among those that were ticked is in no list by itself."""
    return is_published(name) or (name not in PRECISIONS and is_precision(name))


def look_again(specs: Iterable[str], model: str, placement: Placement, services: Services) -> tuple[Row, ...]:
    """What was added before or named by a link, for this model; what cannot be had is a greyed row that says why."""
    return tuple(_look_again(spec, model, placement, services) for spec in specs)


def _look_again(spec: str, model: str, placement: Placement, services: Services) -> Row:
    try:
        return look_at(spec, model, placement, services)
    except QuantlabError as error:
        reason = str(error)
    except Exception:
        log.exception("no estimate for a checkpoint")
        reason = "could not be read. The log says why."
    if is_precision(spec):
        return Row(spec, Estimate(precision(spec), reason, None, 0, method_of(precision(spec)).title))
    (name,) = labels([spec]).values()
    return Row(spec, Estimate(Precision(name, "stored", 0.0, spec), reason, None, 0, PUBLISHED_TITLE))
