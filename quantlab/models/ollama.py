"""Models of Ollama on this machine: which file of its store a name means.

Ollama keeps a manifest for each name and tag, which lists layers by the digest of their content; one of them is a
GGUF file. Nothing is asked of a server. Layout: https://github.com/ollama/ollama, `types/model/name.go` and
`manifest/manifest.go`.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantlab.errors import ModelError
from quantlab.records import OLLAMA

_HOST, _OWNER, _TAG = "registry.ollama.ai", "library", "latest"
_MEDIA = "application/vnd.ollama.image."
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
#: A manifest takes a kilobyte or two.
_MANIFEST_BYTES = 10**6
#: What a part of a name may be: Ollama makes folders of them.
_PART = re.compile(r"[A-Za-z0-9_][\w.:-]*", re.ASCII)
_SHOWN = 12


def find(typed: str) -> Path:
    """The GGUF file of a model named as in Ollama: ollama:NAME[:TAG], NAME with owner and host where it has them.

    The store is the folder in OLLAMA_MODELS, else the one that Ollama uses by default. Raises ModelError where it has
    no such model, or not all of it.
    """
    name = typed[len(OLLAMA) :].strip()
    store = _store()
    if not (store / "manifests").is_dir():
        raise ModelError(
            f"There is no store of Ollama in {store}.",
            "Set OLLAMA_MODELS to the folder with its blobs and manifests; a server's own may need its rights.",
        )
    layers = _layers(_manifest(store, name), name)
    if any(layer.get("mediaType") == f"{_MEDIA}adapter" for layer in layers):
        raise ModelError(f"{typed} is an adapter over another model.", "Choose a model without one (no ADAPTER).")
    held = [layer for layer in layers if layer.get("mediaType") == f"{_MEDIA}model"]
    if len(held) != 1:
        what = f"{len(held)} files of weights" if held else "no weights that are a GGUF file"
        raise ModelError(f"{typed} has {what}.", "Choose a model that Ollama keeps as one GGUF file.")
    return _blob(store, held[0], typed)


def _store() -> Path:
    if told := os.environ.get("OLLAMA_MODELS", "").strip():
        return Path(told).expanduser().absolute()
    mine, server = Path.home() / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")
    return server if not mine.is_dir() and server.is_dir() else mine


def _manifest(store: Path, name: str) -> Mapping[str, Any]:
    """The manifest of a name. Raises ModelError with the names that there are."""
    manifests = store / "manifests"
    wanted = _parts(name)
    file = manifests.joinpath(*wanted) if wanted else None
    if file is None or not file.is_file():
        there = _names(manifests)
        shown = ", ".join(there[:_SHOWN]) + (f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else "")
        raise ModelError(
            f"Ollama has no model {name!r} in {store}.",
            f"There is: {shown}." if there else "It holds none: fetch one with ollama pull.",
        )
    try:
        if file.stat().st_size > _MANIFEST_BYTES:
            raise ValueError("it is too long")
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"Ollama's manifest of {name!r} cannot be read ({error}).", "Pull the model again.") from None
    if not isinstance(found, dict):
        raise ModelError(f"Ollama's manifest of {name!r} is no manifest.", "Pull the model again.")
    return found


def _parts(name: str) -> tuple[str, ...] | None:
    """Host, owner, name and tag, with Ollama's defaults where they are left out; None for what cannot be a name."""
    *path, last = name.split("/")
    model, _, tag = last.partition(":")
    parts = (*(_HOST, _OWNER)[: max(0, 2 - len(path))], *path, model, tag or _TAG)
    return parts if len(parts) == 4 and all(_PART.fullmatch(part) for part in parts) else None


def _names(manifests: Path) -> list[str]:
    """All models of the store, as they are typed."""
    found = []
    for file in manifests.glob("*/*/*/*"):
        host, owner, model, tag = file.relative_to(manifests).parts
        before = "" if (host, owner) == (_HOST, _OWNER) else f"{owner}/" if host == _HOST else f"{host}/{owner}/"
        found.append(f"{before}{model}:{tag}")
    return sorted(found)


def _layers(manifest: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    layers = manifest.get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise ModelError(f"Ollama's manifest of {name!r} lists no layers.", "Pull the model again.")
    return layers


def _blob(store: Path, layer: Mapping[str, Any], typed: str) -> Path:
    digest = _DIGEST.fullmatch(str(layer.get("digest")))
    if digest is None:
        raise ModelError(f"Ollama's manifest of {typed} names no file for its weights.", "Pull the model again.")
    file = store / "blobs" / f"sha256-{digest[1]}"
    if not file.is_file():
        raise ModelError(f"The weights of {typed} are not in Ollama's store ({file.name[:19]}…).", "Pull it again.")
    size = layer.get("size")
    if isinstance(size, int) and file.stat().st_size != size:
        raise ModelError(
            f"The weights of {typed} have {file.stat().st_size:,} bytes, and Ollama's manifest says {size:,}.",
            "Pull the model again: its download is not whole.",
        )
    return file
