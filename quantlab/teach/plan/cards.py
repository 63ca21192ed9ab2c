"""Cards and their memory as `nvidia-smi` reports it, each with where that was read; and sizes as people type them."""

import math
import re

from quantlab.errors import BadInput, unknown
from quantlab.records import Card

_MIB, _GIB = 2**20, 2**30
_MODAL = "modal-labs/modal-client, pull request 2797"
#: Total memory in MiB as `nvidia-smi` reports it, and the public thread with that report.
_CARDS = (
    ("RTX 5070", 12_227, "shkhln/libc6-shim, issue 14"),
    ("RTX 3060", 12_288, "geerlingguy/raspberry-pi-pcie-devices, issue 790"),
    ("T4", 15_360, _MODAL),
    ("P100", 16_384, "wookayin/gpustat, issue 130"),
    ("A10G", 23_028, _MODAL),
    ("L4", 23_034, _MODAL),
    ("RTX 4090", 24_564, "RLinf/RLinf, issue 255"),
    ("RTX 3090", 24_576, "noonghunna/club-3090, issue 390"),
    ("RTX 5090", 32_607, "noonghunna/club-3090, issue 1229"),
    ("A100 40GB", 40_960, _MODAL),
    ("L40S", 46_068, _MODAL),
    ("H100", 81_559, _MODAL),
    ("A100 80GB", 81_920, _MODAL),
    ("H200", 143_771, "sgl-project/sglang, issue 3196"),
    ("B200", 183_359, "NVIDIA/TensorRT-LLM, issue 10278"),
)
CARDS = tuple(Card(name, mib * _MIB, source) for name, mib, source in _CARDS)
#: Main memory, or the unified memory of Apple's chips, as it is sold: 16 GB are 16 GiB there.
MEMORIES = tuple(Card(f"{size} GB memory", size * _GIB, shared=True) for size in (8, 16, 24, 32, 64, 128))
_UNITS = {"": 10**9, "gb": 10**9, "gib": _GIB, "mb": 10**6, "mib": _MIB, "tb": 10**12}
#: More than any one device has.
_MOST = 10**15


def card(typed: str | float) -> Card:
    """The card of a name, or memory of a size: 12, "12GB" (12,000,000,000 bytes), "11.5 GiB".

    Raises BadInput for a name that none has and a size that is none.
    """
    text = f"{typed}".strip()
    if not text:
        raise BadInput("No card was named.", "Pick one, or type a size such as 12GB.")
    for known in (*CARDS, *MEMORIES):
        if _plain(text).removeprefix("nvidia").removeprefix("geforce") == _plain(known.name):
            return known
    found = re.fullmatch(r"([+-]?(?:\d+(?:[.,]\d+)?(?:e[+-]?\d+)?|nan|inf(?:inity)?))\s*([a-z]*)", text.lower())
    if found is None or found[2] not in _UNITS:
        raise unknown("card", text[:80], [*(it.name for it in (*CARDS, *MEMORIES)), "a size such as 12GB"])
    size = float(found[1].replace(",", "."))
    nbytes = size * _UNITS[found[2]]
    if not math.isfinite(nbytes) or not 1 <= nbytes <= _MOST:
        raise BadInput(
            f"A card cannot have {text[:80]!r} of memory.", "Give a size above zero and below 1,000 TB, such as 12GB."
        )
    return Card(f"{size:g} {(found[2] or 'gb').replace('b', 'B').replace('g', 'G').replace('m', 'M')}", int(nbytes))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.lower())
