"""Checkpoints that somebody published, as a user names them: `PATH_OR_ID`, `PATH_OR_ID::PICK`.

The address of a model's page on the Hub is read as its id.

PICK is one `.gguf` file among several (its name, or the label in it), or the precision at which another model's
original weights are to be quantized here.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from quantlab.errors import BadInput, ModelError, QuantlabError, shown
from quantlab.methods import adapters, method_of, precision, served, split_adapter
from quantlab.methods.stored import STORED as AS_PUBLISHED
from quantlab.models import SEPARATOR, source
from quantlab.models.gguf import files
from quantlab.records import Checkpoint, Precision
from quantlab.runtime.kv_cache import MARK, split
from quantlab.settings import AppSettings

#: The method, and its one precision, of weights that are quantized already.
STORED = "stored"
_PATHLIKE = re.compile(r"[./~\\]|[A-Za-z]:|.*[/\\]|.*\.gguf$", re.DOTALL)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
#: A model's page on the Hub, or of one revision or one `.gguf` file of it.
_HUB_PAGE = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?!datasets/|spaces/)(?P<repo>[^/?#]+/[^/?#]+)"
    r"(?:/tree/(?P<tree>[^/?#]+)|/(?:blob|resolve)/(?P<blob>[^/?#]+)/(?P<file>[^?#]+\.gguf))?/?(?:[?#].*)?",
    re.IGNORECASE,
)
_EXPECTED = "Give a folder, a .gguf file, a Hub id (owner/name), or a model at a precision (demo::nf4)."


@dataclass(frozen=True)
class Published:
    """A spec, read: the model's name as `models.resolve` takes it, and what was picked of it."""

    spec: str
    name: str
    pick: str | None

    @property
    def label(self) -> str:
        """Short enough for a column's head: the last part of the name, without `.gguf`, and the pick."""
        if served.is_served(self.name):
            return served.read(self.name).label
        path = self.name.partition("@")[0].replace("\\", "/").rstrip("/")
        short = path.rpartition("/")[2].removesuffix(".gguf") or self.name
        return f"{short}{SEPARATOR}{self.pick}" if self.pick else short


def is_published(name: str) -> bool:
    """Whether a name among precisions is meant as a checkpoint: a path, a Hub id, or anything with a pick."""
    if source.is_gguf(name) or served.is_served(name):
        return True
    return bool(_PATHLIKE.match(name)) and split_adapter(split(name)[0])[1] is None


def read(spec: str) -> Published:
    """Raises BadInput where a part is empty, and for an address that is no model's page on the Hub."""
    if served.is_served(spec):
        served.read(spec)
        return Published(spec, spec.strip(), None)
    name, separator, pick = (part.strip() for part in spec.strip().partition(SEPARATOR))
    if MARK in spec:
        raise BadInput(
            f"{shown(spec)} has more than one {MARK} option, or one that stands in the middle.",
            f"Put one at the end: {shown(spec.replace(MARK, ' ').split()[0])[1:-1]}{MARK}int8.",
        )
    if not name or (separator and not pick):
        raise BadInput(f"{spec!r} names no checkpoint.", _EXPECTED)
    if page := _HUB_PAGE.fullmatch(name):
        revision = page["tree"] or page["blob"]
        return Published(spec, f"{page['repo']}@{revision}" if revision else page["repo"], pick or page["file"])
    if _ADDRESS.match(name):
        raise BadInput(f"{name} is an address, which cannot be read here.", _EXPECTED)
    return Published(spec, name, pick or None)


def check_there(published: Published, app: AppSettings) -> None:
    """Raises BadInput, with the near names, where a path leads nowhere or it is not clear which `.gguf` file is meant.

    The Hub is not asked.
    """
    if app.public:  # no answer there tells what lies on the server's disk
        if served.is_served(published.name):
            raise BadInput("This public page asks no servers of visitors.", "Choose precisions from the list.")
        return
    if served.is_served(published.name):
        return
    path = Path(published.name)
    try:
        found = source.parse(published.name, app)
    except ModelError as error:
        raise _missing(error, path) from None
    if found.kind == "hub" and path.suffix.lower() == files.SUFFIX and os.path.isdir(path.parent):
        raise _missing(ModelError(f"There is no file {shown(published.name)}."), path)
    if found.kind == "folder" and found.folder is not None and found.gguf is None:
        names = [file.name for file in found.folder.iterdir()]
        try:
            files.meant(names, published.pick, published.name)
        except ModelError as error:
            hint = _near(published.pick or "", files.listed(names))
            raise BadInput(error.what, f"{hint}{error.advice}") from None


def _missing(error: ModelError, path: Path) -> BadInput:
    """The same error, with the names beside the first part of the path that does not exist."""
    # os.path takes any text for a path, one that is too long or names no user too: such a one is not there.
    path = Path(os.path.expanduser(path))
    gone = next((part for part in (*reversed(path.parents), path) if not os.path.exists(part)), None)
    if gone is None:
        return BadInput(error.what, error.advice)
    beside = gone.parent.iterdir() if os.path.isdir(gone.parent) else ()
    names = [it.name for it in beside if it.is_dir() or it.suffix.lower() == files.SUFFIX]
    return BadInput(error.what, f"{_near(gone.name, names)}{_EXPECTED}")


def _near(name: str, names: Iterable[str]) -> str:
    found = get_close_matches(name, sorted(names), n=3)
    return f"Did you mean {', '.join(found)}? " if found else ""


def whole(spec: str, app: AppSettings) -> str:
    """The same spec with a local path made absolute, so that it leads there from any folder; all else as it is."""
    if served.is_served(spec):
        return spec
    base, kv_cache = split(spec)
    weights, adapter = split_adapter(base)
    if adapter is not None:
        return spec if app.public else _joined(weights, _absolute(adapter), kv_cache)
    try:
        published = read(base)
        found = source.parse(published.name, app)
    except QuantlabError:
        return spec
    if app.public or found.kind != "folder":
        return spec
    path = str(Path(published.name).expanduser().absolute())
    path = f"{path}{SEPARATOR}{published.pick}" if published.pick else path
    return f"{path}{MARK}{kv_cache}" if kv_cache else path


def _absolute(adapter: str) -> str:
    """The folder of an adapter from anywhere; a name alone as it is."""
    return str(Path(adapter).expanduser().absolute()) if os.path.isdir(os.path.expanduser(adapter)) else adapter


def _joined(weights: str, adapter: str, kv_cache: str | None) -> str:
    return f"{weights}{adapters.PLUS}{adapter}" + (f"{MARK}{kv_cache}" if kv_cache else "")


def label(spec: str) -> str:
    """The name of a column, with its adapter's and the type of its cache. Raises BadInput as `read` does."""
    if served.is_served(spec):
        return served.read(spec).label
    base, kv_cache = split(spec)
    weights, adapter = split_adapter(base)
    if adapter is not None:
        return _joined(weights, adapters.label(adapter), kv_cache)
    if not is_published(base):
        return spec
    return read(base).label + (f"{MARK}{kv_cache}" if kv_cache else "")


def labels(names: Iterable[str]) -> dict[str, str]:
    """The column's name for each chosen precision or checkpoint; two alike fall back to what was typed."""
    short = {name: label(name) for name in names}
    taken = list(short.values())
    return {name: short_name if taken.count(short_name) == 1 else name for name, short_name in short.items()}


def as_stored(checkpoint: Checkpoint, name: str) -> Precision:
    """The precision, called `name`, of weights that are quantized already, with the bits that they really have."""
    return replace(AS_PUBLISHED.precisions[0], name=name, bits=AS_PUBLISHED.bits_of(checkpoint))


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
