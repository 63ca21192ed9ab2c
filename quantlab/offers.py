"""What each precision would take, before anything loads. Needs no torch."""

import importlib

from quantlab import models
from quantlab.methods import METHODS, method_of
from quantlab.methods.published import check_there, precision_of, read
from quantlab.records import Checkpoint, Offer, Placement, Precision, Variant
from quantlab.runtime import hardware
from quantlab.runtime import placement as placements
from quantlab.settings import AppSettings, app_settings

#: The share of free memory that variants may take, unless a budget is set.
BUDGET_SHARE = 0.8


def offers(checkpoint: Checkpoint, placement: Placement) -> tuple[Offer, ...]:
    """Every precision with its estimated memory for a checkpoint and, where it cannot be had here, why.

    Raises BadInput for a placement that does not exist.
    """
    importlib.invalidate_caches()  # a package that was installed while this process runs counts
    placement = placements.resolve(placement)
    return tuple(offer(chosen, checkpoint, placement) for method in METHODS.values() for chosen in method.precisions)


def offer(chosen: Precision, checkpoint: Checkpoint, placement: Placement) -> Offer:
    """One precision as `offers` gives it. `placement` is resolved."""
    method = method_of(chosen)
    reason = method.unavailable(placement.device) or method.refuses(chosen, checkpoint, placement.device)
    planned = None if checkpoint.stored_as and reason else method.estimate(chosen, placement, checkpoint)
    return Offer(chosen, reason, planned, budget(placement.device), method.title)


def offer_published(spec: str, placement: Placement, app: AppSettings) -> Offer:
    """A published checkpoint as `offers` gives a precision, under the short label of its column.

    Its weights are not downloaded. Raises BadInput or ModelError.
    """
    published = read(spec)
    check_there(published, app)
    checkpoint = models.peek(published.name, app, published.pick)
    chosen = precision_of(published, published.label, checkpoint)
    return offer(chosen, checkpoint, placements.resolve(placement))


def budget(device: str, held: int = 0) -> int:
    """Bytes that all variants on a device may take: the setting, or a share of what is free were `held` given back."""
    fixed = app_settings().memory_budget
    return fixed if fixed is not None else int(BUDGET_SHARE * (hardware.free_bytes(device) + held))


def estimated_bytes(variant: Variant) -> int:
    """The planned `stored_bytes` of one variant, whose placement is resolved."""
    method = method_of(variant.precision)
    return method.estimate(variant.precision, variant.placement, models.checkpoint(variant.model))
