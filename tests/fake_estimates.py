"""Honest stand-ins for what the page is offered: precisions of every method, published checkpoints, models."""

from quantlab import methods
from quantlab.errors import ModelError, unknown
from quantlab.methods.published import label, read
from quantlab.records import Estimate, Placement, Precision
from quantlab.runtime.kv_cache import split

WEIGHTS = 2_000_000
FREE = 2_000_000_000
#: Each method's title and precisions: (name, bits, summary).
METHODS = {
    ("dense", "Floating point"): (
        ("fp32", 32.0, "32-bit floating point, as trained"),
        ("bf16", 16.0, "16 bits with the range of fp32"),
        ("fp16", 16.0, "16-bit floating point"),
    ),
    ("bitsandbytes", "bitsandbytes"): (
        ("int8", 8.1, "8-bit integers, outlier columns in 16 bits"),
        ("int8-plain", 8.0, "8-bit integers without outlier columns"),
        ("nf4", 4.5, "4-bit NormalFloat, a scale per 64 weights"),
        ("nf4-dq", 4.13, "nf4 with its scales quantized too"),
        ("fp4", 4.5, "4-bit floating point, a scale per 64 weights"),
        ("fp4-dq", 4.13, "fp4 with its scales quantized too"),
    ),
    ("rtn", "Round to nearest"): (
        ("rtn-8", 8.5, "plain rounding to eight bits, groups of 64"),
        ("rtn-4", 4.4, "plain rounding to four bits, groups of 64"),
        ("rtn-3", 3.5, "3-bit integers, a scale and a zero point per 64 weights"),
        ("rtn-2", 2.4, "plain rounding to two bits, groups of 64"),
    ),
    ("gptq", "GPTQ"): tuple(
        (f"gptq-{bits}", bits + 0.2, f"{bits}-bit integers fitted to calibration text, groups of 128")
        for bits in (8, 4, 3, 2)
    ),
    ("awq", "AWQ"): (("awq-4", 4.25, "4-bit integers, scaled so that the weights that matter most keep their value"),),
    ("gguf", "GGUF (llama.cpp)"): tuple(
        (name, bits, f"blocks of 256 weights at about {bits:g} bits, run by llama.cpp")
        for name, bits in (
            ("f16", 16.0), ("q8_0", 8.5), ("q6_k", 6.56), ("q5_k_m", 5.7), ("q4_k_m", 4.85), ("q4_0", 4.5),
            ("q3_k_m", 3.9), ("q2_k", 2.96), ("iq3_xxs", 3.06), ("iq2_xxs", 2.06),
        )
    ),
    ("torchao", "torchao"): (
        ("ao-int8", 8.1, "8-bit integers, a scale per row"),
        ("ao-int4", 4.25, "4-bit integers in a layout for tensor cores"),
        ("ao-float8", 8.0, "8-bit floating point, a scale per tensor"),
    ),
    ("stored", "As published"): (("stored", 0.0, "whatever the checkpoint holds already"),),
}  # fmt: skip
PRECISIONS = tuple(
    Precision(name, method, bits, summary)
    for (method, _), entries in METHODS.items()
    for name, bits, summary in entries
)
_NO_GPTQ = "needs the package gptqmodel: pip install -r requirements-gptq.txt"
BLOCKED = {
    **dict.fromkeys(("gptq-8", "gptq-4", "gptq-3", "gptq-2", "awq-4"), _NO_GPTQ),
    "ao-int4": "needs a CUDA device: choose another 4-bit precision",
    "ao-float8": "needs a device with float8: choose int8",
    "stored": "is for checkpoints that are quantized already: pick one as the model, or add one below",
}
CHOICES = (
    ("demo", "demo", "bundled: small, trained, answers in words"),
    ("shape:bench-100m", "shape", "random weights, 0.1 billion: for memory and speed only, its text means nothing"),
)
#: A model whose weights are quantized already: it runs as it is, and at nothing else.
QUANTIZED = "someone/quantized"


def precision(name: str) -> Precision:
    for one in PRECISIONS:
        if one.name == name:
            return one
    raise unknown("precision", name, (one.name for one in PRECISIONS))


def stored_bytes(bits: float) -> int:
    return int(WEIGHTS * (0.75 * bits + 0.25 * min(bits, 16)) / 8)


def fake_estimates(model: str, placement: Placement) -> tuple[Estimate, ...]:
    """Offers for the fake's models. Raises ModelError for any other."""
    if model not in {QUANTIZED, *(name for name, _, _ in CHOICES)}:
        raise ModelError(f"There is no model {model!r}.", "Pick one from the list.")
    factor = 50 if model.startswith("shape:") else 1
    titles = dict(METHODS.keys())
    blocked = BLOCKED
    if model == QUANTIZED:
        blocked = {p.name: "needs the original weights" for p in PRECISIONS if p.name != "stored"}
    return tuple(
        Estimate(p, blocked.get(p.name), factor * stored_bytes(p.bits) or None, FREE, titles[p.method])
        for p in PRECISIONS
    )


def fake_precision(model: str, name: str, placement: Placement) -> Estimate:
    """A precision with options as `Services.estimate_precision` tells it."""
    found = methods.precision(name)
    return Estimate(found, None, stored_bytes(found.bits), FREE, methods.method_of(found).title)


def fake_published(spec: str, placement: Placement) -> Estimate:
    """A checkpoint as `Services.estimate_published` tells it. Raises ModelError for names with "nothing" in them."""
    read(split(spec)[0])
    if "nothing" in spec:
        raise ModelError(f"There is no folder {spec!r}.", "Check its name; a Hub id has the form owner/name.")
    blocked = _NO_GPTQ if spec.endswith("-awq") else None
    found = Precision(label(spec), "stored", 4.25, "4-bit GPTQ, groups of 128, quantized by gptqmodel 7.6.0")
    return Estimate(found, blocked, stored_bytes(4.25), FREE, "As published")
