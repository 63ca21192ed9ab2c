"""Finished comparisons in memory, bounded: whoever asks the same again has the answer at once, without a turn.

A greedy comparison of the same files, precisions, prompt and settings gives the same words. Where there is a history it
knows more of them, but only a run that has its turn looks there; in public there is none. Of a visitor's prompt others
see nothing: the answer is given to whoever asks the very same.
"""

import pickle
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass

from quantlab.errors import QuantlabError, Stopped
from quantlab.records import Comparison, ComparisonRequest
from quantlab.records.events import Done, Event, Events
from quantlab.settings import AppSettings

#: Asks whether something was answered meanwhile: its events then, None while it was not.
Answered = Callable[[], "Generator[Event, None, None] | None"]


@dataclass(frozen=True)
class _Kept:
    """A comparison, packed, and the state of the model's files that it was made of."""

    identity: str
    packed: bytes


class Replays:
    """At most so many bytes of comparisons; beyond them the one goes that was asked for longest ago. Any thread may
    call it."""

    def __init__(self, app: AppSettings) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.nbytes = 0

    def answered(self, request: ComparisonRequest) -> Answered:
        """What tells, whenever it is called, whether this was answered by now."""
        key = _key(request)

        def look() -> Generator[Event, None, None] | None:
            found = self._found(key, request) if key is not None and key in self._kept else None
            if found is None:
                return None
            from quantlab.runs.compare import replayed  # brings torch; here it is there already

            return replayed(found)

        return look

    def keeping(self, compare: Callable[..., Events]) -> Callable[..., Events]:
        """The same job, which keeps what it finished; what was answered while it waited for its turn is replayed."""

        def kept(
            request: ComparisonRequest, *, stop: threading.Event | None = None, fresh: bool = False
        ) -> Generator[Event, None, None]:
            earlier = None if fresh else self.answered(request)()
            with closing(compare(request, stop=stop, fresh=fresh) if earlier is None else earlier) as events:
                for event in events:
                    if isinstance(event, Done):
                        self.keep(request, event.comparison)
                    yield event

        return kept

    def keep(self, request: ComparisonRequest, comparison: Comparison) -> None:
        """Keep one of which every column answered, if it was made of the model's own files alone."""
        key, identity = _key(request), comparison.model.identity
        # What a server answers may be another the next time.
        whole = all(
            run.error is None and not run.stopped and run.identity == identity and run.served is None
            for run in comparison.runs
        )
        if key is None or not identity or not whole:
            return
        packed = zlib.compress(pickle.dumps(comparison), 1)
        with self._lock:
            self._drop(key)
            self._kept[key] = _Kept(identity, packed)
            self.nbytes += len(packed)
            while self.nbytes > self._app.replay_bytes:
                self._drop(next(iter(self._kept)))

    def _found(self, key: str, request: ComparisonRequest) -> Comparison | None:
        """What was kept, if the model's files are still those it was made of."""
        from quantlab import models

        try:
            identity = models.resolve_main(request.model, self._app, _nothing_is_fetched).identity
        except (QuantlabError, Stopped):  # the run tells why, when its turn has come
            return None
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept.identity != identity:
                self._drop(key)
                return None
            self._kept.move_to_end(key)
        comparison: Comparison = pickle.loads(zlib.decompress(kept.packed))  # noqa: S301 - packed above, by this process
        return comparison

    def _drop(self, key: str) -> None:
        if (gone := self._kept.pop(key, None)) is not None:
            self.nbytes -= len(gone.packed)


def _nothing_is_fetched(done: int, total: int, what: str) -> None:
    """A `Progress` of what must be there: where it has to be fetched, that waits for its turn."""
    raise Stopped


def _key(request: ComparisonRequest) -> str | None:
    """Everything that was asked for, in a digest; None for what is drawn or raced, or quantized by a visitor's text."""
    from quantlab import models

    settings = request.settings
    if settings.sample or settings.race or settings.calibration.file is not None:
        return None
    return models.digest([request.model, request.precisions, request.prompt, asdict(settings)])
