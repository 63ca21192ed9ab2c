"""What a user typed, read as a source of a model.

In public a name is only looked up among the allowed ones, so that no answer tells what lies on the server's disk.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from quantlab.errors import BadInput, ModelError, QuantlabError, shown, unknown
from quantlab.models import ollama, shapes
from quantlab.models.gguf import files
from quantlab.models.gguf.header import read_header
from quantlab.records import OLLAMA, ModelKind
from quantlab.settings import ASSETS, AppSettings

DEMO, SMOLLM2 = "demo", "smollm2"
DEMO_FOLDER = ASSETS / "demo-model"
#: Between the name of a source and the one of its files that is meant.
SEPARATOR = "::"
#: The Hub names nothing longer (as huggingface_hub checks it).
_HUB_ID = re.compile(r"([\w.-]{1,96}/)?[\w.-]{1,96}", re.ASCII)
_REVISION = re.compile(r"\w[\w./-]*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
#: The demo's tokenizer.json takes 0.15 MB.
_SMALL_BYTES = 10**6
#: What can only be meant as a path: it starts like one, or has the separators of one.
_PATH = re.compile(r"[/~.]|[A-Za-z]:|.*\\|[^/]*/[^/]*/|.*/$", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """Where a model comes from. `name` can be typed again; `folder` is None unless the weights lie on this disk.

    `gguf` is the file, where one was named; its folder is `folder`.
    """

    kind: ModelKind
    name: str
    folder: Path | None = None
    revision: str | None = None
    gguf: Path | None = None


def parse(typed: str, app: AppSettings) -> Source:
    """The source meant by `typed`. Raises BadInput for a name that cannot be one, ModelError for a missing folder."""
    name = typed.strip()
    if app.public:
        return _allowed(name, app)
    found = _bundled(name) or _ollama(name) or _folder(name) or _hub(name)
    if found is None:
        kinds = ["a local folder or .gguf file", f"{OLLAMA}NAME", "owner/name of the Hugging Face Hub"]
        raise unknown("model", typed, [SMOLLM2, *offline_names(), *kinds])
    return found


def is_gguf(name: str) -> bool:
    """Whether a name can only mean a GGUF file, without a look at a disk or a network."""
    return name.lower().endswith(files.SUFFIX) or SEPARATOR in name or name.lower().startswith(OLLAMA)


def offline_names() -> tuple[str, ...]:
    """The models that need no download."""
    return (DEMO, *(shapes.PREFIX + name for name in shapes.names()))


def of_demo_world(typed: str, app: AppSettings) -> bool:
    """Whether a name means the demo, or a folder with its vocabulary: such a model knows that world only."""
    try:
        found = parse(typed, app)
    except QuantlabError:
        return False
    if found.kind not in ("folder", "gguf") or found.folder is None:
        return found.kind == "demo"
    theirs, demo = _vocabulary(found.folder), _vocabulary(DEMO_FOLDER)
    if found.gguf is not None:
        return demo is not None and demo.keys() <= _tokens(found.gguf)
    return theirs is not None and theirs == demo


def _tokens(file: Path) -> frozenset[str]:
    """The tokens of a GGUF file; none where it cannot be read."""
    try:
        return frozenset(map(str, read_header(file, file.name).metadata.get("tokenizer.ggml.tokens", ())))
    except (QuantlabError, TypeError):
        return frozenset()


def _vocabulary(folder: Path) -> dict[str, int] | None:
    """The tokens of a small tokenizer; None for one that is larger than any of the demo's world, or not there."""
    file = folder / "tokenizer.json"
    try:
        if not file.is_file() or file.stat().st_size > _SMALL_BYTES:
            return None
        return json.loads(file.read_bytes())["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def allowed(app: AppSettings) -> tuple[Source, ...]:
    """The models of the public allow-list. Raises ModelError where the setting itself is wrong."""
    return tuple(_allowed_source(name) for name in app.allowed_models)


def _allowed(name: str, app: AppSettings) -> Source:
    for source in allowed(app):
        pinned = f"{source.name}@{source.revision}"
        if name == pinned or name.casefold() == source.name.casefold():
            return source
    # Neither the typed name nor a near miss of it is looked at any further: no path, no Hub.
    raise unknown("model", name[:100], [source.name for source in allowed(app)])


def _allowed_source(name: str) -> Source:
    try:
        source = _bundled(name) or _hub(name)
    except BadInput as error:
        raise ModelError(
            f"QUANTLAB_ALLOWED_MODELS names a model that does not exist: {error.what}", error.advice
        ) from None
    if source is None:
        raise ModelError(
            f"QUANTLAB_ALLOWED_MODELS names {name!r}, which is no demo, shape or Hub id.", "In public no path is read."
        )
    if source.kind == "hub" and not (source.revision and COMMIT.fullmatch(source.revision)):
        raise ModelError(
            f"QUANTLAB_ALLOWED_MODELS names {name!r} without a fixed revision.",
            "Pin it: owner/name@ followed by the 40-digit commit of the revision that you looked at.",
        )
    return source


def _bundled(name: str) -> Source | None:
    if name.casefold() == SMOLLM2:
        return Source("package", SMOLLM2)
    if name.casefold() == DEMO:
        return Source("demo", DEMO, DEMO_FOLDER)
    if name.casefold().startswith(shapes.PREFIX):
        return Source("shape", shapes.PREFIX + shapes.canonical(name))
    return None


def _ollama(name: str) -> Source | None:
    if not name.casefold().startswith(OLLAMA):
        return None
    file = ollama.find(name)
    return Source("gguf", OLLAMA + name[len(OLLAMA) :], file.parent, gguf=file)


def _folder(name: str) -> Source | None:
    if not name:
        return None
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return Source("folder", name, path.resolve())
        is_file = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"The folder {shown(name)} cannot be read ({getattr(error, 'strerror', None) or error}).",
            "Check its name and its rights.",
        ) from None
    if is_file and path.suffix.lower() == files.SUFFIX:
        # Links are not followed: in the Hub's cache the file that they lead to has another name.
        file = path.absolute().with_name(files.first_part(path.name))
        return Source("folder", name, file.parent, gguf=file)
    if is_file:
        raise ModelError(
            f"{name!r} is a file.", "Give the folder that holds config.json and the weights, or a .gguf file."
        )
    if _PATH.match(name.partition("@")[0]):
        what = "file" if path.suffix.lower() == files.SUFFIX else "folder"
        raise ModelError(f"There is no {what} {shown(name)}.", "Check its name; a Hub id has the form owner/name.")
    return None


def _hub(name: str) -> Source | None:
    repo, _, revision = name.partition("@")
    if not _HUB_ID.fullmatch(repo) or ".." in name or ("@" in name and not _REVISION.fullmatch(revision)):
        return None
    return Source("hub", repo, revision=revision or None)
