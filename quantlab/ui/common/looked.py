"""What the page looked up of models: their estimates, and the facts that the same look gave."""

from collections import OrderedDict
from threading import Lock

from quantlab.records import Estimate, ModelFacts, Placement
from quantlab.settings import AppSettings

#: Models whose facts are remembered.
_REMEMBERED = 64


class Looked:
    """A model's description is read once, for its estimates; what it tells beside them is kept for a while."""

    def __init__(self, app: AppSettings) -> None:
        self._app = app
        self._lock = Lock()
        self._facts: OrderedDict[str, ModelFacts] = OrderedDict()

    def estimates(self, name: str, placement: Placement) -> tuple[Estimate, ...]:
        """See `Services.estimates`. What is remembered of a model goes when it cannot be read any more."""
        from quantlab import models
        from quantlab.models.facts import facts
        from quantlab.runs import estimates

        self._keep(name, None)
        checkpoint = models.peek_main(name, self._app)
        self._keep(name, facts(name, checkpoint, self._app))
        return estimates.estimates(checkpoint, placement)

    def facts(self, name: str) -> ModelFacts:
        """See `Services.facts`."""
        from quantlab.models.facts import kind_alone

        with self._lock:
            known = self._facts.get(name)
        return known or kind_alone(name, self._app)

    def _keep(self, name: str, facts: ModelFacts | None) -> None:
        with self._lock:
            self._facts.pop(name, None)
            if facts is not None:
                self._facts[name] = facts
            while len(self._facts) > _REMEMBERED:
                self._facts.popitem(last=False)
