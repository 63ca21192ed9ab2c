"""From a sweep to its jobs: what the history keeps as one entry, each with its cells."""

from collections.abc import Iterator
from dataclasses import dataclass

from quantlab.fidelity import texts
from quantlab.methods.published import labels
from quantlab.records import ComparisonRequest, Placement, QualityRequest, QualitySettings, Settings, Text
from quantlab.records.swept import Place, SweepAsked


@dataclass(frozen=True)
class Job:
    """One model at all precisions over one text, or after one prompt: its precisions share the reference."""

    request: QualityRequest | ComparisonRequest

    @property
    def places(self) -> tuple[Place, ...]:
        """Its cells, under the names of their columns."""
        asked, names = self.request, labels(self.request.precisions).values()
        if isinstance(asked, QualityRequest):
            return tuple(Place(asked.model, name, "text", asked.text.name) for name in names)
        return tuple(Place(asked.model, name, "prompt", asked.prompt) for name in names)


def jobs(asked: SweepAsked) -> tuple[Job, ...]:
    """All jobs, those of a model one after the other, so that what is loaded for one serves the next.

    Tasks do not depend on the text: they are answered with the first one alone.
    """
    read = tuple(texts.text(name) for name in asked.texts)
    return tuple(Job(request) for model in asked.models for request in _requests(asked, model, read))


def _requests(asked: SweepAsked, model: str, read: tuple[Text, ...]) -> Iterator[QualityRequest | ComparisonRequest]:
    placement = Placement(asked.device)
    for at, text in enumerate(read):
        how = QualitySettings(
            windows=asked.windows,
            tasks=asked.tasks if at == 0 else (),
            layers=asked.layers,
            noise_floor=asked.noise_floor,
            reference=asked.reference,
            placement=placement,
        )
        yield QualityRequest(model, asked.precisions, text, how)
    for prompt in asked.prompts:
        settings = Settings(max_new_tokens=asked.max_new_tokens, reference=asked.reference, placement=placement)
        yield ComparisonRequest(model, asked.precisions, prompt, settings)
