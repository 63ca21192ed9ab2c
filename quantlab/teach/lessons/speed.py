"""Lesson 5: how fast few bits are, by a comparison of which every answer was timed several times."""

from quantlab.errors import BadInput
from quantlab.measure import trust
from quantlab.records import Comparison, ComparisonRequest, Placement, Run, Settings, units
from quantlab.records.lessons import Truth
from quantlab.teach.lessons.acted import MODELS, Acted, checked_name
from quantlab.teach.lessons.sixteen import answered

WIDE, NARROW = "bf16", "nf4"
COLUMNS = (WIDE, "int8", NARROW)
PROMPT = {"demo": "Tell me a story about Mira Toll.", "smollm2": "Explain in two sentences why the sky is blue."}
TOKENS = 33


def request(acted: Acted) -> ComparisonRequest:
    """Raises BadInput for a model that is not offered."""
    model = checked_name("model", acted.model, MODELS)
    settings = Settings(max_new_tokens=TOKENS, reference=WIDE, placement=Placement("auto"))
    return ComparisonRequest(model, COLUMNS, PROMPT[model], settings)


def truth(found: Comparison) -> Truth:
    """Tokens per second of nf4 over those of bf16, from the least to the most that the single answers allow.

    Raises BadInput where one of them was not timed.
    """
    wide, narrow = answered(found, WIDE), answered(found, NARROW)
    fast, slow = _speeds(narrow), _speeds(wide)
    ratio = (narrow.decode_tokens_per_s or 0.0) / (wide.decode_tokens_per_s or 1.0)
    doubts = trust.verdict((wide, narrow)).why_not
    doubt = f"That bears no verdict. {doubts}" if doubts else ""
    stored = {run.precision: run.load.running_bytes if run.load else 0 for run in (wide, narrow)}
    by_bytes = stored[WIDE] / stored[NARROW] if stored[NARROW] else None
    return Truth(
        ratio,
        {
            "model": found.model.name,
            "machine": machine_name(found),
            "wide_speed": trust.speed(wide),
            "narrow_speed": trust.speed(narrow),
            "wide_bytes": units.size(stored[WIDE]),
            "narrow_bytes": units.size(stored[NARROW]),
            "by_bytes": units.ratio(by_bytes),
            "ratio": units.ratio(ratio),
        },
        of=found.model.name,
        low=min(fast) / max(slow),
        high=max(fast) / min(slow),
        doubt=doubt,
    )


def _speeds(run: Run) -> tuple[float, ...]:
    """Of each answer. Raises BadInput for a run that has none."""
    found = tuple(it for it in run.decode_samples if it > 0) or tuple(filter(None, (run.decode_tokens_per_s,)))
    if not found:
        raise BadInput(f"{run.precision} was not timed.", "Measure again.")
    return found


def machine_name(found: Comparison) -> str:
    machine = found.machine
    device = "" if machine.device.startswith("cpu") else f", {machine.device}"
    return f"{machine.cpu}, {units.counted(machine.cores, 'core')}{device}"
