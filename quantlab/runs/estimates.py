"""What each precision would take, before anything loads. Needs no torch."""

import importlib
import logging
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from quantlab import models
from quantlab.errors import ModelError, QuantlabError
from quantlab.methods import METHODS, OWN, at_kv_cache, method_of, precision, served
from quantlab.methods.published import AS_PUBLISHED, as_stored, check_there, precision_of, read
from quantlab.models.folder import DTYPE_BITS
from quantlab.records import Checkpoint, Estimate, Placement, Precision, ResolvedPlacement, Variant
from quantlab.runtime import hardware
from quantlab.runtime import placement as placements
from quantlab.runtime.kv_cache import split
from quantlab.runtime.placement import canonical, devices_of
from quantlab.runtime.variant_cache import Need
from quantlab.settings import AppSettings, app_settings

#: The share of free memory that variants may take, unless a budget is set.
BUDGET_SHARE = 0.8
log = logging.getLogger(__name__)


def estimates(checkpoint: Checkpoint, placement: Placement) -> tuple[Estimate, ...]:
    """Every precision with its estimated memory for a checkpoint and, where it cannot be had here, why.

    Raises BadInput for a placement that does not exist.
    """
    importlib.invalidate_caches()  # a package that was installed while this process runs counts
    where = placements.resolve(placement)
    every = (chosen for method in METHODS.values() for chosen in method.precisions)
    real = (as_stored(checkpoint, it.name) if method_of(it) is AS_PUBLISHED else it for it in every)
    return tuple(_estimate_or_why(chosen, checkpoint, where) for chosen in real)


def _estimate_or_why(chosen: Precision, checkpoint: Checkpoint, placement: ResolvedPlacement) -> Estimate:
    """The estimate, or that there is none: a defect of another package must not take the list with it."""
    try:
        return estimate(chosen, checkpoint, placement)
    except Exception as error:
        if (method := method_of(chosen)) in OWN or isinstance(error, QuantlabError):
            raise
        log.warning("%s broke when it was asked for its memory: %s: %s", chosen.name, type(error).__name__, error)
        why = f"broke when it was asked for its memory ({type(error).__name__}): mend or remove the package it is from"
        return Estimate(chosen, why, None, 0, method.title)


def estimate(chosen: Precision, checkpoint: Checkpoint, placement: ResolvedPlacement) -> Estimate:
    """One precision as `estimates` gives it."""
    method = method_of(chosen)
    refused = method.refuses(chosen, checkpoint, placement.device)
    reason = method.unavailable(placement.device) or refused
    # What a model cannot have has no size; what only this machine lacks could be had elsewhere.
    nothing = (refused and method.refuses(chosen, checkpoint, "cuda")) or (checkpoint.stored_as and reason)
    planned = None if nothing else method.estimate(chosen, placement, checkpoint)
    rooms = {device: budget(device) for device in _devices(chosen, placement, checkpoint)}
    needed = () if planned is None or len(rooms) == 1 else _needed(chosen, placement, checkpoint, planned)
    crowded = next((it.devices[0] for it in needed if len(it.devices) == 1 and it.nbytes > rooms[it.devices[0]]), "")
    return Estimate(chosen, reason, planned, sum(rooms.values()), method.title, crowded)


def estimate_precision(model: str, name: str, placement: Placement, app: AppSettings) -> Estimate:
    """One precision, with options in its name, of a model. Raises BadInput or ModelError."""
    return estimate(precision(name), models.peek_main(model, app), placements.resolve(placement))


def estimate_published(spec: str, placement: Placement, app: AppSettings) -> Estimate:
    """A published checkpoint as `estimates` gives a precision, under the short label of its column.

    Its weights are not downloaded. Raises BadInput or ModelError.
    """
    if served.is_served(spec):
        check_there(read(spec), app)
        server = served.read(spec)
        return Estimate(served.precision(server, server.label), None, None, 0, "Served")
    spec, kv_cache = split(spec)
    published = read(spec)
    check_there(published, app)
    checkpoint = models.peek(published.name, app, published.pick)
    chosen = at_kv_cache(precision_of(published, published.label, checkpoint), kv_cache)
    return estimate(chosen, checkpoint, placements.resolve(placement))


def budget(device: str, held: int = 0) -> int:
    """Bytes that all variants on a device may take: the setting, or a share of what is free were `held` given back."""
    fixed = app_settings().memory_budget
    return fixed if fixed is not None else int(BUDGET_SHARE * (hardware.free_bytes(device) + held))


def estimated_bytes(variant: Variant) -> int:
    """The planned `stored_bytes` of one variant."""
    method = method_of(variant.precision)
    return method.estimate(variant.precision, variant.placement, models.checkpoint(variant.model))


def needs(variant: Variant) -> tuple[Need, ...]:
    """The planned bytes of one variant by the devices that have to hold them."""
    checkpoint = models.checkpoint(variant.model)
    total = method_of(variant.precision).estimate(variant.precision, variant.placement, checkpoint)
    return _needed(variant.precision, variant.placement, checkpoint, total)


def _devices(chosen: Precision, placement: ResolvedPlacement, checkpoint: Checkpoint) -> tuple[str, ...]:
    """The devices whose memory it may take."""
    return devices_of(placement) if method_of(chosen).spreads(checkpoint) else (placement.device,)


def _needed(chosen: Precision, placement: ResolvedPlacement, checkpoint: Checkpoint, total: int) -> tuple[Need, ...]:
    """`total` bytes by device: all devices together where accelerate spreads them, else each by its modules."""
    devices = _devices(chosen, placement, checkpoint)
    if isinstance(placement.device_map, str | None) or not method_of(chosen).spreads(checkpoint):
        return (Need(devices, total),)
    places = {module: canonical(where) for module, where in placement.device_map}
    wide, quantized = _sizes(chosen, placement, checkpoint)
    # What is not told by tensor (the scales of some methods) lies with what is quantized.
    scale = (total - sum(wide.values())) / max(1, sum(quantized.values()))
    found: Counter[str] = Counter()
    for name, nbytes in (*wide.items(), *((name, math.ceil(nbytes * scale)) for name, nbytes in quantized.items())):
        found[_place(name, places) or placement.device] += nbytes
    return tuple(Need((device,), nbytes) for device, nbytes in found.items() if device != "disk")


def _sizes(
    chosen: Precision, placement: ResolvedPlacement, checkpoint: Checkpoint
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Bytes of the tensors that stay wide, and of those that are quantized, by name."""
    method = method_of(chosen)
    wide: dict[str, int] = {}
    quantized: dict[str, int] = {}
    if checkpoint.stored_as is None:
        with suppress(ModelError):
            for weight in method.layout(chosen, placement, checkpoint).weights:
                nbytes = method.quantized_bytes(chosen, weight)
                (wide if nbytes is None else quantized)[weight.name] = weight.nbytes if nbytes is None else nbytes
            return (wide, quantized) if quantized else ({}, wide)
    # Quantized already: in the proportions of the files.
    return {}, {name: math.prod(it.shape) * DTYPE_BITS.get(it.dtype, 8) for name, it in checkpoint.tensors.items()}


def _place(tensor: str, places: Mapping[str, str]) -> str | None:
    """Where a device map puts a tensor: by the longest of its modules' names that the map has."""
    name = tensor
    while name and name not in places:
        name = name.rpartition(".")[0]
    return places.get(name)
