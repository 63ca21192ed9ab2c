"""Time an iterator from outside: the seconds spent inside each `next()`, and nothing of what happens between."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from quantlab.records import Timing

T = TypeVar("T")


@dataclass
class Stopwatch:
    """Raw samples: `seconds[i]` is what the i-th item took. `synchronize` waits for the device before each reading."""

    synchronize: Callable[[], None]
    seconds: list[float] = field(default_factory=list)

    def watch(self, items: Iterator[T]) -> Iterator[T]:
        """Pass the items on, taking the time of each."""
        while True:
            self.synchronize()
            begun = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            self.synchronize()
            self.seconds.append(time.perf_counter() - begun)
            yield item

    def timing(self, prompt_tokens: int, warmup_ttft_s: float | None) -> Timing:
        """The first sample is the time to first token, the others are the inter-token latencies."""
        return Timing(warmup_ttft_s, self.seconds[0], tuple(self.seconds[1:]), prompt_tokens)
