"""What the rules judge by: plans, quality runs, first answers, trainings, and what programs did when they were run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from quantlab.records import Finetuned, Plan, Quality, QualityRun, Run

#: The shapes that "a 7B model" and "a 70B model" are read as.
SEVEN, SEVENTY = "shape:Mistral-7B-v0.3", "shape:Llama-2-70B"
#: The 16 bits that speeds are held against, and the reference of all distances.
SIXTEEN, REFERENCE = "bf16", "fp32"


@dataclass(frozen=True)
class Trial:
    """What a few lines of code did when they were run: `error` is how they ended, empty where they went through.

    `kld` is how far what they computed lies from the same in float32, in nats, where they computed logits.
    """

    code: str
    error: str = ""
    kld: float | None = None


@dataclass(frozen=True)
class Training:
    """A real training of a few steps beside what the planner says of the same.

    `trainable` and `parameters` are counted, `memory` is bytes by part at the last step, as `TrainingStep` has them.
    """

    model: str
    steps: int
    trainable: int
    parameters: int
    memory: Mapping[str, int]
    planned: Finetuned


@dataclass(frozen=True)
class Merges:
    """An adapter that was trained on `base` for `steps`, and what became of it in merged weights.

    `trained` is the adapter beside its base, the reference of the others. `original` is merged into the original
    weights in bf16, `kept` into what the base keeps of them, in bf16 too; `..._again` is that quantized to the base's
    precision. `task` asks for what was taught.
    """

    model: str
    base: str
    steps: int
    task: str
    trained: QualityRun
    original: QualityRun
    original_again: QualityRun
    kept: QualityRun
    kept_again: QualityRun


@dataclass(frozen=True)
class Evidence:
    """All that was found out. What is None or missing was not, and `missing` says why, by the field's name.

    `plans` by the model, `codes` are bucket numbers by the way of rounding, `trials` by what was tried, `first` are
    answers, each right after a load of its own, `training` and `merges` are of the bundled model, whichever is tested
    otherwise. `devices` counts those that a model could be spread over.
    """

    plans: Mapping[str, Plan] = field(default_factory=dict)
    quality: Quality | None = None
    first: tuple[Run, ...] = ()
    codes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    trials: Mapping[str, Trial] = field(default_factory=dict)
    training: Training | None = None
    merges: Merges | None = None
    devices: int = 1
    missing: Mapping[str, str] = field(default_factory=dict)

    def run(self, precision: str) -> QualityRun | None:
        """The finished run of a precision, None where there is none."""
        if self.quality is None:
            return None
        found = next((run for run in self.quality.runs if run.precision == precision), None)
        return None if found is None or found.error is not None or found.stopped else found

    def why_no_run(self, *precisions: str) -> str:
        """Why the first of these precisions that has no finished run has none; empty where all have."""
        if self.quality is None:
            return self.missing.get("quality", "no model was measured")
        for name in precisions:
            if self.run(name) is None:
                found = next((run for run in self.quality.runs if run.precision == name), None)
                why = "was not measured" if found is None else found.error or "was stopped"
                return f"{name}: {why}"
        return ""
