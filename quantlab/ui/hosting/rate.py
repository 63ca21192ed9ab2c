"""How often one visitor may do something."""

import math
import time

from gradio.context import LocalContext
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from quantlab.errors import BadInput, Unavailable
from quantlab.ui.hosting.visitors import Visitors


def rate_of(text: str) -> RateLimitItem | None:
    """A rate as `limits` writes it, such as "10/minute"; None for an empty one. Raises BadInput."""
    if not text.strip():
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise BadInput(f"QUANTLAB_RATE_LIMIT is no rate: {text}.", 'Write it like "10/minute".') from error


class Rate:
    """One rate, for each visitor by himself. Any thread may call it."""

    def __init__(self, rate: RateLimitItem) -> None:
        self._rate, self._limiter = rate, MovingWindowRateLimiter(MemoryStorage())

    def hit(self, visitor: str) -> bool:
        """Count one; whether it is within the rate."""
        self._forget_what_is_to_come(visitor)
        return self._limiter.hit(self._rate, visitor)

    def reached(self, visitor: str) -> bool:
        self._forget_what_is_to_come(visitor)
        return not self._limiter.test(self._rate, visitor)

    def left_s(self, visitor: str) -> int:
        """Seconds until one more is within the rate."""
        return max(1, math.ceil(self._wait_s(visitor)))

    def _forget_what_is_to_come(self, visitor: str) -> None:
        """`limits` reads the clock of the wall: set back, it would hold a visitor off for as long as it was."""
        if self._wait_s(visitor) > self._rate.get_expiry():
            self._limiter.clear(self._rate, visitor)

    def _wait_s(self, visitor: str) -> float:
        return self._limiter.get_window_stats(self._rate, visitor).reset_time - time.time()


class RunRate:
    """How often the visitor for whom gradio works at this moment may begin a run. `text` empty: as often as he likes.

    Raises BadInput for a text that is no rate.
    """

    def __init__(self, text: str, visitors: Visitors) -> None:
        rate = rate_of(text)
        self._rate, self._visitors = (Rate(rate) if rate else None), visitors

    def check(self) -> None:
        """Raises Unavailable where it was too often."""
        request = LocalContext.request.get(None)
        if self._rate is None or request is None or request.request is None:
            return
        visitor = self._visitors.of(request.request.scope)
        if not self._rate.hit(visitor):
            raise Unavailable("That was too often for one visitor.", f"Try again in {self._rate.left_s(visitor)} s.")
