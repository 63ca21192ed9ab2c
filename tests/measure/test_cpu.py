"""What the processor did meanwhile: ours, others', and what the clocks cannot tell."""

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from quantlab.measure.cpu import CpuClock, Reading, cores

BURN = "import time\nwhile time.process_time() < 0.5: pass"


def readings(*given: Reading) -> Callable[[], Reading]:
    left = list(given)
    return lambda: left.pop(0)


def used(own: float, busy: float | None, wall: float = 2.0):
    begun = Reading(100.0, 7.0, None if busy is None else 5_000.0, 0.5)
    now = Reading(100.0 + wall, 7.0 + own, None if busy is None else 5_000.0 + busy, 1.5)
    return CpuClock(2, readings(begun, now)).use()


def test_others_took_what_the_machine_was_busy_with_and_we_were_not():
    use = used(own=1.5, busy=2.6)
    assert (use.wall_s, use.own_s, use.threads, use.load) == (2.0, 1.5, 2, 1.5)
    assert use.others_s == pytest.approx(1.1) and use.cores == len(cores()) >= 1


def test_clocks_that_contradict_each_other_tell_nothing_of_others():
    assert used(own=1.5, busy=0.0).others_s is None, "a machine that does not count"
    assert used(own=1.5, busy=None).others_s is None, "a system that does not tell"
    assert used(own=1.5, busy=1.49).others_s == 0, "ticks are rounded"


def test_uses_add_up():
    both = used(1.5, 2.6) + used(0.5, 0.6)
    assert (both.wall_s, both.own_s, both.load) == (4.0, 2.0, 1.5) and both.others_s == pytest.approx(1.2)
    assert (used(1.5, 2.6) + used(1.5, None)).others_s is None


def test_the_real_clocks_count_this_process():
    clock, begun = CpuClock(1), time.process_time()
    while time.process_time() - begun < 0.2:
        pass
    use = clock.use()
    assert 0.2 <= use.own_s < 1 and use.wall_s > 0.1


def test_another_process_is_not_ours():
    clock = CpuClock(1)
    subprocess.run([sys.executable, "-c", BURN], check=True)
    use = clock.use()
    assert use.own_s < 0.4 and (use.others_s is None or use.others_s > 0.4)
