"""From what was asked to models in memory: what a comparison and a quality run have in common."""

import logging
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from quantlab import models
from quantlab.checkpoints.load import load_variant
from quantlab.errors import BadInput, Broken, QuantlabError, Stopped, Unavailable, is_exit
from quantlab.methods import method_of, precisions
from quantlab.methods.published import is_published, labels
from quantlab.records import Model, Progress
from quantlab.records.events import Loaded, Loading
from quantlab.runs import estimates
from quantlab.runs.generate import Ready, tokenizer_notes, warm_up
from quantlab.runs.plan import Entrant, Plan, enter, refusal
from quantlab.runtime.background import forward, in_background
from quantlab.runtime.kv_cache import with_kv_cache
from quantlab.runtime.session import LoadedModel
from quantlab.runtime.torch_session import translate_out_of_memory
from quantlab.runtime.variant_cache import VariantCache
from quantlab.settings import app_settings

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Said once, under the reference.
NO_CHAT = "The model has no chat template: it goes on writing the prompt as plain text, as with the raw prompt"


def find_entrants(
    model: str | Model, asked: Sequence[str], stop: threading.Event
) -> Generator[Loading, None, tuple[Model, tuple[Entrant, ...]]]:
    """Find the model and the columns that were asked for; yields `Loading` with an empty precision meanwhile.

    Raises BadInput or ModelError where there is nothing to run.
    """
    names = _columns(asked)
    app = app_settings()

    def fetch(progress: Progress) -> tuple[Model, tuple[Entrant, ...]]:
        found = models.resolve_main(model, app, progress) if isinstance(model, str) else models.identified(model)
        return found, tuple(enter(found, name, spec, app, progress) for spec, name in names.items())

    return (yield from forward(in_background(fetch, stop), lambda step: Loading("", *step)))


def _columns(asked: Sequence[str]) -> dict[str, str]:
    """What was asked for, in order, with the name of its column. Raises BadInput before anything is fetched."""
    precisions([name for name in asked if not is_published(name)], also=len(asked))
    repeated = sorted({name for name in asked if list(asked).count(name) > 1})
    if repeated:
        raise BadInput(f"Chosen more than once: {', '.join(repeated)}.", "Name each once.")
    return labels(asked)


@dataclass(frozen=True)
class VariantLoader:
    """Brings the columns of a plan into memory, one at a time."""

    plan: Plan
    stop: threading.Event
    variants: VariantCache

    @property
    def device(self) -> str:
        return self.plan.placement.device

    def ready(self, entrant: Entrant, leases: ExitStack) -> Generator[Loading | Loaded, None, Ready]:
        """Load and warm up a column; `leases` pins it. Raises what keeps it from running."""
        if entrant.failure is not None:
            raise entrant.failure
        if entrant.server is not None:
            raise Unavailable(
                f"{entrant.name} is served: it tells too little for its quality to be measured.",
                "Compare it over a prompt instead.",
            )
        reason = refusal(entrant, self.device)
        if reason is not None:
            raise Unavailable(f"{entrant.name} cannot run here: it {reason}.")
        if self.stop.is_set():
            raise Stopped
        yield Loading(entrant.name, 0, 0, "")
        method_of(entrant.precision).prepare()

        def job(progress: Progress) -> Ready:
            lease = leases.enter_context(self.variants.lease(self.plan.variant(entrant), progress))
            notes = self._tokenizer_notes(entrant, lease.loaded)
            loaded = with_kv_cache(lease.loaded, entrant.precision.kv_cache)
            return warm_up(entrant.name, lease, loaded, self.plan.prompt_input, notes)

        ready = yield from forward(in_background(job, self.stop), lambda step: Loading(entrant.name, *step))
        yield Loaded(entrant.name, ready.load)
        return ready

    def check_unchanged(self, entrant: Entrant, ready: Ready) -> None:
        """Raises ModelError where a column read its files while it ran, and they changed meanwhile.

        So do a mapped file (GGUF on a CPU) and layers that are left on the disk; all others have memory of their own,
        and what is kept is read from a place of its own.
        """
        reads = ready.load.mapped_bytes or "disk" in ready.load.device_map.values()
        if reads and not method_of(entrant.precision).kept:
            models.check_unchanged(entrant.model)

    def _tokenizer_notes(self, entrant: Entrant, loaded: LoadedModel) -> tuple[str, ...]:
        """That the model knows no chat; what a checkpoint's own tokenizer does otherwise.

        Raises ModelError where its tokens mean other texts.
        """
        if entrant.model is self.plan.model:
            asked = self.plan.prompt_input
            chat = asked.settings.raw or asked.tokenizer.chat_template
            return () if chat or entrant.name != self.plan.reference.name else (NO_CHAT,)
        return tokenizer_notes(entrant.model, loaded, self.plan.prompt_input)


@contextmanager
def column_errors(precision: str) -> Iterator[None]:
    """Turn whatever goes wrong with one variant into an error that its column can show; a defect is logged whole."""
    try:
        with translate_out_of_memory():
            yield
    except QuantlabError:
        raise
    except BaseException as error:
        if is_exit(error):
            raise
        log.exception("%s broke", precision)
        raise Broken(
            f"{precision} broke: {type(error).__name__}.", "A defect, not your doing; the log has its traceback."
        ) from error


@cache
def variant_cache() -> VariantCache:
    """The cache that this process shares between all visitors."""
    return fresh_cache()


def fresh_cache() -> VariantCache:
    """An empty cache, for work that must load what it measures. Whoever makes one drops what it holds."""
    return VariantCache(load_variant, estimates.estimated_bytes, estimates.budget, estimates.needs)
