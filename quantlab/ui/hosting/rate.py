"""How often one visitor may do something."""

import math
import time
from functools import cached_property
from typing import TYPE_CHECKING

from gradio.context import LocalContext

from quantlab.errors import BadInput, Unavailable
from quantlab.ui.hosting.visitors import Visitors

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import MovingWindowRateLimiter


class Rate:
    """One rate as `limits` writes it, such as "10/minute", for each visitor by himself.

    That package is imported by `check`, else when the first visitor is counted: it is a tenth of what the start of a
    page imports. Once it is there any thread may ask.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def check(self) -> None:
        """Raises BadInput for a text that is no rate."""
        try:
            _ = self._rate, self._limiter
        except ValueError as error:
            raise BadInput(f"QUANTLAB_RATE_LIMIT is no rate: {self._text}.", 'Write it like "10/minute".') from error

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

    @cached_property
    def _rate(self) -> "RateLimitItem":
        from limits import parse

        return parse(self._text)

    @cached_property
    def _limiter(self) -> "MovingWindowRateLimiter":
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        return MovingWindowRateLimiter(MemoryStorage())

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
        self._rate, self._visitors = (Rate(text) if text.strip() else None), visitors
        if self._rate is not None:
            self._rate.check()

    def check(self) -> None:
        """Raises Unavailable where it was too often."""
        request = LocalContext.request.get(None)
        if self._rate is None or request is None or request.request is None:
            return
        visitor = self._visitors.of(request.request.scope)
        if not self._rate.hit(visitor):
            raise Unavailable("That was too often for one visitor.", f"Try again in {self._rate.left_s(visitor)} s.")
