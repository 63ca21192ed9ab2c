"""The pitfalls of quantized models, each looked for on this machine and, where one is named, in a model."""

from collections.abc import Iterator

from quantlab import models
from quantlab.models import source
from quantlab.records import Model
from quantlab.records.pitfalls import UNSEEN, Pitfall
from quantlab.settings import AppSettings
from quantlab.teach.pitfalls import of_machine, of_model


def diagnose(model: str | None, device: str, app: AppSettings) -> tuple[Pitfall, ...]:
    """Every pitfall, with what was seen of it on `device` and of `model`. No weights are loaded, and none fetched.

    Raises BadInput or ModelError for a device or a model that cannot be had.
    """
    return (*of_machine.pitfalls(device, app), *_of(model, app))


def _of(name: str | None, app: AppSettings) -> Iterator[Pitfall]:
    if name is None:
        for each, effect in of_model.EFFECTS.items():
            yield Pitfall(each, UNSEEN, effect, "No model was named.", "Name one: quantlab doctor --model NAME.")
        return
    checkpoint = models.peek_main(name, app)
    yield of_model.range_of_float16(checkpoint)
    yield of_model.fallen_back(checkpoint)
    yield of_model.begin_of_text(_local(name, app))
    yield of_model.space(checkpoint, app)


def _local(name: str, app: AppSettings) -> Model | None:
    """The model, None where it is one of the Hub: its tokenizer is not fetched for this."""
    base = name.partition(models.SEPARATOR)[0]
    return None if source.parse(base, app).kind == "hub" else models.resolve_main(name, app)
