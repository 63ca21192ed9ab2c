"""What merging costs: the columns of a quality run that holds merged weights against the adapter on its own base."""

import shutil
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from quantlab import models
from quantlab.errors import BadInput, QuantlabError
from quantlab.finetune.job import BASES, READ
from quantlab.finetune.merging import merge
from quantlab.methods import adapters
from quantlab.models import SEPARATOR
from quantlab.models.folder import read_json
from quantlab.models.identities import digest
from quantlab.records import Adapter
from quantlab.records.finetuning import FinetuneSettings
from quantlab.runtime.background import in_background
from quantlab.settings import app_settings

#: Original weights, which every adapter can be added to.
ORIGINAL = "fp32"
#: What merged weights are quantized to again, beside the precision that was trained on.
AGAIN = ("bf16", "int8", "nf4-dq", "q4_k_m", "gptq-4")
_MERGED = "merged"


@dataclass(frozen=True)
class Costs:
    """Columns of a quality run, as they are asked for. The first is the reference: the adapter beside the weights that
    it was trained on."""

    columns: tuple[str, ...]

    @property
    def reference(self) -> str:
        return self.columns[0]


def trained_on(adapter: Adapter) -> str:
    """The precision that an adapter was trained on, as it is written down beside it; else the usual one."""
    try:
        settings = read_json(adapter.folder / adapters.ASKED, adapter.name).get("settings")
    except (QuantlabError, OSError):
        settings = None
    found = settings.get("precision") if isinstance(settings, dict) else None
    return found if found in BASES else FinetuneSettings().precision


def prepare(
    model: str, typed: str, again: Sequence[str] = AGAIN, *, stop: threading.Event | None = None
) -> Generator[tuple[int, int, str], None, Costs]:
    """Merge the adapter of that name or folder twice, into the original weights and into those that it was trained on,
    and name the columns that show what each way costs.

    The merged folders lie within the adapter's own, and are made anew where it or the model has changed. Gives progress
    as (done, total, what). Raises as `merge` does.
    """
    if not again:
        raise BadInput(
            "No precision was named to quantize merged weights to.", f"Name some, such as {', '.join(AGAIN)}."
        )
    stop = stop or threading.Event()
    adapter = adapters.found(typed)
    base = trained_on(adapter)
    whole = yield from _kept(model, adapter, ORIGINAL, "bfloat16", stop)
    columns = [f"{base}{adapters.PLUS}{adapter.folder}"]
    if base != ORIGINAL:
        columns.append(f"{ORIGINAL}{adapters.PLUS}{adapter.folder}")
    columns += [f"{whole}{SEPARATOR}{name}" for name in dict.fromkeys((*again, base))]
    if base in READ and base not in ("fp32", "bf16", "fp16"):
        few = yield from _kept(model, adapter, base, "bfloat16", stop)
        columns += [f"{few}{SEPARATOR}{name}" for name in ("bf16", base)]
    return Costs(tuple(columns))


def _kept(
    model: str, adapter: Adapter, onto: str, dtype: str, stop: threading.Event
) -> Generator[tuple[int, int, str], None, Path]:
    """The folder of the merged weights, made where it is not there yet."""
    found = yield from in_background(lambda progress: models.resolve_main(model, app_settings(), progress), stop)
    state = digest([found.identity, adapter.identity, onto, dtype])[:12]
    short = adapter.name if onto == ORIGINAL else f"{adapter.name}-{onto}"
    folder = adapter.folder / _MERGED / state / f"{short}-{_MERGED}"
    if not folder.is_dir():
        for left in (adapter.folder / _MERGED).glob(f"*/{folder.name}"):  # of another state of the files
            shutil.rmtree(left.parent, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield from merge(model, str(adapter.folder), folder, onto, dtype, stop=stop)
    return folder
