"""A GGUF file as a model of transformers: what its header tells, written down as config.json, tokenizer and tensors.

A folder with those is made once for each header, in seconds and without the weights, so that everything that is asked
of a model before it loads can be asked of a GGUF file too. Its weights are taken out of the file when a column needs
them (`methods.dequantized`). transformers does the reading; what it is known to leave out is added here or refused.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeGuard

from quantlab.errors import ModelError, QuantlabError, is_exit
from quantlab.models import sealed
from quantlab.models.configuration import cause
from quantlab.models.folder import DTYPE_BITS, read_json
from quantlab.models.gguf import files, splits
from quantlab.models.gguf import rope as gguf_rope
from quantlab.models.gguf.header import GgufHeader
from quantlab.models.gguf.rope import rope_parameters
from quantlab.models.made_once import make_once
from quantlab.models.quiet import panics_unheard, watching
from quantlab.records import Checkpoint, Model, Progress, TensorInfo, silent
from quantlab.runtime.disk import is_disk_error
from quantlab.settings import AppSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: Names and shapes of the tensors as transformers calls them; where it cannot read the weights, why.
TENSORS = "tensors.json"
#: Changes when what is written for the same header does.
_FORMAT = 1
_LINK = "model.gguf"
#: Ids that end an answer, beside the tokenizer's own.
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
_INSTEAD = "Give the original model, and add this file as a published checkpoint (--variant)."
#: These keep their head in the embeddings, whatever the file says.
_ALWAYS_TIED = ("falcon", "bloom")


def described(file: Path, revision: str | None, name: str, app: AppSettings, progress: Progress = silent) -> Model:
    """The model of a GGUF file, called `name`, with a folder that describes it. Raises ModelError."""
    header = files.check(file, name)
    folder = _folder_for(header, file, app)
    if not _whole(folder):
        with TemporaryDirectory(prefix="quantlab-") as work:
            (Path(work) / _LINK).symlink_to(file.absolute())
            _make(folder, header, Path(work), name, progress)
    return Model(name, "gguf", folder, revision, origin=file)


def is_description(folder: Path | None) -> TypeGuard[Path]:
    """Whether a folder tells of a model without holding its weights."""
    return folder is not None and (folder / TENSORS).is_file()


def file_model(model: Model) -> Model:
    """The file itself as llama.cpp runs it, of a model that was made of one; every other model as it is."""
    if model.origin is None:
        return model
    return replace(model, folder=model.origin.parent, gguf=model.origin, origin=None, identity="")


def config(folder: Path, name: str) -> dict[str, Any]:
    """config.json of a description."""
    return read_json(folder / "config.json", name)


def checkpoint(folder: Path, origin: Path, name: str) -> Checkpoint:
    """What is known of a description: tensors as transformers has them, and those of the file. Raises ModelError."""
    return checkpoint_of(folder, files.check(origin, name), name)


def checkpoint_of(folder: Path, header: GgufHeader, name: str) -> Checkpoint:
    """The same, of a header."""
    found, values = read_json(folder / TENSORS, name), read_json(folder / "config.json", name)
    file = files.checkpoint(header)
    if "unreadable" in found:
        return replace(file, file=file, unreadable=found["unreadable"])
    tensors = {key: TensorInfo(tuple(shape), found["dtype"]) for key, shape in found["tensors"].items()}
    nbytes = sum(math.prod(it.shape) * DTYPE_BITS[it.dtype] // 8 for it in tensors.values())
    return Checkpoint(values, tensors, nbytes, None, file)


def dtype(header: GgufHeader) -> str:
    """The type, by safetensors' name, that holds a file's weights: its own, or F16 where they are quantized.

    float16 has three more bits than bfloat16 for a number of 4 to 8 bits times a scale in float16.
    """
    held: dict[str, int] = {}
    for info in header.tensors.values():
        if len(info.shape) > 1:
            held[info.dtype] = held.get(info.dtype, 0) + math.prod(info.shape)
    most = max(held, key=held.__getitem__, default="F16")
    return most if most in ("F32", "BF16") else "F16"


def _folder_for(header: GgufHeader, file: Path, app: AppSettings) -> Path:
    """Where the description of a header is kept: by all of its bytes and by the version that reads them."""
    from transformers import __version__

    length = min(header.offsets.values())
    with files.part_files(file)[0].open("rb") as opened:
        seen = hashlib.sha256(opened.read(length))
    told = {name: [info.shape, info.dtype] for name, info in header.tensors.items()}
    seen.update(json.dumps([_FORMAT, __version__, told]).encode())
    return app.cache_folder.expanduser().absolute() / ".models" / f"gguf-{seen.hexdigest()[:16]}"


def _whole(folder: Path) -> bool:
    try:
        return is_description(folder) and sealed.is_whole(folder)
    except OSError:
        return False


def _make(folder: Path, header: GgufHeader, work: Path, name: str, progress: Progress) -> None:
    def make(aside: Path) -> None:
        with watching(silent):
            _describe(header, work, aside, name, progress)

    try:
        make_once(folder, _whole, make, progress, "a description of the same file")
    except QuantlabError:
        raise
    except Exception as error:
        if not is_disk_error(error):
            raise
        raise ModelError(
            f"The description of {name} cannot be written to {folder}: {getattr(error, 'strerror', None) or error}.",
            "Free some space, or set QUANTLAB_CACHE_FOLDER to another folder.",
        ) from error


def _describe(header: GgufHeader, work: Path, folder: Path, name: str, progress: Progress) -> None:
    """Write the description of a file that lies in `work` under the name `_LINK`."""
    progress(0, 3, f"reading the tokenizer of {name}")
    source = {"pretrained_model_name_or_path": str(work), "gguf_file": _LINK, "local_files_only": True}
    tokenizer = _tokenizer(source, header, name)
    progress(1, 3, f"reading the architecture of {name}")
    values, tensors, unreadable = _architecture(source, header, (work / _LINK).readlink(), name)
    progress(2, 3, f"writing what {name} is")
    folder.mkdir(parents=True)
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(values, indent=1, default=str))
    told = {"dtype": dtype(header), "tensors": tensors} | ({"unreadable": unreadable} if unreadable else {})
    (folder / TENSORS).write_text(json.dumps(told))
    (folder / "generation_config.json").write_text(json.dumps(_generation(header)))


def _tokenizer(source: Mapping[str, Any], header: GgufHeader, name: str) -> "PreTrainedTokenizerFast":
    """The tokenizer as transformers reads it from the file. Raises ModelError."""
    from transformers import PreTrainedTokenizerFast

    kind, tokens = (header.metadata.get(f"tokenizer.ggml.{key}") for key in ("model", "tokens"))
    if kind in (None, "none", "no_vocab") or not tokens:
        raise ModelError(f"{name} has no tokenizer.", "Take a file that was made with one.")
    pre = header.metadata.get("tokenizer.ggml.pre")
    try:
        with panics_unheard():
            # Not by its architecture: the classes of some part a text in their own way, whatever the file says.
            tokenizer = PreTrainedTokenizerFast.from_pretrained(**source)
        if kind == "gpt2" and (split := splits.split(str(pre))) is not None:
            tokenizer.backend_tokenizer.pre_tokenizer = split
        return tokenizer
    except BaseException as error:  # each kind of tokenizer fails in its own ways
        if is_exit(error):
            raise
        what = f"{kind}, {pre}" if pre else str(kind)
        raise ModelError(
            f"transformers cannot read the tokenizer of {name} ({what}): {cause(error)}.", _INSTEAD
        ) from error


def _architecture(
    source: Mapping[str, Any], header: GgufHeader, file: Path, name: str
) -> tuple[dict[str, Any], dict[str, list[int]], str | None]:
    """config.json's values, the shapes of the tensors, and why transformers cannot read the weights, if so."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        read = AutoConfig.from_pretrained(**source).to_dict()
        values = _mended(read, header, files.floats(file, gguf_rope.FACTORS, name))
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values))
    except QuantlabError as error:
        return files.config(header), {}, error.what
    except Exception as error:  # its readers fail in many ways over what they do not know
        return files.config(header), {}, f"transformers cannot read it ({cause(error)})"
    tied = set(getattr(network, "all_tied_weights_keys", None) or ())
    shapes = {key: list(it.shape) for key, it in network.state_dict().items() if key not in tied}
    if (reason := _other_weights(shapes, header)) is not None:
        return files.config(header), {}, reason
    return values | {"architectures": [type(network).__name__]}, shapes, None


def _other_weights(shapes: Mapping[str, list[int]], header: GgufHeader) -> str | None:
    """Why the network that transformers makes is not that of the file: a part that its reader has no name for is left
    out without a word, and what follows would be another model."""
    theirs = sum(math.prod(shape) for shape in shapes.values())
    ours = sum(math.prod(it.shape) for name, it in header.tensors.items() if not files.is_setting(name))
    if theirs == ours:
        return None
    return f"transformers makes a network of {theirs:,} weights of it, and the file has {ours:,}"


def _mended(values: dict[str, Any], header: GgufHeader, factors: tuple[float, ...] | None) -> dict[str, Any]:
    """What transformers made of a header, with what it leaves out. Raises ModelError for what cannot be said there."""
    values = {key: it for key, it in values.items() if key not in ("quantization_config", "_name_or_path")}
    values["tie_word_embeddings"] = header.architecture in _ALWAYS_TIED or "output.weight" not in header.tensors
    if header.architecture == "llama":
        # Whatever the file calls itself: llama.cpp runs it as Llama, and transformers' reader finds no other names.
        values["model_type"] = "llama"
        values["attention_bias"] = "blk.0.attn_q.bias" in header.tensors
        values["mlp_bias"] = "blk.0.ffn_gate.bias" in header.tensors
    if isinstance(size := header.about("attention.key_length"), int) and "head_dim" in values:
        values["head_dim"] = size
    values["dtype"] = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}[dtype(header)]
    if (rope := rope_parameters(values, header, factors)) is not None:
        values["rope_parameters"] = rope
    return values


def _generation(header: GgufHeader) -> dict[str, Any]:
    ids = [header.metadata.get(f"tokenizer.ggml.{key}") for key in _ENDS]
    return {"eos_token_id": [*dict.fromkeys(i for i in ids if isinstance(i, int))]}
