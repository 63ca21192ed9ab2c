"""What a visitor has chosen on the quality tab, and the limits it is held to on the server."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from quantlab.errors import BadInput, unknown
from quantlab.fidelity import tasks, texts
from quantlab.methods.published import labels
from quantlab.records import QualitySettings, Text
from quantlab.settings import AppSettings
from quantlab.ui.common.precision_list import Room
from quantlab.ui.compare import form as choices

PASTE, FILE = "paste", "file"
SOURCES = (*texts.NAMED, PASTE, FILE)
#: Enough for the errors to be known themselves (`advice.FEW_WINDOWS`), and seconds a variant for the bundled model.
DEFAULT_WINDOWS = 20
MAX_WINDOWS, PUBLIC_WINDOWS = 400, 20
#: The longest text of a visitor's own in public, in bytes.
PUBLIC_TEXT_BYTES = 200_000


@dataclass(frozen=True)
class QualityChoice:
    """The state of the inputs. Field for field what the tab shows, in the order of its components."""

    model: str = choices.DEFAULT_MODEL
    precisions: tuple[str, ...] = choices.DEFAULT_TICKS
    source: str = SOURCES[0]
    pasted: str = ""
    file: str | None = None
    windows: int = DEFAULT_WINDOWS
    tasks: tuple[str, ...] = ()
    more_tasks: str = ""
    layers: bool = True
    noise_floor: bool = True
    reference: str = choices.MOST_PRECISE
    compute_dtype: str = choices.COMPUTE_DTYPES[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names that the precisions have in events and charts. Raises BadInput for a checkpoint without a name."""
        return tuple(labels(self.precisions).values())

    @property
    def all_tasks(self) -> tuple[str, ...]:
        """The ticked tasks and the typed ones, each once."""
        typed = filter(None, re.split(r"[\s,;]+", self.more_tasks))
        return tuple(dict.fromkeys((*self.tasks, *typed)))


@dataclass(frozen=True)
class Taken:
    """What was last taken over from the tab for prompts: model, ticks, added checkpoints, compute type and card."""

    model: str
    precisions: tuple[str, ...]
    added: tuple[str, ...]
    compute_dtype: str
    room: Room | None = None


FIELDS = tuple(field.name for field in fields(QualityChoice))


def from_inputs(*values: object) -> QualityChoice:
    """The choice that the components hold. Raises BadInput for a value of another kind than its field's."""
    named: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
    try:
        return QualityChoice(
            model=str(named["model"] or "").strip(),
            precisions=tuple(str(name) for name in named["precisions"] or ()),
            source=str(named["source"] or ""),
            pasted=str(named["pasted"] or ""),
            file=str(named["file"]) if named["file"] else None,
            windows=choices.number(named, "windows"),
            tasks=tuple(str(name) for name in named["tasks"] or ()),
            more_tasks=str(named["more_tasks"] or ""),
            layers=bool(named["layers"]),
            noise_floor=bool(named["noise_floor"]),
            reference=str(named["reference"] or choices.MOST_PRECISE),
            compute_dtype=str(named["compute_dtype"] or choices.COMPUTE_DTYPES[0]),
        )
    except (TypeError, ValueError) as error:
        raise BadInput("The precisions or tasks are no list of names.", "Choose them by their names.") from error


def check(choice: QualityChoice, app: AppSettings) -> None:
    """Hold a choice to the page's limits, whatever sent it. Raises BadInput with what to change."""
    choices.check_model(choice.model, app)
    if not choice.precisions:
        raise BadInput("No precision is chosen.", "Choose at least two: one is what the others are held against.")
    if len(set(choice.precisions)) != len(choice.precisions):
        raise BadInput("A precision is named twice.", "Name each one once.")
    if len(choice.precisions) > app.max_columns:
        raise BadInput(f"{len(choice.precisions)} precisions are chosen.", f"At most {app.max_columns} run at once.")
    choices.check_published(choice.precisions, app)
    choices.check_reference(choice.reference, choice.columns)
    choices.check_compute_dtype(choice.compute_dtype)
    most = most_windows(app)
    if not 1 <= choice.windows <= most:
        raise BadInput(f"{choice.windows} windows were asked for.", f"Ask for 1 to {most}.")
    _check_text(choice, app)
    bundled = [task.name for task in tasks.task_names()]
    strange = [name for name in choice.all_tasks if name not in bundled]
    if app.public and strange:
        raise unknown("task", strange[0][:100], bundled)


def most_windows(app: AppSettings) -> int:
    return PUBLIC_WINDOWS if app.public else MAX_WINDOWS


def _check_text(choice: QualityChoice, app: AppSettings) -> None:
    if choice.source not in SOURCES:
        raise unknown("text", choice.source[:100], SOURCES)
    if choice.source == FILE and not choice.file:
        raise BadInput("No file was uploaded.", "Upload a text file, or choose another text.")
    if not app.public:
        return
    size = len(choice.pasted.encode("utf-8", "surrogatepass")) if choice.source == PASTE else 0
    if choice.source == FILE and choice.file:
        size = Path(choice.file).stat().st_size if Path(choice.file).is_file() else 0
    if size > PUBLIC_TEXT_BYTES:
        raise BadInput(
            f"The text has {size:,} bytes, and this public page reads at most {PUBLIC_TEXT_BYTES:,}.",
            "A part of it tells as much: cut it.",
        )


def text(choice: QualityChoice) -> Text:
    """The text that every variant is to read.

    Raises BadInput where it is empty, too large or not UTF-8, Unavailable where it cannot be fetched.
    """
    if choice.source == PASTE:
        return texts.pasted(choice.pasted)
    return _uploaded(Path(choice.file or "")) if choice.source == FILE else texts.text(choice.source)


def _uploaded(file: Path) -> Text:
    """As `texts.text`, but where the server keeps an upload is nobody's business: messages hold its name alone."""
    try:
        if file.stat().st_size > texts.MAX_BYTES:
            raise BadInput(f"{file.name} is larger than {texts.MAX_BYTES / 1e6:.0f} MB.", "A part of it does: cut it.")
        return texts.pasted(file.read_bytes().decode("utf-8-sig"), file.name)
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{file.name} is not UTF-8 text: byte {error.start:,} cannot be read.", "Save it as UTF-8."
        ) from error
    except OSError as error:
        raise BadInput("The uploaded file cannot be read any more.", "Upload it again.") from error


def settings(choice: QualityChoice, app: AppSettings) -> QualitySettings:
    """How the quality of a choice is measured."""
    return QualitySettings(
        windows=choice.windows,
        tasks=choice.all_tasks,
        layers=choice.layers,
        noise_floor=choice.noise_floor,
        reference=choice.reference if choice.reference in choice.columns else None,
        placement=choices.placement(choices.Choice(compute_dtype=choice.compute_dtype), app),
    )
