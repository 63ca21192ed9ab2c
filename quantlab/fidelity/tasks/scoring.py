"""Task accuracy of a loaded model, by lm-evaluation-harness."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quantlab.errors import BadInput
from quantlab.fidelity.tasks import harness
from quantlab.fidelity.tasks.names import check
from quantlab.records import Progress, TaskScore, silent
from quantlab.runtime.session import LoadedModel

if TYPE_CHECKING:
    from lm_eval.tasks.manager import TaskDict
    from transformers import PreTrainedTokenizerBase

    from quantlab.fidelity.tasks.adapter import SessionLM


def score(
    loaded: LoadedModel,
    tokenizer: "PreTrainedTokenizerBase",
    names: Sequence[str],
    progress: Progress = silent,
    ends: Collection[int] = (),
    limit: int | None = None,
) -> dict[str, TaskScore]:
    """Accuracy at each task, and at each task of a group that has no accuracy of its own.

    `progress` is told the requests answered, of how many, and the task; what it raises ends the run. `ends` are
    ids, besides the tokenizer's end of text, that end a written answer; `limit` takes the first items of each task
    only. Raises as `check`, and BadInput or
    Unavailable for a task that cannot be measured, Broken where the model's logits are not numbers.
    """
    check(names)
    with harness.harness(names, progress):
        found = harness.load(names, progress)
        results = harness.evaluate(lambda total: _answering(loaded, tokenizer, ends, progress, total), found, limit)
    scores = {}
    for name, tasks in found.items():
        scores.update(_scores(name, tasks, results))
    return scores


def _answering(
    loaded: LoadedModel,
    tokenizer: "PreTrainedTokenizerBase",
    ends: Collection[int],
    progress: Progress,
    total: Callable[[], int],
) -> "SessionLM":
    from quantlab.fidelity.tasks.adapter import SessionLM

    done = 0

    def tick(requests: int, task: str) -> None:
        nonlocal done
        done += requests
        progress(done, total(), task)

    return SessionLM(loaded, tokenizer, ends, tick)


def _scores(name: str, found: "TaskDict", results: Mapping[str, Any]) -> dict[str, TaskScore]:
    group = found.get("groups", {}).get(name)
    if group is not None and group.has_aggregation:
        return {name: _score(name, [task.task_name for task in group.get_all_tasks()], results)}
    leaves = list(found["tasks"])
    return {leaf: _score(leaf, [leaf], results) for leaf in leaves}


def _score(name: str, leaves: Sequence[str], results: Mapping[str, Any]) -> TaskScore:
    """The harness's figures of a task or a group; its items are those of its leaves, one after the other."""
    from lm_eval.api.metrics import mean_stderr

    figures = results["results"][name]
    metric, kind = _accuracy(name, figures)
    samples = [sample for leaf in leaves for sample in results["samples"][leaf] if sample["filter"] == kind]
    values = [float(sample[metric]) for sample in samples if metric in sample]
    if len(values) < 2:
        raise BadInput(f"{name} has {len(values)} items; an accuracy takes more.", "Choose another task.")

    def figure(of: str) -> float | None:
        value = figures.get(f"{of},{kind}")
        return float(value) if isinstance(value, int | float) else None

    accuracy, error = figure(metric), figure(f"{metric}_stderr")
    if accuracy is None:
        raise _no_accuracy(name)
    return TaskScore(
        items=len(values),
        acc=accuracy,
        acc_se=float(mean_stderr(values)) if error is None else error,
        acc_norm=figure("acc_norm"),
        acc_norm_se=figure("acc_norm_stderr"),
        correct=tuple(value >= 0.5 for value in values),
        metric=metric if kind == "none" else f"{metric},{kind}",
    )


def _accuracy(name: str, figures: Mapping[str, Any]) -> tuple[str, str]:
    """Which metric under which filter: the plain one, else the first, which the harness's tasks make the strict one."""
    for metric in harness.ACCURACIES:
        kinds = [key.partition(",")[2] for key in figures if key.startswith(f"{metric},")]
        if kinds:
            return metric, "none" if "none" in kinds else kinds[0]
    raise _no_accuracy(name)


def _no_accuracy(name: str) -> BadInput:
    return BadInput(f"{name} gives no accuracy.", "Choose another task.")
