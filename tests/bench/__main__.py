"""Benchmarks: `make bench`. Writes docs/benchmark-<device>.json and a Markdown table beside it.

Everything is a ratio of two things measured in turn in one process, medians of at least five, because the machine
may be shared.
"""

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quantlab.measure.machine import machine, versions
from tests.bench import decode, kept, lease, scoring, startup
from tests.bench.report import markdown

DOCS = Path(__file__).resolve().parents[2] / "docs"
MODELS = ("demo", "shape:bench-100m")
PARTS = ("decode", "scoring", "kept", "waiting")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--precisions", nargs="+", help="default: all that can run on the device")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="the others keep their last figures")
    args = parser.parse_args()
    if args.repeats < 5:
        parser.error("medians of fewer than five say little")
    out = DOCS / f"benchmark-{args.device.partition(':')[0]}.json"
    result = json.loads(out.read_text()) if out.is_file() else {}
    result |= {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": asdict(machine(args.device)),
        "versions": versions(),
        "repeats": args.repeats,
        "new_tokens": args.tokens,
    }
    for part in args.parts:
        result |= _measured(part, args)
        out.write_text(json.dumps(result, indent=1) + "\n")
    out.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


def _measured(part: str, args: argparse.Namespace) -> dict[str, Any]:
    """The figures of one part, under their names in the result."""
    device, repeats = args.device, args.repeats
    match part:
        case "decode":
            found = [decode.measure(model, args.precisions, device, repeats, args.tokens) for model in args.models]
            return {"decode": [asdict(row) for rows in found for row in rows]}
        case "scoring":
            rows = [asdict(row) for row in scoring.measure("shape:bench-100m", device, repeats)]
            return {"scoring": rows, "scoring_memory": asdict(scoring.memory(device))}
        case "kept":
            return {"kept": [asdict(row) for row in kept.measure("demo", device, repeats)]}
    return {"cached_lease_s": lease.measure(device, repeats), "startup_s": asdict(startup.measure(repeats))}


if __name__ == "__main__":
    main()
