"""`python -m tests.fuzz N [SEED [MINUTES]]`: run N spoiled models, say what came of them, fail where one ended ill."""

import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import tests.conftest  # noqa: F401 - nothing of the user's is touched
from tests.fuzz.trial import OUTCOMES, bases, prepare, trial

GOOD = ("ran", "refused")


def main(count: int, seed: int, minutes: float) -> int:
    deadline = time.monotonic() + 60 * minutes
    prepare()
    counts: Counter[str] = Counter()
    with TemporaryDirectory(prefix="fuzz-good-") as folder:
        good = bases(Path(folder))
        for number in range(seed, seed + count):
            if time.monotonic() > deadline:
                break
            found = trial(number, good)
            counts[found.outcome] += 1
            if found.outcome not in GOOD or "-v" in sys.argv:
                print(f"{found.seed} {found.family}: {found.outcome} ({found.seconds:.1f} s)")
                print(f"  {found.done}\n  {found.said}")
                sys.stdout.flush()
    print(", ".join(f"{outcome}: {counts[outcome]}" for outcome in OUTCOMES))
    return int(any(counts[outcome] for outcome in OUTCOMES if outcome not in GOOD))


if __name__ == "__main__":
    numbers = [int(it) for it in sys.argv[1:] if it.isdigit()]
    count, seed, minutes = [*numbers, *(200, 0, 60)[len(numbers) :]]
    raise SystemExit(main(count, seed, minutes))
