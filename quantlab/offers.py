"""What each precision would take, before anything loads. Needs no torch."""

from collections.abc import Mapping

from quantlab import models
from quantlab.methods import METHODS
from quantlab.methods.base import estimate
from quantlab.records import Offer, Placement, TensorInfo, Variant
from quantlab.runtime import hardware
from quantlab.runtime import placement as placements
from quantlab.settings import app_settings

#: The share of free memory that variants may take, unless a budget is set.
BUDGET_SHARE = 0.8


def offers(tensors: Mapping[str, TensorInfo], placement: Placement) -> tuple[Offer, ...]:
    """Every precision with its estimated memory for a checkpoint of these tensors and, where it cannot run here, why.

    Raises BadInput for a placement that does not exist.
    """
    placement = placements.resolve(placement)
    free = budget(placement.device)
    return tuple(
        Offer(chosen, method.unavailable(placement.device), estimate(method, chosen, placement, tensors), free)
        for method in METHODS.values()
        for chosen in method.precisions
    )


def budget(device: str, held: int = 0) -> int:
    """Bytes that all variants on a device may take: the setting, or a share of what is free were `held` given back."""
    fixed = app_settings().memory_budget
    return fixed if fixed is not None else int(BUDGET_SHARE * (hardware.free_bytes(device) + held))


def estimated_bytes(variant: Variant) -> int:
    """The planned `stored_bytes` of one variant, whose placement is resolved."""
    method = METHODS[variant.precision.method]
    return estimate(method, variant.precision, variant.placement, models.tensors(variant.model))
