"""`python -m tests.fuzz N [SEED]`: run N spoiled models, print what came of them, and fail where one ended badly."""

import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import tests.conftest  # noqa: F401 - nothing of the user's is touched
from tests.fuzz.trial import OUTCOMES, bases, prepare, trial

GOOD = ("ran", "refused")


def main(count: int, seed: int) -> int:
    prepare()
    counts: Counter[str] = Counter()
    with TemporaryDirectory(prefix="fuzz-good-") as folder:
        good = bases(Path(folder))
        for number in range(seed, seed + count):
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
    raise SystemExit(main(numbers[0] if numbers else 200, numbers[1] if len(numbers) > 1 else 0))
