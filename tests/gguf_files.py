"""A small GGUF file that is a whole model, and the same as others may have it: in parts, in a store of Ollama."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import gguf

from quantlab.methods.gguf import building
from quantlab.methods.gguf.export import export
from quantlab.methods.gguf.quantize import quantize
from quantlab.records import silent
from tests.methods.gguf import making


def make(folder: Path, file_type: str | None = None, family: str = "qwen2") -> Path:
    """A random model with a tokenizer of its own, in float32 or quantized to `file_type`."""
    settings, tokenizer = making.FAMILIES[family]
    original = making.write(folder / "original", settings(), tokenizer())
    file = folder / "small-f32.gguf"
    export(original, building._config(original), file, silent)
    if file_type is None:
        return file
    target = folder / f"small-{file_type}.gguf"
    quantize(file, target, file_type, silent)
    return target


def rewrite(
    file: Path, target: Path, without: tuple[str, ...] = (), counts: Mapping[str, int] = MappingProxyType({}), **changes
) -> Path:
    """The same file without some keys, with others changed, more `counts`, and (`architecture`) for another one."""
    reader = gguf.GGUFReader(file)
    named = bytes(reader.fields["general.architecture"].parts[-1]).decode()
    other, leave_out = changes.pop("architecture", named), changes.pop("leave_out", None)
    writer = gguf.GGUFWriter(
        target, other, **{key: changes.pop(key) for key in ("split_max_tensors",) if key in changes}
    )
    for field in reader.fields.values():
        if field.name in without or field.name.startswith(("GGUF.", "general.architecture")):
            continue
        kinds = (field.types[0], field.types[-1] if len(field.types) > 1 else None)
        value = changes.get(field.name.replace(".", "_"), field.contents())
        writer.add_key_value(field.name.replace(f"{named}.", f"{other}.", 1), value, *kinds)
    for key, count in counts.items():
        writer.add_uint32(key, count)
    for tensor in reader.tensors:
        if tensor.name == leave_out:
            continue
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def split(file: Path, folder: Path, tensors: int = 10) -> list[Path]:
    """The same model in parts of so many tensors, the first one first."""
    folder.mkdir(parents=True, exist_ok=True)
    rewrite(file, folder / "parts.gguf", split_max_tensors=tensors)
    return sorted(folder.glob("parts-*-of-*.gguf"))


def ollama(file: Path, store: Path, name: str = "registry.ollama.ai/library/small/latest", **layer) -> Path:
    """A store of Ollama with the file in it. Returns the blob."""
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    blob = store / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    media = "application/vnd.ollama.image."
    model = {"mediaType": f"{media}model", "digest": f"sha256:{digest}", "size": len(content)} | layer
    license_ = {"mediaType": f"{media}license", "digest": "sha256:" + "0" * 64, "size": 3}
    manifest = store / "manifests" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": [model, license_]}))
    return blob
