"""What the page needs from the layers below, as callables, so that the page runs as well on other ones in its tests."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event as StopEvent
from typing import Protocol

from quantlab.events import Event
from quantlab.records import Offer, Placement, Settings


class Compare(Protocol):
    """One prompt through several precisions; see `quantlab.comparison.compare`."""

    def __call__(
        self, model: str, precisions: Sequence[str], prompt: str, settings: Settings, *, stop: StopEvent | None = None
    ) -> Iterator[Event]: ...


@dataclass(frozen=True)
class Services:
    """`offers(model name, placement)` says what can run before anything loads; `choices()` lists the models to
    pick from as (name, kind, description). Both raise QuantlabError for what a user can mend."""

    compare: Compare
    offers: Callable[[str, Placement], tuple[Offer, ...]]
    choices: Callable[[], tuple[tuple[str, str, str], ...]]
