"""Lesson 4: which ability of the demo model breaks first, by its tasks."""

from collections.abc import Mapping, Sequence

from quantlab.errors import BadInput
from quantlab.fidelity import texts
from quantlab.records import (
    ComparisonRequest,
    Placement,
    Quality,
    QualityRequest,
    QualityRun,
    QualitySettings,
    Settings,
    TaskScore,
    units,
)
from quantlab.records.lessons import Truth
from quantlab.teach.lessons.acted import Acted, checked_prompt

REFERENCE = "fp32"
#: From many bits to few.
FEWER = ("rtn-4", "rtn-3", "rtn-2")
_BITS = {"rtn-4": "4 bits", "rtn-3": "3 bits", "rtn-2": "2 bits"}
#: The abilities to choose from, and the task that measures each.
TASKS = {"facts": "demo_facts", "sums": "demo_sums", "grammar": "demo_grammar"}
#: Below it a loss is more than chance explains.
SIGNIFICANT = 0.05
_ENDINGS = 4


def request(acted: Acted) -> ComparisonRequest:
    """What a learner asks the model at several precisions. Raises BadInput for a prompt that cannot be."""
    settings = Settings(max_new_tokens=32, reference=REFERENCE, placement=Placement("auto"))
    return ComparisonRequest("demo", (REFERENCE, *FEWER), checked_prompt(acted.prompt), settings)


def tested() -> QualityRequest:
    """The tests of all abilities at all precisions."""
    settings = QualitySettings(
        windows=2, tasks=tuple(TASKS.values()), layers=False, reference=REFERENCE, noise_floor=False,
        placement=Placement("auto"),
    )  # fmt: skip
    return QualityRequest("demo", (REFERENCE, *FEWER), texts.text("demo"), settings)


def given() -> Mapping[str, str]:
    """What is told before the prediction."""
    from quantlab.fidelity.tasks.bundled import FOLDER

    items = {
        f"{name}_items": str(len((FOLDER / f"{task}.jsonl").read_text("utf-8").splitlines()))
        for name, task in TASKS.items()
    }
    return {**items, "guess": units.percent(1 / _ENDINGS)}


def truth(found: Quality) -> Truth:
    """What breaks first: at the first precision, from many bits to few, at which anything is lost beyond chance, what
    lost the largest share. Others that lost beyond chance there and whose loss lies within its error are ties.

    Raises BadInput where a run is not there.
    """
    scores = {name: _scores(found, name) for name in FEWER}
    facts = {f"{ability}_{name}": units.percent(scores[name][ability].acc) for name in FEWER for ability in TASKS} | {
        f"{ability}_{REFERENCE}": units.percent(_scores(found, REFERENCE)[ability].acc) for ability in TASKS
    }
    for name in FEWER:
        broken = [ability for ability in TASKS if _broken(scores[name][ability])]
        if broken:
            order = sorted(TASKS, key=lambda it: -_lost(scores[name][it]))
            first = next(it for it in order if it in broken)
            ties = tuple(it for it in order if it in broken and it != first and _tied(scores[name], first, it))
            facts |= {"first": first, "last": order[-1], "sentence": _sentence(name, scores[name], order, broken)}
            return Truth(first, facts, ties=ties)
    facts |= {"first": "one", "last": "another", "sentence": f"Nothing broke, down to {FEWER[-1]}."}
    return Truth("nothing", facts, doubt=f"Nothing broke, down to {FEWER[-1]}.")


def _scores(found: Quality, precision: str) -> Mapping[str, TaskScore]:
    run: QualityRun | None = next((it for it in found.runs if it.precision == precision), None)
    missing = [task for task in TASKS.values() if run is None or task not in run.tasks]
    if run is None or run.error or missing:
        why = (run and run.error) or f"{', '.join(missing) or 'it'} was not measured"
        raise BadInput(f"There are no tests of {precision}: {why}.", "Measure again.")
    return {ability: run.tasks[task] for ability, task in TASKS.items()}


def _lost(score: TaskScore) -> float:
    """The share of all questions that were right with the reference and are wrong now, less those won."""
    return (score.flips_lost or 0.0) - (score.flips_won or 0.0)


def _broken(score: TaskScore) -> bool:
    return _lost(score) > 0 and score.mcnemar_p is not None and score.mcnemar_p < SIGNIFICANT


def _tied(scores: Mapping[str, TaskScore], one: str, other: str) -> bool:
    """Whether two losses lie within twice the errors of both accuracies together."""
    error = 2 * (scores[one].acc_se ** 2 + scores[other].acc_se ** 2) ** 0.5
    return abs(_lost(scores[one]) - _lost(scores[other])) <= error


def _sentence(name: str, scores: Mapping[str, TaskScore], order: Sequence[str], broken: Sequence[str]) -> str:
    told = [_told(ability, _lost(scores[ability]), ability in broken) for ability in order]
    first = f"At {name} ({_BITS[name]}) something breaks for the first time."
    return f"{first} More answers are wrong than at 32 bits: {', '.join(told)}."


def _told(ability: str, lost: float, broken: bool) -> str:
    if lost <= 0:
        return f"none of the {ability}"
    chance = "" if broken else " (which may be chance)"
    return f"{units.percent(lost)} of the {ability}{chance}"
