"""What other programs take for the model of a record: an id on the Hub, a folder, or a GGUF file."""

from dataclasses import dataclass
from pathlib import PurePath

from quantlab import models
from quantlab.errors import QuantlabError
from quantlab.export import codec
from quantlab.models.architecture import context_length
from quantlab.models.smollm2 import NAME, REPO
from quantlab.models.source import SEPARATOR
from quantlab.records import OLLAMA, Model


@dataclass(frozen=True)
class Source:
    """`name` is what `from_pretrained` takes, with `revision`; `short` names it where a folder is named after it."""

    name: str
    revision: str | None
    short: str


def of_ollama(model: Model) -> bool:
    """Whether it is a model in the store of Ollama."""
    return model.kind == "gguf" and model.name.lower().startswith(OLLAMA)


def source(model: Model, private: bool = False) -> Source:
    """`private` keeps from it where a folder lies: of its path the last name stays."""
    if model.kind == "hub":
        name = REPO if model.name == NAME else model.name
        return Source(name, model.revision, name.rpartition("/")[2])
    if model.kind == "gguf":
        typed = typed_name(model, private)
        return Source(typed, None, PurePath(codec.last_name(typed[len(OLLAMA) :] if of_ollama(model) else typed)).stem)
    folder = model.folder or model.name
    short = codec.last_name(str(folder))
    return Source(f"./{short}" if private else str(folder), None, short)


def typed_name(model: Model, private: bool = False) -> str:
    """The model as quantlab is told it: one of the Hub at its revision; `private` as in `source`."""
    if model.kind == "gguf" and model.revision:
        name, separator, pick = model.name.partition(SEPARATOR)
        return f"{name.partition('@')[0]}@{model.revision}{separator}{pick}"
    if model.kind == "gguf":
        return f"./{codec.last_name(model.name)}" if private and model.named_by_path else model.name
    if model.kind == "folder":
        return source(model, private).name
    by_id = model.kind == "hub" and "/" in model.name
    return f"{model.name}@{model.revision}" if by_id and model.revision else model.name


def context(model: Model) -> int | None:
    """Tokens that the model was made for, as its configuration says; None where it lies nowhere, or does not say."""
    if model.folder is None and model.gguf is None:
        return None
    try:
        return context_length(models.config(model))
    except QuantlabError:
        return None
