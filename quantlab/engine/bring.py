"""From a variant to a loaded model, over the checkpoint on disk where its method keeps one."""

from dataclasses import replace
from functools import cache

from quantlab import models
from quantlab.engine.cache import Brought
from quantlab.engine.disk import CheckpointStore, Kept
from quantlab.errors import ModelError
from quantlab.methods import method_of
from quantlab.methods.gguf import NAME as GGUF_NAME
from quantlab.records import Model, Progress, Variant
from quantlab.runtime.session import LoadedModel
from quantlab.settings import app_settings


@cache
def checkpoint_store() -> CheckpointStore:
    """The kept checkpoints of this user, where the settings say."""
    app = app_settings()
    return CheckpointStore(app.cache_folder.expanduser().absolute(), app.cache_bytes)


def bring(variant: Variant, progress: Progress, store: CheckpointStore | None = None) -> Brought:
    """Load a variant, quantizing it first where that is done once and kept. Raises what its method raises.

    Raises ModelError too where the model's files change before they are read to the end.
    """
    method = method_of(variant.precision)
    if not method.kept:
        models.check_unchanged(variant.model)
        loaded = method.load(variant.model, variant.precision, variant.placement, progress)
        try:
            models.check_unchanged(variant.model)
        except ModelError:
            loaded.close()
            raise
        return Brought(loaded, method.origin)
    store = store or checkpoint_store()
    kept = store.get(variant, progress)
    try:
        loaded = _load(variant, kept, progress)
    except ModelError:
        if kept.built_now:
            raise
        # What was whole once has been damaged since; the original is still there.
        store.remove(kept.folder.name)
        kept = store.get(variant, progress)
        loaded = _load(variant, kept, progress)
    return Brought(loaded, "built" if kept.built_now else "disk", kept.build_s)


def _load(variant: Variant, kept: Kept, progress: Progress) -> LoadedModel:
    model = kept_model(variant.model, kept)
    return method_of(variant.precision).load(model, variant.precision, variant.placement, progress)


def kept_model(model: Model, kept: Kept) -> Model:
    """The checkpoint on disk as a model, under the name of the one that it was made of."""
    gguf = kept.folder / GGUF_NAME
    return replace(model, folder=kept.folder, gguf=gguf if gguf.is_file() else None)
