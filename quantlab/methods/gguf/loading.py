"""A GGUF file, checked and brought into memory."""

from pathlib import Path

from quantlab.methods.gguf import library
from quantlab.methods.gguf import storage as contents
from quantlab.methods.gguf.header import read_header
from quantlab.methods.gguf.session import LlamaModel
from quantlab.records import Model, Progress, ResolvedPlacement
from quantlab.runtime.kv_cache import RESERVED_DETAIL
from quantlab.runtime.session import Facts

#: llama.cpp fills up what it makes room for (`llama-kv-cache.cpp`); a session of 100 tokens takes that of 256.
_RESERVED = "reserved at once, for a multiple of 256 tokens"


def load_file(file: Path, model: Model, placement: ResolvedPlacement, progress: Progress) -> LlamaModel:
    """Load a .gguf file. `progress` counts per cents and may raise `Stopped`.

    Raises ModelError for a file that is damaged, cut short or of an unknown architecture, OutOfMemory.
    """
    header = read_header(file)
    notes = list(contents.notes(header))
    if placement.device_map is not None:
        notes.append(f"the device map was not used: llama.cpp runs whole on {placement.device}")
    facts = Facts(
        compute_dtype=contents.compute_dtype(header),
        kernel=library.kernel(placement.device),
        device_map={"": placement.device},
        notes=tuple(notes),
        details={**contents.details(file, header), RESERVED_DETAIL: _RESERVED},
    )
    return LlamaModel(file, header, placement, facts, progress)
