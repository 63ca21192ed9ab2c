"""Makes the questions of the quiz: `python -m quantlab.teach.quiz.making MODEL`. Each model's take some minutes.

Each prompt is answered at all precisions, and becomes one question: were it two, the first one's reveal would give the
reference's answer of the second away. Precisions take turns, as far as their answers differ from the unquantized ones.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantlab.export import record_data
from quantlab.measure.statistics import mean
from quantlab.records import Comparison, Run, Settings, TokenDifference
from quantlab.records.events import Done
from quantlab.teach.quiz.questions import FOLDER, candidates, is_quantized, question_of

REFERENCE = "fp32"
WHOLE = (REFERENCE, "bf16")
QUANTIZED = ("int8", "nf4", "rtn-4", "rtn-3", "rtn-2", "q4_k_m", "q2_k")
NEW_TOKENS = 40
#: Significant digits of the figures of each token. All others are kept as they were measured.
DIGITS = 5
PROMPTS = {
    "demo": (
        "Tell me a story about Sanna Corsa.",
        "What pet does Sanna Corsa have?",
        "Where does Sanna Corsa live?",
        "Tell me about Sanna Corsa.",
        "What is 27 + 45?",
        "What can one see in Kestrel?",
        "When is the market in Kestrel?",
        "Who is the mayor of Kestrel?",
        "Tell me a story about a beekeeper.",
        "Write a diary of a week in Kestrel.",
        "What is 61 + 38?",
        "Tell me a story about the sea.",
        "What does Sanna Corsa like to eat?",
        "What is the work of Sanna Corsa?",
    ),
    "smollm2": (
        "What is the capital of Australia, and why is it not Sydney?",
        "Why is the sky blue? Answer in two sentences.",
        "Tell me a short story about a lighthouse keeper who finds a letter.",
        "What is 27 + 45? Explain step by step.",
        "Write a Python function that checks whether a word is a palindrome.",
        "Give me three tips for learning a new language.",
        "How does a bicycle stay upright?",
        "Explain to a child why leaves turn red in autumn.",
        "Write a polite e-mail that asks for a day off.",
        "What is the difference between weather and climate?",
        "Name three animals that live in the desert and say how they find water.",
        "How do I cook rice?",
        "What is a neural network?",
        "Write four lines of a poem about winter.",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=sorted(PROMPTS))
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    made = [_compared(args.model, prompt) for prompt in PROMPTS[args.model]]
    write(args.out, args.model, made)


def _compared(model: str, prompt: str) -> Comparison:
    from quantlab.runs.compare import compare

    with closing(compare(model, (*WHOLE, *QUANTIZED), prompt, Settings(max_new_tokens=NEW_TOKENS))) as events:
        found = [event.comparison for event in events if isinstance(event, Done)][-1]
    print(prompt, *(f"{run.precision}:{run.error or len(run.tokens)}" for run in found.runs), flush=True)
    return found


def write(folder: Path, model: str, made: Sequence[Comparison]) -> None:
    """Write the questions that follow from comparisons, in place of this model's earlier ones, and a page of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob(f"{model}-*.json"):
        earlier.unlink()
    turns: Counter[str] = Counter()
    for number, comparison in enumerate(made, 1):
        if not (able := candidates(comparison)):
            continue
        chosen = min(able, key=lambda name: turns[name])
        turns[chosen] += 1
        question = question_of(f"{model}-{number:02}-{chosen}", _kept(comparison, chosen))
        text = json.dumps(_rounded(record_data(question.comparison)), allow_nan=False, separators=(",", ":"))
        (folder / f"{question.id}.json").write_text(text + "\n", "ascii")
    (folder / f"{model}.md").write_text(_told(model, made, turns), "utf-8")


def _kept(comparison: Comparison, chosen: str) -> Comparison:
    """The comparison with the runs of one question; of each token the figures stay, and the likeliest others go."""
    runs: list[Run] = []
    for run in comparison.runs:
        again = any(run.text == earlier.text for earlier in runs)
        if run.precision == chosen or not (is_quantized(run) or again):
            runs.append(replace(run, differences=tuple(replace(it, ours=(), theirs=()) for it in run.differences)))
    return replace(comparison, runs=tuple(runs))


def _rounded(data: dict[str, Any]) -> dict[str, Any]:
    for run in data["runs"]:
        for each in run["differences"]:
            each |= {name: float(f"{it:.{DIGITS}g}") for name, it in each.items() if isinstance(it, float)}
    return data


def _told(model: str, made: Sequence[Comparison], turns: Counter[str]) -> str:
    """What was made of how many prompts, on what and when: a page of Markdown."""
    first = made[0]
    lines = [
        f"# Questions made with {model}",
        "",
        f"Measured on {first.started:%Y-%m-%d} on {first.machine.cpu} ({first.machine.cores} cores) by "
        f"`python -m quantlab.teach.quiz.making {model}`: {len(made)} prompts, {NEW_TOKENS} new tokens, greedy.",
        *(["", first.model.caution] if first.model.caution else []),
        "",
        "| precision | answers word for word as without quantization | mean KLD over all prompts, nats | questions |",
        "|---|---|---|---|",
    ]
    for name in QUANTIZED:
        runs = [it.run(name) for it in made]
        alike = sum(name not in candidates(it) for it in made)
        kld = mean([mean(list(map(_kld, run.differences))) or 0.0 for run in runs if run.differences])
        shown = "-" if kld is None else f"{kld:.3g}"
        lines.append(f"| `{name}` | {alike} of {len(made)} | {shown} | {turns[name]} |")
    lines += ["", "Only answers that differ are asked: nobody could tell the others by their words.", ""]
    return "\n".join(lines)


def _kld(difference: TokenDifference) -> float:
    return difference.kld


if __name__ == "__main__":
    main()
