"""A comparison as plain data, for JSON. The names are those of docs/measurement.md."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from quantlab.records import Comparison, Model, Run


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """What `quantlab compare --json` writes. A figure that is not finite becomes None: JSON has no such numbers."""
    data = {
        "model": _model(comparison.model),
        "prompt": comparison.prompt,
        "prompt_token_ids": list(comparison.prompt_token_ids),
        "prompt_tokens": list(comparison.prompt_tokens),
        "reference": comparison.reference,
        "settings": asdict(comparison.settings),
        "machine": asdict(comparison.machine),
        "versions": dict(comparison.versions),
        "started": comparison.started.isoformat(),
        "runs": [_run(run) for run in comparison.runs],
    }
    return _finite(data)


def _model(model: Model) -> dict[str, Any]:
    return {"name": model.name, "kind": model.kind, "revision": model.revision, "meaningless": model.meaningless}


def _run(run: Run) -> dict[str, Any]:
    load, timing = run.load, run.timing
    return {
        "precision": run.precision,
        "error": run.error,
        "advice": run.advice,
        "stopped": run.stopped,
        "text": run.text,
        "token_ids": list(run.token_ids),
        "tokens": list(run.tokens),
        "load_s": load and load.load_s,
        "load_origin": load and load.load_origin,
        "build_s": load and load.build_s,
        "warmup_ttft_s": timing and timing.warmup_ttft_s,
        "ttft_s": timing and timing.ttft_s,
        "itl_s": list(timing.itl_s) if timing else None,
        "decode_tokens_per_s": timing and timing.decode_tokens_per_s,
        "prefill_tokens_per_s": timing and timing.prefill_tokens_per_s,
        "timings_count": run.timings_count,
        "stored_bytes": load and load.stored_bytes,
        "running_bytes": load and load.running_bytes,
        "mapped_bytes": load and load.mapped_bytes,
        "parts": load and dict(load.parts),
        "bits_per_weight": load and load.bits_per_weight,
        "bits_per_quantized_weight": load and load.bits_per_quantized_weight,
        "compute_dtype": load and load.compute_dtype,
        "kernel": load and load.kernel,
        "device_map": load and dict(load.device_map),
        "details": dict(load.details) if load else {},
        "notes": list(load.notes) if load else [],
        "peak_bytes": asdict(run.peak) | {"estimate": run.peak.estimate} if run.peak else None,
        "kv_cache_bytes": run.kv_cache_bytes,
        "bandwidth_share": run.bandwidth_share,
        "nonfinite": run.nonfinite,
        "first_divergence": run.first_divergence and asdict(run.first_divergence),
        "differences": [asdict(difference) for difference in run.differences],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
