"""From a variant to a loaded model, over the checkpoint on disk where its method keeps one."""

from dataclasses import replace
from functools import cache

from quantlab import models
from quantlab.checkpoints.store import CachedCheckpoint, CheckpointStore
from quantlab.errors import ModelError, Unavailable
from quantlab.methods import adapters, method_of, without_adapter
from quantlab.methods.adapted import attach
from quantlab.methods.dequantized import DEQUANTIZED
from quantlab.methods.dequantized import PRECISION as DEQUANTIZED_PRECISION
from quantlab.methods.gguf import NAME as GGUF_NAME
from quantlab.methods.promise import promised
from quantlab.records import LoadOrigin, Model, Progress, Variant
from quantlab.runtime.variant_cache import LoadResult
from quantlab.settings import app_settings


@cache
def checkpoint_store() -> CheckpointStore:
    """The kept checkpoints of this user, where the settings say."""
    app = app_settings()
    return CheckpointStore(app.cache_folder.expanduser().absolute(), app.cache_bytes)


def load_variant(variant: Variant, progress: Progress, store: CheckpointStore | None = None) -> LoadResult:
    """Load a variant, quantizing it first where that is done once and kept. Raises what its method raises.

    Raises ModelError too where the model's files change before they are read to the end.
    """
    method = method_of(variant.precision)
    store = store or checkpoint_store()
    variant = with_weights(variant, store, progress)
    # An adapter is no part of what is quantized and kept.
    weights = replace(variant, precision=without_adapter(variant.precision))
    if not method.kept:
        models.check_unchanged(variant.model)
        brought = _load(variant, variant.model, method.origin, progress)
        try:
            models.check_unchanged(variant.model)
        except ModelError:
            brought.loaded.close()
            raise
        return brought
    kept = store.get(weights, progress)
    try:
        brought = _load(variant, kept_model(variant.model, kept), "disk", progress)
    except ModelError:
        if kept.built_now:
            raise
        # What was whole once has been damaged since; the original is still there.
        store.remove(kept.folder.name)
        kept = store.get(weights, progress)
        brought = _load(variant, kept_model(variant.model, kept), "disk", progress)
    return replace(brought, origin="built" if kept.built_now else "disk", build_s=kept.build_s)


def with_weights(variant: Variant, store: CheckpointStore, progress: Progress) -> Variant:
    """The same variant; where its model is a GGUF file whose weights its method must find in a folder, with them there.

    Raises Unavailable, ModelError, OutOfMemory or Stopped.
    """
    model = variant.model
    if model.origin is None or not models.is_description(model.folder) or not _needs_weights(variant):
        return variant
    if (reason := DEQUANTIZED.unavailable(variant.placement.device)) is not None:
        raise Unavailable(f"{variant.precision.name} cannot run here: it {reason}.")
    kept = store.get(Variant(model, DEQUANTIZED_PRECISION, variant.placement), progress)
    return replace(variant, model=replace(model, folder=kept.folder))


def _needs_weights(variant: Variant) -> bool:
    return not method_of(variant.precision).reads_gguf or variant.calibration is not None


def _load(variant: Variant, model: Model, origin: LoadOrigin, progress: Progress) -> LoadResult:
    """Load `model`, and hold what is there against what was promised. Raises ModelError where it cannot be measured."""
    method = method_of(variant.precision)
    loaded = method.load(model, variant.precision, variant.placement, progress)
    adapter = variant.precision.adapter
    try:
        notes: tuple[str, ...] = ()
        if adapter is not None:
            attach(loaded, adapter)
            notes = adapters.notes(adapter, variant.model, without_adapter(variant.precision).name)
        stored = loaded.storage()
        notes += promised(loaded, stored, method, variant, model)
    except BaseException:
        loaded.close()
        raise
    loaded.facts = replace(loaded.facts, notes=loaded.facts.notes + notes)
    return LoadResult(loaded, origin, stored=stored)


def kept_model(model: Model, kept: CachedCheckpoint) -> Model:
    """The checkpoint on disk as a model, under the name of the one that it was made of."""
    gguf = kept.folder / GGUF_NAME
    return replace(model, folder=kept.folder, gguf=gguf if gguf.is_file() else None)
