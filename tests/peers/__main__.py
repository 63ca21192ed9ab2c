"""quantlab beside llama.cpp's own programs: `make peers`. Writes docs/peers.json and docs/peers.md.

The programs are built of the source of llama-cpp-python, once on a machine.
"""

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from quantlab.measure.machine import machine, versions
from tests.peers import fidelity, files, programs, speed
from tests.peers.report import markdown

OUT = Path(__file__).resolve().parents[2] / "docs" / "peers.json"
PRECISIONS = ("q8_0", "q4_k_m", "q4_0", "q2_k")
PARTS = ("fidelity", "speed")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description=__doc__)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, help="of GGUF; f16 is the reference")
    parser.add_argument("--repeats", type=int, default=15, help="how often each speed is measured")
    parser.add_argument("--tokens", type=int, default=128, help="how many are decoded")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="the others keep their last figures")
    args = parser.parse_args()
    if args.repeats < 5:
        parser.error("medians of fewer than five say little")
    programs.folder()
    result = json.loads(OUT.read_text()) if OUT.is_file() else {}
    for part in args.parts:
        result[part] = _about() | _measured(part, args)
        OUT.write_text(json.dumps(result, indent=1) + "\n")
    told = markdown(result)
    OUT.with_suffix(".md").write_text(told)
    print(told)


def _about() -> dict[str, Any]:
    """When, where and with what: each part's own, for they need not be measured together."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": asdict(machine("cpu")),
        "versions": versions() | {"llama-cpp-python": version("llama-cpp-python")},
        "threads": torch.get_num_threads(),
        "model": asdict(files.model()) | {"folder": None},
        "compute_dtype": files.placement().compute_dtype,
    }


def _measured(part: str, args: argparse.Namespace) -> dict[str, Any]:
    if part == "speed":
        rows = speed.measure((files.REFERENCE, *args.precisions), args.repeats, args.tokens)
        return {"repeats": args.repeats, "rows": [asdict(row) for row in rows]}
    read, rows = fidelity.measure(args.precisions)
    return {"read": asdict(read), "rows": [asdict(row) for row in rows]}


if __name__ == "__main__":
    main()
