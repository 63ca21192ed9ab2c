"""What methods share that load with transformers and quantize, if they do, on the way."""

from pathlib import Path
from typing import Any

from quantlab import models
from quantlab.methods.base import Method
from quantlab.records import Progress, Variant, silent
from quantlab.records.asked import P
from quantlab.runtime.kv_cache import HQQ_BITS


class TransformersMethod(Method[P]):
    """A method over `from_pretrained`. Subclasses load; what they have loaded can be saved as it is."""

    kv_caches = tuple(HQQ_BITS)

    def prepare(self) -> None:
        from quantlab.methods import transformers_loading

        transformers_loading.prepare()

    def save(self, variant: Variant[P], folder: Path, progress: Progress) -> None:
        """Load a variant and write it, with its tokenizer, as a checkpoint that transformers loads."""
        from quantlab.models.quiet import watching

        loaded = self.load(variant.model, variant.precision, variant.placement, progress)
        network: Any = loaded.network
        try:
            with watching(silent):
                network.save_pretrained(folder)
        finally:
            loaded.close()
        models.copy_tokenizer(variant.model, folder)
