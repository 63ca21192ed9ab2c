"""What each precision would take, before anything loads. Needs no torch."""

from quantlab import models
from quantlab.methods import METHODS
from quantlab.methods.base import estimate
from quantlab.records import Model, Offer, Placement, Variant
from quantlab.runtime import hardware
from quantlab.runtime import placement as placements


def offers(model: Model, placement: Placement) -> tuple[Offer, ...]:
    """Every precision with its estimated memory and, where it cannot run here, the reason.

    Raises BadInput for a placement that does not exist, ModelError where the model's tensors cannot be listed.
    """
    placement = placements.resolve(placement)
    tensors = models.tensors(model)
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
