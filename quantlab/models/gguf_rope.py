"""How a GGUF file stretches its rotary embeddings, as config.json says it: transformers reads neither from the file."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from quantlab.errors import ModelError
from quantlab.models.gguf_header import GgufHeader

FACTORS, LONG = "rope_freqs.weight", "rope_factors_long.weight"
#: Of factors in float32, relative.
_TOLERANCE = 1e-4
#: What a header's settings are called in config.json.
_YARN = {
    "attn_factor": "attention_factor",
    "yarn_beta_fast": "beta_fast",
    "yarn_beta_slow": "beta_slow",
}
_ORIGINAL = "original_max_position_embeddings"
#: Llama 3's own: every model of that family has these, with another factor.
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, _ORIGINAL: 8_192}


def rope_parameters(
    values: Mapping[str, Any], header: GgufHeader, factors: Sequence[float] | None
) -> dict[str, Any] | None:
    """`rope_parameters` for config.json; None where those of `values` can stay as they are.

    `factors` are those of the tensor `FACTORS`, where there is one. A kind that transformers has read already stays.
    Raises ModelError for one that cannot be said there.
    """
    now = dict(values.get("rope_parameters") or {})
    if now.get("rope_type", "default") != "default" or any(isinstance(it, Mapping) for it in now.values()):
        return None
    if factors is not None:
        return _llama3(now, factors)
    if LONG in header.tensors:
        raise ModelError("its rotary embeddings have two lists of factors (longrope), which transformers leaves out")
    kind, factor = header.about("rope.scaling.type"), header.about("rope.scaling.factor")
    if kind in (None, "none") or (kind == "linear" and factor in (None, 1.0)):
        return None
    if kind not in ("linear", "yarn") or not isinstance(factor, int | float) or not math.isfinite(factor):
        raise ModelError(f"its rotary embeddings are stretched in a way ({kind}) that has no name in config.json")
    found = now | {"rope_type": kind, "factor": float(factor)}
    if kind == "yarn":
        original = header.about("rope.scaling.original_context_length")
        found |= {_ORIGINAL: original} if original else {}
        found |= {_YARN[key]: it for key in _YARN if (it := header.about(f"rope.scaling.{key}")) is not None}
    return found


def _llama3(now: Mapping[str, Any], factors: Sequence[float]) -> dict[str, Any]:
    """Llama 3's way, by the factor of its lowest frequencies. Raises ModelError where the others do not follow from it.

    Formula: Llama 3.1's `apply_scaling`, as llama.cpp's converter writes its result into `FACTORS`.
    """
    theta, factor = float(now.get("rope_theta", 10_000.0)), float(max(factors))
    low, high, original = (_LLAMA3[key] for key in ("low_freq_factor", "high_freq_factor", _ORIGINAL))
    for place, found in enumerate(factors):
        wavelength = 2 * math.pi * theta ** (place / len(factors))
        smooth = min(1.0, max(0.0, (original / wavelength - low) / (high - low)))
        if abs(found * ((1 - smooth) / factor + smooth) - 1) > _TOLERANCE:
            raise ModelError("its rotary embeddings have factors that do not follow from Llama 3's formula")
    return dict(now) | {"rope_type": "llama3", "factor": factor} | _LLAMA3
