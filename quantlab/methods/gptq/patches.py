"""What gptqmodel 7.6.0 does otherwise than the worker needs, mended in the process that quantizes."""

from collections.abc import Callable
from typing import Any

#: Rows that gptqmodel's search for AWQ's clipping takes at once.
_ROWS = 64


def mend(failed: Callable[[BaseException], None]) -> None:
    """`failed` is told the error that one of gptqmodel's threads ends the process for."""
    _tell_why_a_thread_ended(failed)
    _clip_any_number_of_rows()
    _scale_in_float32()


def _tell_why_a_thread_ended(failed: Callable[[BaseException], None]) -> None:
    """An error in one of its threads ends the process at once, so it never reaches who called."""
    from gptqmodel.utils import threadx

    end_process = threadx._DeviceWorker._abort_process

    def report(thread: Any, error: BaseException) -> None:
        failed(error)
        end_process(thread, error)

    threadx._DeviceWorker._abort_process = report


def _clip_any_number_of_rows() -> None:
    """A layer whose rows do not divide by 64 fails an assertion: it gets rows of zeros, which are cut off again."""
    import torch
    from gptqmodel.looper.awq_processor import AWQProcessor

    search = AWQProcessor._compute_best_clip

    def padded(processor, weight, *others, **options):
        rows = len(weight)
        weight = torch.nn.functional.pad(weight, (0, 0, 0, -rows % _ROWS))
        return search(processor, weight, *others, **options)[:rows]

    AWQProcessor._compute_best_clip = padded


def _scale_in_float32() -> None:
    """Its search for AWQ's scales puts the weights back from a copy that is none if they are float32 on a CPU.

    And its packing refuses that type by a list, though the codes are the same.
    """
    import torch
    from gptqmodel.looper.awq_processor import AWQProcessor
    from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear

    class Copied(torch.nn.Parameter):
        """Its detached values are a copy, so that writing to the weight leaves them alone."""

        def detach(self) -> torch.Tensor:
            return super().detach().clone()

    search = AWQProcessor._compute_best_scale

    def kept(processor, x, w_mean, x_mean, inspected, layers, *others):
        weights = [layer.weight for layer in layers]
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight = Copied(weight.data, requires_grad=False)
        try:
            return search(processor, x, w_mean, x_mean, inspected, layers, *others)
        finally:
            for layer, weight in zip(layers, weights, strict=True):
                layer.weight = weight

    AWQProcessor._compute_best_scale = kept
    AwqTorchLinear.SUPPORTS_DTYPES = [*AwqTorchLinear.SUPPORTS_DTYPES, torch.float32]
