"""What a sweep found, as docs/architectures.md."""

from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from tests.architectures.trial import PRECISIONS, Trial, precisions_of

HEAD = """\
# Which models run

Every kind of causal language model that transformers {transformers} has was built small, with random weights, and
run at {precisions}; {sample} of them at GPTQ, AWQ, HQQ and torchao too, and the four that llama.cpp's export knows at
GGUF types. **Right** means: the greedy tokens are those of `generate`, the bytes stored are those estimated within 1 %,
and what a method leaves un-quantized is said. **Refused** means: before a figure is shown, with the reason. Made by
`make sweep`.

{counts}

What is tried is the code for a kind, not a published checkpoint: a tiny random model shows whether the measuring is
right, and says nothing of quality. Of a kind that is not in this list a model is tried when it is loaded (a few tokens
in pieces and in one pass), and refused where the two differ.
"""


def markdown(trials: Sequence[Trial], seconds: float) -> str:
    counts = Counter(it.verdict for it in trials)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("right", "refused", "wrong", "broken"))
    built = len(trials) - counts["unbuilt"]
    head = HEAD.format(
        transformers=version("transformers"),
        precisions=", ".join(PRECISIONS),
        sample=sum("gptq-4-g32" in precisions_of(it.kind) for it in trials),
        counts=f"{len(trials)} kinds, {built} of them built: {told}. It took {seconds / 60:.0f} minutes.",
    )
    parts = [head]
    parts += _section("Run", [it for it in trials if it.verdict == "right"], _ran)
    parts += _section("Refused", [it for it in trials if it.verdict == "refused"], _refused)
    parts += _section("Wrong or broken", [it for it in trials if it.verdict in ("wrong", "broken")], _bad)
    parts += _section("Not built here", [it for it in trials if it.verdict == "unbuilt"], _unbuilt)
    return "\n".join(parts) + "\n"


def _section(title: str, trials: Sequence[Trial], row) -> Iterable[str]:
    if not trials:
        return
    yield f"## {title}\n\n| kind | what is to be known |\n|---|---|"
    for it in trials:
        yield f"| {it.kind} | {_cell(row(it))} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _ran(it: Trial) -> str:
    """Each remark once, with the precisions that it is of."""
    held: dict[str, list[str]] = {}
    for outcome in it.outcomes:
        for note in outcome.notes if outcome.verdict == "right" else (f"refused: {outcome.why}",):
            held.setdefault(_short(note), []).append(outcome.precision)
    every = [outcome.precision for outcome in it.outcomes]
    return "; ".join(note if names == every else f"{', '.join(names)}: {note}" for note, names in held.items())


def _short(note: str) -> str:
    head, _, names = note.partition(": ")
    return head if names.count(",") > 1 or " more" in names else note


def _refused(it: Trial) -> str:
    return "; ".join(dict.fromkeys(outcome.why for outcome in it.outcomes))


def _bad(it: Trial) -> str:
    return "; ".join(f"{o.precision} {o.verdict}: {o.why}" for o in it.outcomes if o.verdict in ("wrong", "broken"))


def _unbuilt(it: Trial) -> str:
    return it.unbuilt
