"""What is chosen on the tab, and the limits that it is held to on the server."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from quantlab.errors import BadInput, shown, unknown
from quantlab.finetune import folder as folders
from quantlab.finetune.job import BASES, WHOLE, check
from quantlab.finetune.sets import SETS
from quantlab.methods import adapters
from quantlab.records.finetuning import FinetuneSettings, InitLoraWeights, TrainingMethod
from quantlab.settings import AppSettings
from quantlab.ui.common.typed import as_int
from quantlab.ui.compare.form import check_model

OWN = "my own file"
LONGEST = 40
NAME = re.compile(rf"(?!kv-)[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST - 1}}}", re.ASCII)
#: The most that a visitor of a public page may ask for.
PUBLIC_MOST = {"steps": 300, "rank": 32, "batch": 16, "context": 256}
_START = SETS["newcomers"]
_TARGETS = ",".join(_START.settings.targets)


@dataclass(frozen=True)
class FinetuneChoice:
    """Field for field what the tab shows, in the order of its components."""

    data: Any = _START.name
    file: Any = None
    model: Any = _START.model
    precision: Any = _START.settings.precision
    name: Any = _START.name
    steps: Any = _START.settings.steps
    batch: Any = _START.settings.batch
    learning_rate: Any = _START.settings.learning_rate
    rank: Any = _START.settings.rank
    alpha: Any = _START.settings.alpha
    dropout: Any = _START.settings.dropout
    targets: Any = _TARGETS
    context: Any = _START.settings.context
    held_out: Any = _START.settings.held_out
    seed: Any = _START.settings.seed
    raw: Any = False
    rslora: Any = False
    dora: Any = False
    init_lora_weights: Any = _START.settings.init_lora_weights
    method: Any = _START.settings.method


def data_of(choice: FinetuneChoice, app: AppSettings) -> str:
    """The bundled set's name, or the file's path. Raises BadInput."""
    data = str(choice.data)
    if data in SETS:
        return data
    if data != OWN:
        raise unknown("data", data, (*SETS, OWN))
    if app.public:
        raise BadInput("This public page takes no files of visitors.", f"Choose from: {', '.join(SETS)}.")
    if not choice.file:
        raise BadInput("No file was uploaded.", "Upload a JSONL or CSV file, or choose rows that come with quantlab.")
    return str(choice.file)


def settings(choice: FinetuneChoice, app: AppSettings) -> FinetuneSettings:
    """What is asked, checked. Raises BadInput."""
    targets = tuple(word.strip() for word in str(choice.targets or "").split(",") if word.strip())
    given = {name: as_int(getattr(choice, name)) for name in _TYPED}
    if empty := [name for name, value in given.items() if value is None]:
        raise BadInput(f"The field {empty[0].replace('_', ' ')} is empty.", "Type a number.")
    switches = {name: bool(getattr(choice, name)) for name in ("raw", "rslora", "dora")}
    precision = str(choice.precision)
    if precision not in BASES:
        raise unknown("base", precision[:100], BASES)
    # What is no method, and no beginning, is refused by `check`, as it is for programs.
    method = cast(TrainingMethod, str(choice.method))
    init = cast(InitLoraWeights, str(choice.init_lora_weights) if method == "lora" else "default")
    asked = FinetuneSettings(
        precision, targets=targets, warmup=FinetuneSettings.warmup, method=method, init_lora_weights=init,
        **given, **switches,
    )  # fmt: skip
    check(asked)
    if app.public and asked.method == "full":
        raise BadInput("Here only adapters are trained.", "Choose the method lora.")
    for name, most in PUBLIC_MOST.items() if app.public else ():
        if getattr(asked, name) > most:
            raise BadInput(f"Here the limit of {name} is {most}.", "Ask for less.")
    return asked


_TYPED = (
    "steps", "batch", "learning_rate", "rank", "alpha", "dropout", "context", "held_out", "seed",
)  # fmt: skip


def model_of(choice: FinetuneChoice, app: AppSettings) -> str:
    name = str(choice.model or "").strip()
    check_model(name, app)
    return name


def folder_of(choice: FinetuneChoice, app: AppSettings) -> Path:
    """Where the adapter goes; under the name that the page gave by itself a number goes on, so that nobody has to
    mind who trained before. Raises BadInput for a name that could lead elsewhere."""
    name = str(choice.name or "").strip()
    if not NAME.fullmatch(name) or ".." in name:
        raise BadInput(
            f"An adapter cannot be called {shown(name)}.",
            f"Use letters, digits, - and _; {LONGEST} at most.",
        )
    folder = adapters.home(app) / name
    if _counted(name)[0] == named_by(str(choice.data)) and folders.finished(folder):
        return folder.with_name(free_name(name, app))
    return folder


def named_by(data: str) -> str:
    """What an adapter of these rows is called unless somebody says so."""
    return SETS[data].name if data in SETS else "mine"


def bases(method: str) -> tuple[str, ...]:
    """The precisions that the method trains on, the one to begin with first."""
    return WHOLE if method == "full" else BASES


def free_name(wanted: str, app: AppSettings) -> str:
    """The name, with a number behind it where an adapter has it; one that it was given so is counted on."""
    home, name = adapters.home(app), wanted
    base, number = _counted(wanted)
    if not _taken(home / base):
        base, number = wanted, 1
    while _taken(home / name) and number < 1_000:
        number += 1
        name = f"{base[: LONGEST - len(str(number)) - 1]}-{number}"
    return name


def _counted(name: str) -> tuple[str, int]:
    """A name and the number behind it, 1 where there is none."""
    base, _, number = name.rpartition("-")
    return (base, int(number)) if base and number.isascii() and number.isdigit() else (name, 1)


def _taken(folder: Path) -> bool:
    """Whether something lies there; a training that was refused leaves an empty folder."""
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
