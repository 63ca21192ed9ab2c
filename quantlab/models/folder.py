"""A folder of safetensors weights, checked before anything loads it.

Everything is read with plain Python: a header is a few kilobytes in front of the weights, so a model of any size is
checked in milliseconds, and nothing that a folder holds is ever run.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quantlab.errors import ModelError
from quantlab.models.architecture import not_causal
from quantlab.models.layouts import corrected, quantization, stored_as
from quantlab.models.plausible import wrong, wrong_type
from quantlab.records import Checkpoint, TensorInfo

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
#: All that a tokenizer may consist of.
TOKENIZER_FILES = (
    *TOKENIZERS,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
)
_BESIDE = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
#: Bits of one element, by safetensors' name of its type.
DTYPE_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
#: The safetensors library refuses longer headers; a corrupt length must not make us read gigabytes.
MAX_HEADER_BYTES = 100_000_000

#: More than any tensor of a model has.
MAX_DIMENSIONS = 16
#: A configuration of several parts nests them two or three deep.
MAX_DEPTH = 20

#: How a file begins that stands for another one which Git has not fetched.
_LFS = b"version https://git-lfs"

DOWNLOAD_AGAIN = "Download or copy it again."


def check(folder: Path, name: str) -> None:
    """Raise ModelError where `folder` cannot be loaded safely. `name` is what the user called it."""
    if not folder.is_dir():
        raise ModelError(f"There is no folder {name!r}.", "Give the folder that holds config.json and the weights.")
    if (folder / "adapter_config.json").exists():
        # transformers would follow it to its base model, which may be another repository on the Hub.
        raise ModelError(
            f"{name!r} holds an adapter (adapter_config.json), no model.",
            "Name its base as the model and add +FOLDER behind a precision, or merge the two first (quantlab merge).",
        )
    config = check_config(folder, name)
    _check_sizes(config, read_tensors(folder, name), repr(name))
    if not any((folder / tokenizer).is_file() for tokenizer in TOKENIZERS):
        raise ModelError(
            f"{name!r} has no tokenizer.",
            f"Copy the model's tokenizer files beside config.json; one of {', '.join(TOKENIZERS)} is needed.",
        )


def _check_sizes(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo], whose: str) -> None:
    if (fault := wrong(config, tensors)) is not None:
        raise ModelError(
            f"config.json of {whose} cannot be that of its weights: {fault}.",
            "Copy it again from where the weights are from, or mend that value.",
        )


def check_config(folder: Path, name: str) -> dict[str, Any]:
    """The folder's config.json, refused where it asks for code of its own."""
    config = read_config(folder, name)
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"config.json of {name!r} has no model_type.", "It must be a transformers configuration.")
    if (fault := wrong_type(config)) is not None:
        raise ModelError(f"config.json of {name!r} cannot be used: {fault}.", "Mend that value, or copy it again.")
    if (reason := not_causal(config)) is not None:
        raise ModelError(f"{name!r} {reason}.", "Choose a causal language model: one that goes on with a text.")
    tokenizer = folder / "tokenizer_config.json"
    for what, found in (
        ("config.json", config),
        (tokenizer.name, read_json(tokenizer, name) if tokenizer.is_file() else {}),
    ):
        if _holds(found, "auto_map"):
            raise ModelError(
                f"{what} of {name!r} asks for Python code of its own (auto_map), which quantlab never runs.",
                "Choose a model whose architecture is part of the transformers library.",
            )
    return config


def checkpoint(config: dict[str, Any], tensors: dict[str, TensorInfo]) -> Checkpoint:
    """What config.json and the headers of the weights tell. Raises ModelError where they contradict each other."""
    _check_sizes(config, tensors, "the model")
    nbytes = sum(math.prod(it.shape) * DTYPE_BITS[it.dtype] // 8 for it in tensors.values())
    return Checkpoint(corrected(config, tensors), tensors, nbytes, stored_as(config, tensors))


def has_safetensors(names: Iterable[str]) -> bool:
    """Whether weights are among the files of these names, under the names that transformers gives them."""
    return not {WEIGHTS, INDEX}.isdisjoint(names)


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """config.json of `folder`. Raises ModelError where it is missing or no JSON object."""
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{name!r} has no config.json.", "Give the folder of a transformers model: config.json, weights, tokenizer."
        )
    config = read_json(folder / "config.json", name)
    if quantization(config):
        return config
    # Older programs wrote how they quantized beside the configuration and not into it.
    for file, method in _BESIDE.items():
        if (folder / file).is_file() and (beside := read_json(folder / file, name)).get("bits", beside.get("w_bit")):
            return config | {"quantization_config": {"quant_method": method} | beside}
    return config


def read_tensors(folder: Path, name: str) -> dict[str, TensorInfo]:
    """Shape and type of every tensor in the weights of `folder`, by name. Raises ModelError where they are damaged."""
    if (folder / WEIGHTS).is_file():
        return read_header(folder / WEIGHTS, name)
    if (folder / INDEX).is_file():
        return _read_shards(folder, name)
    raise _no_weights(folder, name)


def read_index(folder: Path, name: str) -> dict[str, str]:
    """The index of sharded weights: tensor name -> file name, always a plain name in this folder."""
    weight_map = read_json(folder / INDEX, name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{INDEX} of {name!r} lists no weights.", DOWNLOAD_AGAIN)
    for shard in set(map(str, weight_map.values())):
        if Path(shard).name != shard or "\\" in shard or not shard.endswith(".safetensors"):
            raise ModelError(f"{INDEX} of {name!r} names {shard!r}, which is no safetensors file beside it.", "")
    return {str(tensor): str(shard) for tensor, shard in weight_map.items()}


def read_header(file: Path, name: str) -> dict[str, TensorInfo]:
    """The tensors that the header of one safetensors file lists.

    Format: 8 bytes, the header's length (little endian); the header, JSON; then the tensors, end to end. Raises
    ModelError unless the tensors fill the rest of the file exactly.
    """
    damaged = ModelError(f"{file.name} of {name!r} is damaged: its header cannot be read.", DOWNLOAD_AGAIN)
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        if start == _LFS[:8] and start + opened.read(len(_LFS) - 8) == _LFS:
            raise ModelError(
                f"{file.name} of {name!r} is a pointer of Git LFS, and not the weights.", "Call: git lfs pull"
            )
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, max(size - 8, 0)):
            raise _cut_short(file, name) if 2 <= length <= MAX_HEADER_BYTES or size < 10 else damaged
        try:
            header = json.loads(opened.read(length))
            header.pop("__metadata__", None)
            tensors = {tensor: TensorInfo(_shape(it["shape"]), it["dtype"]) for tensor, it in header.items()}
            spans = sorted((*_span(it["data_offsets"]), tensor) for tensor, it in header.items())
            sizes = {tensor: math.prod(it.shape) * DTYPE_BITS[it.dtype] // 8 for tensor, it in tensors.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise damaged from None
    end = 0
    for begin, stop, tensor in spans:
        if begin != end or stop - begin != sizes[tensor]:
            raise damaged
        end = stop
    if 8 + length + end > size:
        raise _cut_short(file, name)
    if 8 + length + end < size:
        raise ModelError(f"{file.name} of {name!r} is damaged: it is longer than its header says.", DOWNLOAD_AGAIN)
    return tensors


def _shape(value: Any) -> tuple[int, ...]:
    """Raises ValueError for what is no list of few sizes: a product of thousands, or of texts, fills all memory."""
    if not isinstance(value, list) or len(value) > MAX_DIMENSIONS or not all(_is_size(it) for it in value):
        raise ValueError(value)
    return tuple(value)


def _span(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(_is_size(it) for it in value):
        raise ValueError(value)
    return value[0], value[1]


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _read_shards(folder: Path, name: str) -> dict[str, TensorInfo]:
    weight_map = read_index(folder, name)
    shards: dict[str, dict[str, TensorInfo]] = {}
    for shard in sorted(set(weight_map.values())):
        if not (folder / shard).is_file():
            raise ModelError(f"{name!r} lacks {shard}, a part of its weights.", "Download or copy it into the folder.")
        shards[shard] = read_header(folder / shard, name)
    for tensor, shard in weight_map.items():
        if tensor not in shards[shard]:
            raise ModelError(
                f"{shard} of {name!r} does not hold {tensor}, which {INDEX} looks for there.", DOWNLOAD_AGAIN
            )
    return {tensor: shards[shard][tensor] for tensor, shard in weight_map.items()}


def _no_weights(folder: Path, name: str) -> ModelError:
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)
    if pickles:
        return ModelError(
            f"The weights of {name!r} are pickles ({pickles[0]}), which can run code; only safetensors is read.",
            "Convert them where you trust them: transformers' AutoModelForCausalLM.from_pretrained(folder), then"
            " save_pretrained(new_folder), writes safetensors.",
        )
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    held = f" It holds {others[0]}, which is neither." if others else ""
    return ModelError(f"{name!r} has no weights.", f"They are expected in {WEIGHTS} or in shards with {INDEX}.{held}")


def _cut_short(file: Path, name: str) -> ModelError:
    return ModelError(f"{file.name} of {name!r} is cut short: the file ends before its tensors do.", DOWNLOAD_AGAIN)


def read_json(file: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of the model `name`. Raises ModelError where it holds none, or nests it too deep."""
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file.name} of {name!r} is not valid JSON ({error}).", DOWNLOAD_AGAIN) from None
    if not isinstance(found, dict):
        raise ModelError(f"{file.name} of {name!r} is not a JSON object.", DOWNLOAD_AGAIN)
    if file.name.endswith("config.json") and _depth(found) > MAX_DEPTH:
        raise ModelError(f"{file.name} of {name!r} is nested more than {MAX_DEPTH} deep.", DOWNLOAD_AGAIN)
    return found


def _depth(value: Any) -> int:
    """How deep objects and lists are nested, by looking level by level: a call for each would not come back."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        inner = [it for held in level if isinstance(held, dict | list) for it in _inside(held)]
        depth, level = depth + bool(inner), inner
    return depth


def _inside(held: Any) -> list[Any]:
    return list(held.values()) if isinstance(held, dict) else held


def _holds(config: dict[str, Any], key: str) -> bool:
    """Whether `key` is set anywhere in `config`: models of several parts nest their configurations."""
    return bool(config.get(key)) or any(_holds(value, key) for value in config.values() if isinstance(value, dict))
