"""lm-evaluation-harness run inside this process: silent, one run at a time, and without code of strangers.

Its `simple_evaluate` besides starts programs to describe the machine and changes the process's random numbers for
good, so the two functions that it is made of are called here, with its own defaults.
"""

import json
import logging
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from quantlab.errors import BadInput, QuantlabError, Unavailable
from quantlab.fidelity.tasks.bundled import BUNDLED, FOLDER
from quantlab.records import Progress

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks.manager import TaskDict

T = TypeVar("T")
#: Metrics that say of an item whether it is right, in the order of preference.
ACCURACIES = ("acc", "exact_match")
#: The seeds of `simple_evaluate`: Python's, then numpy's and that of the examples put into a prompt.
SEED, OTHER_SEED = 0, 1234
#: What the import of the harness sets, for faster downloads with every core; nobody asked for that here.
_SET_BY_IMPORT = ("HF_XET_HIGH_PERFORMANCE", "HF_HUB_ENABLE_HF_TRANSFER")
_lock = threading.Lock()


@contextmanager
def harness(names: Sequence[str], progress: Progress) -> Iterator[None]:
    """Inside, the harness prints nothing, starts no processes, and fetches no metric's code.

    Waits for another run of it, since all that is shared by the whole process and set back at the end. Where all
    tasks are bundled the random numbers of other threads are left alone. Raises whatever `progress` raises.
    """
    while not _lock.acquire(timeout=0.2):
        progress(0, 0, "waiting for another run's tasks")
    try:
        _import()
        log = logging.getLogger("lm_eval")
        level = log.level
        log.setLevel(logging.ERROR)
        try:
            if set(names) <= set(BUNDLED):
                with _patched():
                    yield
            else:
                with _patched(), _foreign():
                    yield
        finally:
            log.setLevel(level)
    finally:
        _lock.release()


def _import() -> None:
    before = {name: os.environ.get(name) for name in _SET_BY_IMPORT}
    import lm_eval.evaluator  # noqa: F401

    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)


@contextmanager
def _patched() -> Iterator[None]:
    from lm_eval.api import metrics, task

    def bars(items: T, *_args: object, **_options: object) -> T:
        return items

    def no_bootstrap(*_args: object, **_options: object) -> float:
        """Of metrics that are not shown here, with a process for every core."""
        return float("nan")

    with _instead(task, "tqdm", bars), _instead(metrics, "bootstrap_stderr", no_bootstrap):
        yield


@contextmanager
def _instead(module: ModuleType, name: str, value: object) -> Iterator[None]:
    kept = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, kept)


@contextmanager
def _foreign() -> Iterator[None]:
    """For tasks of the harness's own: seeds as it sets them, no bars of downloads, no program of a metric run."""
    import datasets
    import evaluate
    import numpy
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    def refuse(name: str, *_args: object, **_options: object) -> NoReturn:
        raise Unavailable(f"The metric {name!r} is a program on the Hugging Face Hub, and none is run here.")

    states = random.getstate(), numpy.random.get_state()
    bars, hub_bars = datasets.are_progress_bars_disabled(), are_progress_bars_disabled()
    random.seed(SEED)
    numpy.random.seed(OTHER_SEED)
    datasets.disable_progress_bars()
    disable_progress_bars()
    try:
        with _instead(evaluate, "load", refuse):
            yield
    finally:
        random.setstate(states[0])
        numpy.random.set_state(states[1])
        if not bars:
            datasets.enable_progress_bars()
        if not hub_bars:
            enable_progress_bars()


def load(names: Sequence[str], progress: Progress) -> Mapping[str, "TaskDict"]:
    """The tasks by the name that was asked for: a group or a tag holds several.

    Raises Unavailable for a task whose questions cannot be had, BadInput for one that tells no accuracy or wants what
    is not done here.
    """
    found: dict[str, TaskDict] = {}
    for number, name in enumerate(names):
        progress(number, len(names), f"reading the questions of {name}")
        found[name] = _bundled(name) if name in BUNDLED else _own(name)
        for task in found[name]["tasks"].values():
            _refuse(task)
            if task.get_config("num_fewshot") is None:
                task.set_config(key="num_fewshot", value=0)
            task.set_fewshot_seed(seed=OTHER_SEED)
    return found


def _bundled(name: str) -> "TaskDict":
    """A task of ours: its file is read here, where `datasets` would look for the Hub and keep a copy on disk."""
    import datasets

    manager = _manager(bundled=True)
    lines = (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()
    items = {"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}
    own = manager.task_index[name].cfg
    config = {key: value for key, value in own.items() if key not in ("dataset_path", "dataset_kwargs")}
    return manager.load([{**config, "custom_dataset": lambda **_: items}])


def _own(name: str) -> "TaskDict":
    """A task of the harness's own. Its datasets are data: a script among them is refused by `datasets`."""
    try:
        return _manager(bundled=False).load([name])
    except QuantlabError:
        raise
    except Exception as error:  # each has its own ways to fail: no network, no access, a missing package
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Unavailable(
            f"The questions of {name} cannot be loaded ({reason}).",
            f"They come from the Hugging Face Hub. These need no network: {', '.join(BUNDLED)}.",
        ) from error


@cache
def _manager(bundled: bool) -> "TaskManager":
    """The index of the bundled tasks, or of the harness's own, which takes some ten seconds to build."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=FOLDER, include_defaults=False) if bundled else TaskManager()


def _refuse(task: "Task") -> None:
    """Raise BadInput for a task that cannot be measured here, before anything is asked."""
    wanted = task.get_config("generation_kwargs") or {}
    reasons = {
        "runs code that the model wrote": getattr(task, "UNSAFE_CODE", False),
        "asks about pictures or sounds": getattr(task, "MULTIMODAL", False),
        "draws its answers at random": wanted.get("do_sample") or wanted.get("num_beams", 1) != 1,
        "gives no accuracy": not set(ACCURACIES) & set(task.aggregation()),
    }
    for reason, holds in reasons.items():
        if holds:
            raise BadInput(f"The task {task.task_name} {reason}; it is not measured here.", "Choose another task.")


def evaluate(
    lm: Callable[[Callable[[], int]], "LM"], found: Mapping[str, "TaskDict"], limit: int | None
) -> Mapping[str, Any]:
    """The harness's results, samples included. `lm` is made from a function that tells how many requests there are."""
    import lm_eval.evaluator

    tasks = {key: task for each in found.values() for key, task in each["tasks"].items()}
    groups = {key: group for each in found.values() for key, group in each.get("groups", {}).items()}

    def requests() -> int:
        return sum(instance.repeats or 1 for task in tasks.values() for instance in task.instances)

    task_dict = {"tasks": tasks, "groups": groups}
    return lm_eval.evaluator.evaluate(lm=lm(requests), task_dict=task_dict, limit=limit, log_samples=True)
