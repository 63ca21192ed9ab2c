"""Events that every kind of run gives, folded into what its tab shows."""

from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar

from quantlab.records import events


class _View(Protocol):
    """A frozen dataclass, with a `notice` and the `reference`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


V = TypeVar("V", bound=_View)


def fold_common(view: V, event: object) -> V:
    """The view after an event that says what changed for the whole run. Raises TypeError for any other."""
    fields: dict[str, Any]
    match event:
        case events.ReferenceMoved():
            fields = {"reference": event.precision, "notice": event.why}
        case events.TriedAgain():
            fields = {"notice": event.why}
        case events.NotKept():
            fields = {"notice": f"It is not kept in the history. {event.why}"}
        case _:
            raise TypeError(f"unknown event {event!r}")
    return replace(view, **fields)
