"""From a trained model to the bundled one: `python -m quantlab.demo.making.build --work DIR --sigma 0.7`.

Adds the outlier channels, saves in bfloat16 to `--out`, measures the ladder with and without them, writes the card.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from quantlab.demo.making.card import card
from quantlab.demo.making.evaluate import Rung, ladder
from quantlab.demo.making.outliers import OUTLIER_SEED, add_outliers
from quantlab.settings import ASSETS


def save(trained: Path, out: Path, sigma: float) -> None:
    """Write the model of `trained` with outliers of `sigma`, in bfloat16, and its tokenizer to `out`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(trained, dtype=torch.float32)
    add_outliers(model, sigma)
    model.to(torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(trained).save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder that the training left")
    parser.add_argument("--out", type=Path, default=ASSETS / "demo-model")
    parser.add_argument("--sigma", type=float, required=True, help="log-normal spread of the outlier factors")
    parser.add_argument(
        "--ladder", action="store_true", help="only measure, with this sigma, and write nothing bundled"
    )
    args = parser.parse_args()
    plain, candidate = args.work / "plain", args.work / f"sigma-{args.sigma}"
    save(args.work / "trained", candidate, args.sigma)
    with_outliers = ladder(candidate)
    if args.ladder:
        from quantlab.demo.making.evaluate import table

        print(table(with_outliers))
        return
    save(args.work / "trained", plain, 0.0)
    without = ladder(plain)
    save(args.work / "trained", args.out, args.sigma)
    _write(args.out, args.work, args.sigma, with_outliers, without)


def _write(out: Path, work: Path, sigma: float, with_outliers: tuple[Rung, ...], without: tuple[Rung, ...]) -> None:
    training = json.loads((work / "training.json").read_text())
    record = {
        "training": training,
        "outliers": {"sigma": sigma, "seed": OUTLIER_SEED},
        "ladder": [asdict(r) for r in with_outliers],
        "ladder_without_outliers": [asdict(r) for r in without],
    }
    (out / "measured.json").write_text(json.dumps(record, indent=1))
    (out / "README.md").write_text(card(training, sigma, with_outliers, without))


if __name__ == "__main__":
    main()
