"""What a visitor has chosen on the page, and the limits it is held to on the server."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from quantlab.errors import BadInput, shown, unknown
from quantlab.methods import PRECISIONS, precision
from quantlab.methods.calibration import MIN_LENGTH, calibration
from quantlab.methods.published import is_published, labels
from quantlab.records import GENERATION, Calibration, Placement, Settings
from quantlab.runtime.kv_cache import split
from quantlab.settings import AppSettings

N = TypeVar("N", int, float)
#: Of a choice that names none. The page begins with the first of its list: see `start_model`.
DEFAULT_MODEL = "demo"
DEFAULT_TICKS = ("fp32", "bf16", "int8", "nf4", "nf4-dq", "fp4")
#: "default" leaves the type to the method and the device.
COMPUTE_DTYPES = ("default", "float32", "bfloat16", "float16")
#: The reference is the most precise one ticked unless a name is chosen.
MOST_PRECISE = "most precise"
#: No prompt is longer, in characters; the limit in tokens is held where there is a tokenizer.
MAX_PROMPT_CHARACTERS = 200_000
#: The most windows of calibration text, and tokens in one. A public page takes no more than the defaults.
MAX_SAMPLES, MAX_LENGTH = 4_096, 32_768
#: "auto" leaves the code that multiplies to the method's library.
AUTO_KERNEL = "auto"
KERNELS = (AUTO_KERNEL, "torch", "torch_aten", "triton", "exllama_v2", "marlin")
KERNEL_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,39}", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Choice:
    """The state of the inputs. Field for field what the page shows, in the order of its components."""

    model: str = DEFAULT_MODEL
    precisions: tuple[str, ...] = DEFAULT_TICKS
    prompt: str = ""
    max_new_tokens: int = Settings.max_new_tokens
    sample: bool = Settings.sample
    temperature: float = Settings.temperature
    top_k: int = Settings.top_k
    top_p: float = Settings.top_p
    seed: int = Settings.seed
    reference: str = MOST_PRECISE
    compute_dtype: str = COMPUTE_DTYPES[0]
    raw: bool = Settings.raw
    race: bool = Settings.race
    calibration_samples: int = Calibration.samples
    calibration_length: int = Calibration.length
    calibration_file: str | None = None
    kernel: str = AUTO_KERNEL
    fresh: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The names that the precisions have in events and charts. Raises BadInput for a checkpoint without a name."""
        return tuple(labels(self.precisions).values())


FIELDS = tuple(field.name for field in fields(Choice))


def from_inputs(*values: object) -> Choice:
    """The choice that the components hold. Raises BadInput for a value of another kind than its field's."""
    named: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
    try:
        return Choice(
            model=str(named["model"] or "").strip(),
            precisions=tuple(str(name) for name in named["precisions"] or ()),
            prompt=str(named["prompt"] or ""),
            max_new_tokens=number(named, "max_new_tokens"),
            sample=bool(named["sample"]),
            temperature=number(named, "temperature", float),
            top_k=number(named, "top_k"),
            top_p=number(named, "top_p", float),
            seed=number(named, "seed"),
            reference=str(named["reference"] or MOST_PRECISE),
            compute_dtype=str(named["compute_dtype"] or COMPUTE_DTYPES[0]),
            raw=bool(named["raw"]),
            race=bool(named["race"]),
            calibration_samples=number(named, "calibration_samples"),
            calibration_length=number(named, "calibration_length"),
            calibration_file=str(named["calibration_file"]) if named["calibration_file"] else None,
            kernel=str(named["kernel"] or AUTO_KERNEL).strip(),
            fresh=bool(named["fresh"]),
        )
    except (TypeError, ValueError) as error:
        raise BadInput("The precisions are no list of names.", "Choose them by their names.") from error


def number(named: Mapping[str, Any], name: str, kind: Callable[[Any], N] = int) -> N:
    """The field of that name. Raises BadInput where it holds none."""
    try:
        return kind(named[name])
    except (TypeError, ValueError, OverflowError) as error:
        given = "is empty" if named[name] in (None, "") else f"is not a number: {shown(str(named[name]))}"
        raise BadInput(f"{name.replace('_', ' ')} {given}.", "Give a number.") from error


def placement(choice: Choice, app: AppSettings) -> Placement:
    """Where and in what type the chosen variants are to lie."""
    dtype = None if choice.compute_dtype == COMPUTE_DTYPES[0] else choice.compute_dtype
    kernel = None if choice.kernel == AUTO_KERNEL else choice.kernel
    return Placement(device=app.device or "auto", compute_dtype=dtype, kernel=kernel)


def settings(choice: Choice, app: AppSettings) -> Settings:
    """The run's settings. The reference is left to be found unless a ticked one was chosen.

    Raises BadInput for a calibration file that cannot be read.
    """
    own_text = Path(choice.calibration_file) if choice.calibration_file else None
    return Settings(
        **{name: getattr(choice, name) for name in GENERATION},
        reference=choice.reference if choice.reference in choice.columns else None,
        placement=placement(choice, app),
        calibration=calibration(own_text, choice.calibration_samples, choice.calibration_length),
    )


def check(choice: Choice, app: AppSettings) -> None:
    """Hold a choice to the page's limits, whatever sent it. Raises BadInput with what to change."""
    check_model(choice.model, app)
    if not choice.precisions:
        raise BadInput("No precision is chosen.", "Choose at least one; two or more make a comparison.")
    if len(set(choice.precisions)) != len(choice.precisions):
        raise BadInput("A precision is named twice.", "Name each one once.")
    if len(choice.precisions) > app.max_columns:
        raise BadInput(
            f"{len(choice.precisions)} precisions are chosen.", f"At most {app.max_columns} run side by side."
        )
    check_published(choice.precisions, app)
    check_reference(choice.reference, choice.columns)
    if not choice.prompt.strip():
        raise BadInput("The prompt is empty.", "Write what is to be answered.")
    if len(choice.prompt) > MAX_PROMPT_CHARACTERS:
        raise BadInput("The prompt is too long.", f"The most is {MAX_PROMPT_CHARACTERS:,} characters.")
    if not 1 <= choice.max_new_tokens <= app.max_new_tokens:
        raise BadInput(f"{choice.max_new_tokens} new tokens were asked for.", f"Ask for 1 to {app.max_new_tokens}.")
    check_compute_dtype(choice.compute_dtype)
    check_quantizing(choice, app)


def check_published(names: tuple[str, ...], app: AppSettings) -> None:
    """Hold the chosen names to what may be added. Raises BadInput."""
    if app.public and any(map(is_published, names)):
        raise BadInput("This public page takes no checkpoints of visitors.", "Choose precisions from the list.")
    # Keys and values are a session's: another type of them is nothing to build.
    if app.public and (strange := [name for name in names if split(name)[0] not in PRECISIONS]):
        raise unknown("precision", strange[0][:100], PRECISIONS)  # each option in a name would be one more to build
    for name in names:
        if not is_published(name) and split(name)[1] is not None:
            precision(name)
    labels(names)


def check_reference(name: str, columns: tuple[str, ...]) -> None:
    """Raises BadInput for a reference that was chosen and will not run."""
    if name != MOST_PRECISE and name not in columns:
        raise BadInput(f"The reference {shown(name)} is none of the precisions.", "Choose it too, or another one.")


def check_compute_dtype(name: str) -> None:
    """Raises BadInput for one that the page does not estimate."""
    if name not in COMPUTE_DTYPES:
        raise unknown("compute dtype", name[:100], COMPUTE_DTYPES)


def check_quantizing(choice: Choice, app: AppSettings) -> None:
    """Hold calibration and kernel to the limits. Raises BadInput."""
    samples, length = (Calibration.samples, Calibration.length) if app.public else (MAX_SAMPLES, MAX_LENGTH)
    if not 1 <= choice.calibration_samples <= samples:
        raise BadInput(f"{choice.calibration_samples} calibration samples were asked for.", f"Ask for 1 to {samples}.")
    if not MIN_LENGTH <= choice.calibration_length <= length:
        raise BadInput(
            f"Calibration windows of {choice.calibration_length} tokens were asked for.",
            f"Ask for {MIN_LENGTH} to {length}.",
        )
    if app.public and choice.calibration_file:
        raise BadInput("This public page takes no files of visitors.", "It calibrates with its own text.")
    if not KERNEL_NAME.fullmatch(choice.kernel):
        raise BadInput("That is no name of a kernel.", f"Choose {AUTO_KERNEL}, or type a name such as torch.")


def check_model(name: str, app: AppSettings) -> None:
    """Hold a model's name to the allow-list in public. Raises BadInput."""
    if not name:
        raise BadInput("No model is chosen.", "Choose one from the list.")
    if app.public and name not in app.allowed_models:
        raise unknown("model", name, app.allowed_models)
