"""The weights of a GGUF file, read by transformers and written as safetensors, in a process of its own."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from quantlab.errors import ModelError
from quantlab.methods.gguf.joining import joined
from quantlab.models.configuration import cause
from quantlab.models.folder import read_json
from quantlab.models.gguf import described as from_gguf
from quantlab.models.quiet import watching
from quantlab.records import Progress

_LINK = "model.gguf"
_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}


def build(progress: Progress, name: str, file: str, described: str, folder: str) -> None:
    """The task of the worker: write the weights of `file` into `folder`, with the files of its description.

    Raises ModelError where transformers cannot read them.
    """
    description, target = Path(described), Path(folder)
    kind = _TYPES[read_json(description / from_gguf.TENSORS, name)["dtype"]]
    with TemporaryDirectory(prefix="gguf-", dir=target) as work:
        whole = joined(Path(file), Path(work) / _LINK, progress)
        network = _read(whole, description, kind, name, progress)
        if kind is torch.float16 and not all(bool(it.isfinite().all()) for it in network.state_dict().values()):
            # A scale beyond float16's 65,504: rare, and then the reach is worth more than the digits.
            network = _read(whole, description, torch.bfloat16, name, progress)
        progress(0, 0, "writing the weights")
        network.save_pretrained(target)
    for each in description.iterdir():
        if each.is_file() and each.name not in (from_gguf.TENSORS, "config.json", "WHOLE"):
            shutil.copyfile(each, target / each.name)


def _read(file: Path, description: Path, kind: torch.dtype, name: str, progress: Progress) -> torch.nn.Module:
    """The network with the file's weights in the type `kind`, and nothing about it that keeps it from being saved."""
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    config = AutoConfig.from_pretrained(description)
    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name, "local_files_only": True}
    try:
        with watching(progress):
            read, info = AutoModelForCausalLM.from_pretrained(
                **source, config=config, dtype=kind, output_loading_info=True
            )
    except Exception as error:  # its readers fail in many ways
        raise ModelError(
            f"transformers cannot read the weights of {name}: {cause(error)}.",
            "Choose stored or another GGUF type: llama.cpp runs the file itself.",
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{name} lacks weights that transformers needs for its architecture: {missing[0]}.",
            "Choose stored or another GGUF type: llama.cpp runs the file itself.",
        )
    with torch.device("meta"):
        # A fresh one: what was read from a GGUF file refuses to be saved as anything else.
        fresh = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(description), dtype=kind)
    fresh.load_state_dict(read.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.config.dtype = kind
    fresh.generation_config = GenerationConfig.from_pretrained(description)
    return fresh
