"""What the page needs from the layers below, as callables, so that the page runs as well on other ones in its tests."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from threading import Event as StopEvent
from typing import TYPE_CHECKING, Protocol

from quantlab.events import Event
from quantlab.records import Offer, Placement, Settings

if TYPE_CHECKING:
    from quantlab.saving import Saved


class Compare(Protocol):
    """One prompt through several precisions; see `quantlab.comparison.compare`."""

    def __call__(
        self, model: str, precisions: Sequence[str], prompt: str, settings: Settings, *, stop: StopEvent | None = None
    ) -> Iterator[Event]: ...


class Quantize(Protocol):
    """One model at one precision, written to the folder `out`; see `quantlab.saving.quantize`."""

    def __call__(
        self, model: str, precision: str, out: str, settings: Settings, stop: StopEvent
    ) -> "Generator[tuple[int, int, str], None, Saved]": ...


@dataclass(frozen=True)
class Services:
    """`offers(model name, placement)` says what can run before anything loads; `choices()` lists the models to
    pick from as (name, kind, description); `offer_published(spec, placement)` says what a checkpoint that somebody
    published would take, under the name of its column. All raise QuantlabError for what a user can mend."""

    compare: Compare
    offers: Callable[[str, Placement], tuple[Offer, ...]]
    choices: Callable[[], tuple[tuple[str, str, str], ...]]
    offer_published: Callable[[str, Placement], Offer]
    quantize: Quantize
