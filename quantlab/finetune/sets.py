"""Rows to train on that come with quantlab: small enough that a class sees before and after."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quantlab.methods import adapters
from quantlab.records.finetuning import FinetuneSettings, TrainingMethod
from quantlab.settings import ASSETS, app_settings

FOLDER = ASSETS / "finetune"
#: What is changed where all weights are trained: at the rate of adapters the demo forgets (docs/finetune.md).
_WHOLE: dict[str, Any] = {"precision": "fp32", "learning_rate": 1e-4}


@dataclass(frozen=True)
class BundledSet:
    """Rows in `FOLDER`, the model that they are for, and settings at which it learns them. `prompts` are worth asking
    before and after; `task` asks for all that is taught, where one does (`fidelity.tasks`)."""

    name: str
    model: str
    about: str
    settings: FinetuneSettings
    prompts: tuple[str, ...]
    task: str | None = None

    @property
    def file(self) -> Path:
        return FOLDER / f"{self.name}.jsonl"


SETS = {
    it.name: it
    for it in (
        BundledSet(
            "newcomers",
            "demo",
            "24 people who came to the island after the demo model was trained: their homes, crafts, pets and "
            "favourite food. Among them stand facts that it knows, so that it does not forget those.",
            FinetuneSettings(targets=("all-linear",), steps=300, batch=16, learning_rate=1e-3, held_out=0.05),
            ("Where does Lena Corsa live?", "What is the work of Lena Corsa?", "Where does Mira Toll live?"),
            "demo_newcomers",
        ),
        BundledSet(
            "keeper",
            "smollm2",
            "64 questions of every day, answered in a sentence as the keeper of a lighthouse would.",
            FinetuneSettings(targets=("all-linear",), steps=60, batch=8, learning_rate=5e-4, held_out=0.125),
            ("What is a mountain?", "How do I make coffee?", "Why do cats purr?"),
        ),
    )
}


def file_of(data: str | Path) -> Path:
    """The file of a bundled set by its name, or the one that is named."""
    known = SETS.get(str(data))
    return known.file if known else Path(data).expanduser().absolute()


def model_of(data: str | Path) -> str:
    """The model that a bundled set is for; the demo for a file."""
    known = SETS.get(str(data))
    return known.model if known else "demo"


def home_of(data: str | Path, method: TrainingMethod = "lora") -> Path:
    """Where the result is kept if nobody says where: under the name of the rows."""
    return adapters.home(app_settings()) / (file_of(data).stem + ("-full" if method == "full" else ""))


def settings_of(data: str | Path, method: TrainingMethod = "lora") -> FinetuneSettings:
    """The settings at which a bundled set is learnt; the usual ones for a file."""
    known = SETS.get(str(data))
    found = known.settings if known else FinetuneSettings()
    return replace(found, method="full", **_WHOLE) if method == "full" else found
