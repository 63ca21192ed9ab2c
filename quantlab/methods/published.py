"""Checkpoints that somebody published, as a user names them: `PATH_OR_ID`, `PATH_OR_ID::PICK`.

PICK is one `.gguf` file among several (its name, or the label in it), or the precision at which another model's
original weights are to be quantized here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from quantlab.errors import BadInput
from quantlab.methods import METHODS, method_of, precision
from quantlab.records import Checkpoint, Precision

SEPARATOR = "::"
#: The method, and its one precision, of weights that are quantized already.
STORED = "stored"
_PATHLIKE = re.compile(r"[./~\\]|[A-Za-z]:|.*[/\\]|.*\.gguf$", re.DOTALL)


@dataclass(frozen=True)
class Published:
    """A spec, read: the model's name as `models.resolve` takes it, and what was picked of it."""

    spec: str
    name: str
    pick: str | None

    @property
    def label(self) -> str:
        """Short enough for a column's head: the last part of the name, without `.gguf`, and the pick."""
        path = self.name.partition("@")[0].replace("\\", "/").rstrip("/")
        short = path.rpartition("/")[2].removesuffix(".gguf") or self.name
        return f"{short}{SEPARATOR}{self.pick}" if self.pick else short


def is_published(name: str) -> bool:
    """Whether a name among precisions is meant as a checkpoint: a path, a Hub id, or anything with a pick."""
    return SEPARATOR in name or bool(_PATHLIKE.match(name))


def read(spec: str) -> Published:
    """Raises BadInput where a part is empty."""
    name, separator, pick = spec.strip().partition(SEPARATOR)
    if not name.strip() or (separator and not pick.strip()):
        raise BadInput(f"{spec!r} names no checkpoint.", "Write PATH_OR_ID, or PATH_OR_ID::PRECISION.")
    return Published(spec, name.strip(), pick.strip() or None)


def label(spec: str) -> str:
    """The name of a checkpoint's column. Raises BadInput as `read` does."""
    return read(spec).label


def labels(names: Iterable[str]) -> dict[str, str]:
    """The column's name for each chosen precision or checkpoint; two alike fall back to what was typed."""
    short = {name: label(name) if is_published(name) else name for name in names}
    taken = list(short.values())
    return {name: short_name if taken.count(short_name) == 1 else name for name, short_name in short.items()}


def as_stored(checkpoint: Checkpoint, name: str) -> Precision:
    """The precision, called `name`, of weights that are quantized already, with the bits that they really have."""
    stored = METHODS[STORED]
    return replace(stored.precisions[0], name=name, bits=stored.bits_of(checkpoint))


def precision_of(published: Published, name: str, checkpoint: Checkpoint) -> Precision:
    """The precision, called `name`, at which a checkpoint enters a comparison.

    What is stored quantized comes as it is; original weights need a pick. Raises BadInput.
    """
    if checkpoint.stored_as is not None:
        if published.pick and checkpoint.stored_as != "gguf":
            raise BadInput(
                f"{published.name} is quantized already ({checkpoint.stored_as}), so it has no {published.pick}.",
                f"Leave {SEPARATOR}{published.pick} out.",
            )
        return as_stored(checkpoint, name)
    if not published.pick:
        raise BadInput(
            f"{published.name} holds original weights, nothing quantized.",
            f"Say at which precision to run it: {published.name}{SEPARATOR}nf4.",
        )
    chosen = precision(published.pick)
    return replace(chosen, name=name, summary=f"{method_of(chosen).title} {chosen.name} of {published.name}")
