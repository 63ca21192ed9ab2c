"""What each precision would take, before anything loads. Needs no torch."""

from collections.abc import Mapping

from quantlab import models
from quantlab.methods import METHODS
from quantlab.methods.base import estimate
from quantlab.records import Offer, Placement, TensorInfo, Variant
from quantlab.runtime import hardware
from quantlab.runtime import placement as placements


def offers(tensors: Mapping[str, TensorInfo], placement: Placement) -> tuple[Offer, ...]:
    """Every precision with its estimated memory for a checkpoint of these tensors and, where it cannot run here, why.

    Raises BadInput for a placement that does not exist.
    """
    placement = placements.resolve(placement)
    free = hardware.free_bytes(placement.device)
    return tuple(
        Offer(chosen, method.unavailable(placement.device), estimate(method, chosen, placement, tensors), free)
        for method in METHODS.values()
        for chosen in method.precisions
    )


def estimated_bytes(variant: Variant) -> int:
    """The planned `stored_bytes` of one variant, whose placement is resolved."""
    method = METHODS[variant.precision.method]
    return estimate(method, variant.precision, variant.placement, models.tensors(variant.model))
