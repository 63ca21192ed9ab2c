"""An adapter added to the weights beside which it lies, written as an ordinary checkpoint of 16 or 32 bits."""

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantlab import models
from quantlab.checkpoints.export import free_folder
from quantlab.checkpoints.load import checkpoint_store
from quantlab.errors import BadInput, Unavailable
from quantlab.finetune.job import READ
from quantlab.methods import method_of, precision, refusal, with_adapter, without_adapter
from quantlab.methods.adapted import attach, quiet_peft
from quantlab.records import Model, Placement, Precision, Progress, silent
from quantlab.records.finetuning import Merged
from quantlab.runtime import placement as placements
from quantlab.runtime.background import in_background
from quantlab.runtime.least_recent import nbytes
from quantlab.settings import app_settings

if TYPE_CHECKING:
    import torch

#: Types in which merged weights can be written.
DTYPES = ("bfloat16", "float16", "float32")
#: Adding is done in it, whatever the weights are written in: what is learnt is small beside them.
_SUM = "float32"


def merge(
    model: str,
    adapter: str,
    out: str | Path,
    onto: str = "fp32",
    dtype: str = "bfloat16",
    *,
    stop: threading.Event | None = None,
) -> Generator[tuple[int, int, str], None, Merged]:
    """Add the adapter of that name or folder to the weights of `model`, and write them into the new folder `out`.

    `onto` says which weights: the original ones (fp32), or what a precision of few bits keeps of them, such as nf4-dq.
    W + (alpha / rank) B A is computed in float32 (Hu et al. 2021, arXiv:2106.09685, 4.1) and written in `dtype`. Gives
    progress as (done, total, what). Setting `stop`, or closing the generator, ends the work and leaves nothing behind.

    Raises BadInput, ModelError, Unavailable, OutOfMemory or Stopped.
    """
    if dtype not in DTYPES:
        raise BadInput(f"Merged weights cannot be written in {dtype!r}.", f"Choose from: {', '.join(DTYPES)}.")
    chosen = with_adapter(precision(onto), adapter)
    if chosen.kv_cache is not None:
        raise BadInput("Keys and values are no part of a checkpoint.", "Leave +kv- out.")
    if onto not in READ:
        raise BadInput(f"Weights of {onto} cannot be merged into.", f"Choose from: {', '.join(READ)}.")
    folder = free_folder(out)

    def job(progress: Progress) -> Merged:
        with checkpoint_store().work.beside(folder) as aside:
            found = models.resolve_main(model, app_settings(), progress)
            _write(found, chosen, aside, dtype, progress)
            return Merged(folder, without_adapter(chosen).name, dtype, nbytes(aside))

    return in_background(job, stop or threading.Event())


def _write(found: Model, chosen: Precision, folder: Path, dtype: str, progress: Progress) -> None:
    import torch

    from quantlab.models.quiet import watching

    if found.folder is None or found.origin is not None:
        raise BadInput(f"{found.name} has no weights that could be written so.", "Choose the original model's folder.")
    if reason := refusal(chosen, models.checkpoint(found), "cpu"):
        raise Unavailable(f"{chosen.name} cannot be merged: it {reason}.")
    with _merged(found, chosen, progress) as network, watching(silent):
        progress(0, 0, "writing the merged weights")
        network.to(getattr(torch, dtype)).save_pretrained(folder)
    models.check_unchanged(found)
    models.copy_tokenizer(found, folder)


@contextmanager
def _merged(found: Model, chosen: Precision, progress: Progress) -> "Iterator[torch.nn.Module]":
    """The network with the adapter in its weights, all of them in float32."""
    method, adapter = method_of(chosen), chosen.adapter
    if adapter is None:
        raise RuntimeError("there is nothing to merge")
    method.prepare()
    # On the CPU: it is done once, and no card need be free for it.
    placement = placements.resolve(Placement("cpu", _SUM))
    loaded = method.load(found, without_adapter(chosen), placement, progress)
    try:
        network: Any = loaded.network
        with quiet_peft():
            if method.quantizes:
                progress(0, 0, "taking the weights out of their few bits")
                network.dequantize()
                network.float()
            beside = attach(loaded, adapter)
            progress(0, 0, "adding the adapter")
            yield beside.merge_and_unload(safe_merge=True)
    finally:
        loaded.close()
