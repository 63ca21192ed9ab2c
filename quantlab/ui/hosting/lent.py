"""How many seconds of a lent GPU a request asks for: from its columns, its tokens, and what is in memory already.

What is asked for is taken from the visitor's quota of the day, so little is asked; what takes longer is ended before
the GPU is taken back (see `zero.py`).
"""

import math
import threading
from collections import deque
from collections.abc import Collection
from statistics import fmean

from quantlab.records import ComparisonRequest, QualityRequest
from quantlab.records.asked import Request
from quantlab.records.events import Finished, Loaded, Measured

#: Seconds that are asked for, at least and at most.
LEAST_S, MOST_S = 10, 60
#: A worker is forked, and what is resident is moved to its GPU.
START_S = 3.0
#: Allowances until something was measured, each of one column: a load, a new token, a token of a text that is read.
LOAD_S, TOKEN_S, SCORED_S = 5.0, 0.04, 0.0005
#: The last so many figures of each kind count.
_RECENT = 20


class Pace:
    """What loads and tokens took here lately. Any thread may call it."""

    def __init__(self, residents: Collection[tuple[str, str]] = ()) -> None:
        """`residents` are pairs of a model's and a precision's name that every worker finds in memory."""
        self._residents = residents
        self._lock = threading.Lock()
        self._loads: deque[float] = deque(maxlen=_RECENT)
        self._tokens: deque[float] = deque(maxlen=_RECENT)
        self._scored: deque[float] = deque(maxlen=_RECENT)

    def saw(self, event: object) -> None:
        """Learn from an event of a run."""
        with self._lock:
            match event:
                case Loaded(load=load) if load.load_origin != "memory":
                    self._loads.append(load.load_s)
                case Finished(run=run) if run.timing is not None and run.timing.itl_s:
                    self._tokens.append(fmean(run.timing.itl_s))
                case Measured(run=run) if run.score_tokens_per_s:
                    self._scored.append(1 / run.score_tokens_per_s)

    def seconds(self, request: Request) -> int:
        """What to ask for, from `LEAST_S` to `MOST_S`."""
        return math.ceil(min(MOST_S, max(LEAST_S, START_S + self._loading(request) + self._running(request))))

    def _loading(self, request: Request) -> float:
        fresh = [name for name in request.precisions if (request.model, name) not in self._residents]
        with self._lock:
            each = max(self._loads, default=LOAD_S)
        return len(fresh) * each

    def _running(self, request: Request) -> float:
        from quantlab.fidelity import windows  # they bring torch
        from quantlab.runs import repeats

        columns = len(request.precisions)
        with self._lock:
            token, scored = max(self._tokens, default=TOKEN_S), max(self._scored, default=SCORED_S)
        match request:
            case ComparisonRequest(settings=settings):
                answers = columns * settings.max_new_tokens * token
                return answers + (0 if settings.race else min(repeats.TOGETHER_S, columns * repeats.COLUMN_S, answers))
            case QualityRequest(settings=settings) if not settings.tasks:
                read = settings.windows * windows.WINDOW * scored
                return columns * (read + settings.new_tokens * token * (1 + repeats.ROUNDS))
        return float(MOST_S)
