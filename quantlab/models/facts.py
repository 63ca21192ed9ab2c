"""What is known of a model before it loads, and what a name means while nobody has asked the Hub."""

import math

from quantlab.errors import QuantlabError
from quantlab.models import architecture, source
from quantlab.records import Checkpoint, ModelFacts
from quantlab.settings import AppSettings


def parameters(checkpoint: Checkpoint) -> int | None:
    """The number of weights; None where packed tensors hide it."""
    packed = checkpoint.stored_as not in (None, "gguf")
    return None if packed else sum(math.prod(it.shape) for it in checkpoint.tensors.values())


def kind_alone(name: str, app: AppSettings) -> ModelFacts:
    """What a name means by a look at this disk, without a network; in public by the list of allowed models alone."""
    try:
        found = source.parse(name.partition(source.SEPARATOR)[0], app)
    except QuantlabError:
        return ModelFacts()
    return ModelFacts("gguf" if found.gguf is not None else found.kind)


def facts(name: str, checkpoint: Checkpoint, app: AppSettings) -> ModelFacts:
    """What the description of a model tells, which was read by `peek_main`. Of a GGUF file, what is in the file."""
    kind, stored = kind_alone(name, app).kind, checkpoint.file or checkpoint
    if kind == "folder" and checkpoint.file is not None:  # the one file in it
        kind = "gguf"
    names = checkpoint.config.get("architectures")
    listed = [str(it) for it in names] if isinstance(names, list) else []
    return ModelFacts(
        kind,
        (listed or [str(checkpoint.config.get("model_type") or "")])[0],
        parameters(stored),
        architecture.layer_count(checkpoint.config),
        architecture.context_length(checkpoint.config),
        None if kind == "shape" else stored.nbytes,
        stored.stored_as,
    )
