"""Benchmarks: `make bench`. Writes docs/benchmark-<device>.json and a Markdown table beside it.

Everything is a ratio of two things measured in turn in one process, medians of at least five, because the machine
may be shared.
"""

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from quantlab.measure.machine import machine, versions
from tests.bench import decode, kept, lease, startup
from tests.bench.report import markdown

DOCS = Path(__file__).resolve().parents[2] / "docs"
MODELS = ("demo", "shape:bench-100m")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--precisions", nargs="+", help="default: all that can run on the device")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--skip-startup", action="store_true")
    args = parser.parse_args()
    if args.repeats < 5:
        parser.error("medians of fewer than five say little")
    rows = [
        row
        for model in args.models
        for row in decode.measure(model, args.precisions, args.device, args.repeats, args.tokens)
    ]
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": asdict(machine(args.device)),
        "versions": versions(),
        "repeats": args.repeats,
        "new_tokens": args.tokens,
        "decode": [asdict(row) for row in rows],
        "kept": [asdict(row) for row in kept.measure("demo", args.device, args.repeats)],
        "cached_lease_s": lease.measure(args.device, args.repeats),
        "startup_s": None if args.skip_startup else asdict(startup.measure(args.repeats)),
    }
    out = DOCS / f"benchmark-{args.device.partition(':')[0]}.json"
    out.write_text(json.dumps(result, indent=1) + "\n")
    out.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
