"""How a GGUF file stretches its rotary embeddings, as config.json says it: transformers reads neither from the file."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from quantlab.errors import ModelError
from quantlab.models.gguf.header import GgufHeader

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
#: Llama 3's own: every model of that family has these.
_LOW, _HIGH, _LLAMA3_CONTEXT = 1.0, 4.0, 8_192


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
    """Llama 3's way, by the factors that it gives. Raises ModelError where they do not follow from its formula.

    Formula: Llama 3.1's `apply_scaling`, as llama.cpp's converter writes its result into `FACTORS`.
    """
    theta, factor = float(now.get("rope_theta", 10_000.0)), float(max(factors))
    wavelengths = [2 * math.pi * theta ** (place / len(factors)) for place in range(len(factors))]
    original = _original(wavelengths, factors, factor)
    for wavelength, found in zip(wavelengths, factors, strict=True):
        smooth = min(1.0, max(0.0, (original / wavelength - _LOW) / (_HIGH - _LOW)))
        if abs(found * ((1 - smooth) / factor + smooth) - 1) > _TOLERANCE:
            raise ModelError("its rotary embeddings have factors that do not follow from Llama 3's formula")
    told = {"low_freq_factor": _LOW, "high_freq_factor": _HIGH, _ORIGINAL: original}
    return dict(now) | {"rope_type": "llama3", "factor": factor} | told


def _original(wavelengths: Sequence[float], factors: Sequence[float], factor: float) -> int:
    """The context before it was stretched: by a frequency between those that are stretched and those that are not."""
    for wavelength, found in zip(wavelengths, factors, strict=True):
        if 1.01 < found < 0.99 * factor:
            smooth = (1 / found - 1 / factor) / (1 - 1 / factor)
            return round(wavelength * (_LOW + (_HIGH - _LOW) * smooth))
    return _LLAMA3_CONTEXT
