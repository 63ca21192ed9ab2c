"""How weights are stored and multiplied. A new method is one module and one name in `OWN`, or a package of its own."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from quantlab.errors import BadInput, shown, unknown
from quantlab.methods import adapters
from quantlab.methods.awq import AWQ
from quantlab.methods.base import Method
from quantlab.methods.bitsandbytes import BITSANDBYTES
from quantlab.methods.dense import DENSE
from quantlab.methods.dequantized import DEQUANTIZED
from quantlab.methods.gguf import GGUF
from quantlab.methods.gptq import GPTQ
from quantlab.methods.hqq import HQQ
from quantlab.methods.plugins import Table, installed
from quantlab.methods.rtn import RTN
from quantlab.methods.stored import STORED
from quantlab.methods.torchao import TORCHAO
from quantlab.records import Calibration, Checkpoint, Model, Precision, ResolvedPlacement, Variant
from quantlab.runtime.kv_cache import HQQ_BITS, MARK, split

#: Those that come with quantlab, in the order in which they are listed. Those of other packages follow.
OWN: tuple[Method, ...] = (DENSE, BITSANDBYTES, RTN, GPTQ, AWQ, GGUF, HQQ, TORCHAO, STORED, DEQUANTIZED)


@cache
def _all() -> tuple[Method, ...]:
    return (*OWN, *installed(OWN))


METHODS: Mapping[str, Method] = Table(lambda: {method.name: method for method in _all()})
PRECISIONS: Mapping[str, Precision] = Table(lambda: {it.name: it for method in _all() for it in method.precisions})


def precision(name: str) -> Precision:
    """The precision of that name, which may carry options (rtn-4-g128, nf4+kv-int8).

    Raises BadInput with the valid names.
    """
    base, kv_cache = split(name)
    weights, adapter = split_adapter(base)
    found = _parsed(weights)
    if found is None:
        raise _no_precision(name)
    return at_kv_cache(found if adapter is None else with_adapter(found, adapter), kv_cache)


def split_adapter(name: str) -> tuple[str, str | None]:
    """A name without `+kv-TYPE` as that of its weights, and of the adapter beside them where one is named.

    Only what stands behind a precision's name is an adapter: a folder of a published checkpoint may have a + in its
    own.
    """
    weights, plus, adapter = name.partition(adapters.PLUS)
    if f"{plus}{adapter}".startswith(MARK):  # keys and values, named twice
        return name, None
    try:
        return (weights, adapter) if plus and _parsed(weights) is not None else (name, None)
    except BadInput:  # an option with an impossible value
        return name, None


def with_adapter(chosen: Precision, typed: str) -> Precision:
    """The same weights with an adapter beside them, by its name or folder. Raises BadInput."""
    if not method_of(chosen).takes_adapters:
        can = ", ".join(it.name for it in PRECISIONS.values() if method_of(it).takes_adapters)
        raise BadInput(f"No adapter can lie beside {chosen.name}.", f"Choose from: {can}.")
    found = adapters.found(typed)
    name = f"{chosen.name}{adapters.PLUS}{found.name}"
    return replace(chosen, name=name, adapter=found, summary=f"{chosen.summary}; with the adapter {found.name}")


def without_adapter(chosen: Precision) -> Precision:
    """The precision of its weights alone."""
    if chosen.adapter is None:
        return chosen
    summary = chosen.summary.replace(f"; with the adapter {chosen.adapter.name}", "")
    return replace(chosen, name=split_adapter(chosen.name)[0], adapter=None, summary=summary)


def refusal(chosen: Precision, checkpoint: Checkpoint, device: str) -> str | None:
    """Why this model cannot be had at this precision here, in words that go on from "it ..."; None where it can.

    Imports nothing heavy, unless the model is of an uncommon kind and an adapter is to lie beside its weights.
    """
    method = method_of(chosen)
    reason = method.unavailable(device) or method.refuses(chosen, checkpoint, device)
    if reason is None and chosen.adapter is not None:
        reason = adapters.unavailable() or adapters.refusal(chosen.adapter, checkpoint)
    return reason


def _parsed(base: str) -> Precision | None:
    return next(filter(None, (method.parse(base) for method in METHODS.values())), None)


def _no_precision(name: str) -> BadInput:
    """What is wrong with a name that is no precision's, with or without `+kv-TYPE`."""
    base, kv_cache = split(name)
    small, small_cache = split(name.strip().lower())
    if MARK in base:
        return BadInput(
            f"{shown(name)} has more than one {MARK} option.", "Only one goes behind a precision: keys and values "
            "are kept in one type.",
        )  # fmt: skip
    if kv_cache is not None and not base.strip():
        return BadInput(f"{shown(name)} names no precision.", f"Put one in front of it: nf4{name.strip()[:40]}.")
    if name != small and (found := _parsed(small)) is not None and small_cache in (None, *method_of(found).kv_caches):
        meant = found.name + (f"{MARK}{small_cache}" if small_cache else "")
        return BadInput(f"Unknown precision {shown(name)}.", f"Did you mean {meant}? Names are of small letters.")
    return unknown("precision", base, PRECISIONS)


def at_kv_cache(chosen: Precision, kv_cache: str | None) -> Precision:
    """The same precision with keys and values in another type, where one is given. Raises BadInput."""
    if kv_cache is None:
        return chosen
    can = method_of(chosen).kv_caches
    if kv_cache not in can:
        said = f"{chosen.name} cannot keep keys and values in {kv_cache!r}."
        others = ", ".join(f"{MARK}{it}" for it in can)
        raise BadInput(said, f"Choose from: {others}." if can else f"Leave {MARK}{kv_cache} out.")
    name = chosen.name if split(chosen.name)[1] else f"{chosen.name}{MARK}{kv_cache}"
    return replace(chosen, name=name, kv_cache=kv_cache, summary=chosen.summary + _kept_in(kv_cache))


def _kept_in(kv_cache: str) -> str:
    """The end of a precision's summary that says how keys and values are kept."""
    bits = HQQ_BITS.get(kv_cache)
    return f"; keys and values in {f'{bits} bits' if bits else kv_cache}"


def without_kv_cache(chosen: Precision) -> Precision:
    """The precision that its weights have: what is loaded, whatever its sessions keep."""
    if chosen.kv_cache is None:
        return chosen
    summary = chosen.summary.removesuffix(_kept_in(chosen.kv_cache))
    return replace(chosen, name=split(chosen.name)[0], kv_cache=None, summary=summary)


def precisions(names: list[str] | tuple[str, ...], also: int = 0) -> tuple[Precision, ...]:
    """The precisions of these names, in the order given. Raises BadInput for none, an unknown or a repeated one.

    `also` counts what is chosen beside them (published checkpoints).
    """
    if not names and not also:
        raise BadInput("No precision was chosen.", f"Choose from: {', '.join(PRECISIONS)}.")
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise BadInput(f"Chosen more than once: {', '.join(repeated)}.", "Name each precision once.")
    return tuple(precision(name) for name in names)


def method_of(chosen: Precision) -> Method:
    return METHODS[chosen.method]


def variant_of(model: Model, chosen: Precision, placement: ResolvedPlacement, calibration: Calibration) -> Variant:
    """The variant, with the calibration text only where its method reads one: the others do not differ by it.

    Nor do variants differ by the type of keys and values, which are a session's.
    """
    chosen = without_kv_cache(chosen)
    return Variant(model, chosen, placement, calibration if method_of(chosen).calibrated(chosen) else None)


def most_precise(chosen: tuple[Precision, ...]) -> Precision:
    """The one with the most bits; among equals the one whose numbers reach farther, then the one named first.

    float16 has digits that bfloat16 lacks, but a model that leaves its range gives no numbers at all. Keys and values
    in fewer bits come last, and with an adapter it is another model.
    """
    order = {name: -place for place, name in enumerate(PRECISIONS)}

    def rank(it: Precision) -> tuple[float, ...]:
        plain = (it.adapter is None, it.kv_cache is None)
        return (it.bits, *plain, it.exponent_bits, order.get(it.name, -len(order)))

    return max(chosen, key=rank)
