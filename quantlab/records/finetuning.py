"""Fine-tuning: what is asked, each step of it, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TrainingMethod = Literal["lora", "full"]
#: What adapters begin with, by peft's names.
InitLoraWeights = Literal["default", "loftq", "pissa"]


@dataclass(frozen=True)
class FinetuneSettings:
    """How adapters are trained (LoRA: Hu et al. 2021, arXiv:2106.09685) on a frozen base of `precision`, or, with
    `method` full, all weights in that precision; what is said of adapters then says nothing.

    `targets` are names of linear layers, or ("all-linear",). A step reads `batch` rows of at most `context` tokens.
    The learning rate rises over the first `warmup` of the steps and then falls linearly to zero. `held_out` is the
    share of the rows that is not trained on. `raw` leaves the chat template out. `rslora` scales by the root of the
    rank (arXiv:2312.03732), `dora` trains a magnitude beside (arXiv:2402.09353). `init_lora_weights` is what the
    adapters begin with: nothing, what quantizing lost, or the largest part of the weights (`finetune.starting`).
    """

    precision: str = "nf4-dq"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    steps: int = 200
    batch: int = 4
    context: int = 256
    learning_rate: float = 2e-4
    warmup: float = 0.03
    held_out: float = 0.1
    seed: int = 0
    raw: bool = False
    rslora: bool = False
    dora: bool = False
    init_lora_weights: InitLoraWeights = "default"
    method: TrainingMethod = "lora"


@dataclass(frozen=True)
class TrainingData:
    """What was read of a data file: rows trained on and held out, their tokens, those that a loss is taken of, how
    many rows were cut to the context, how many more were left out because nothing to learn stands within it, and the
    tokens of the longest row as it is trained."""

    name: str
    rows: int
    held_out: int
    tokens: int
    trained_tokens: int
    cut: int
    left_out: int = 0
    longest: int = 0


def shortened(data: TrainingData) -> tuple[str, ...]:
    """What the context was too short for, in words; nothing where it held all rows."""
    said = []
    if data.cut:
        said.append(f"{data.cut:,} longer than the context, cut at {'its' if data.cut == 1 else 'their'} end")
    if data.left_out:
        said.append(f"{data.left_out:,} left out, with nothing to learn within the context")
    return tuple(said)


@dataclass(frozen=True)
class PreviewToken:
    """One token of a row as it is trained: its text, and whether the model is to learn to write it."""

    text: str
    trained: bool


@dataclass(frozen=True)
class TrainingPreparing:
    """What is done before the first step, such as fetching the model, quantizing its base or loading it: `done` of
    `total` (total 0 while unknown). Told again while it goes on."""

    done: int
    total: int
    what: str


@dataclass(frozen=True)
class TrainingStarted:
    """What is trained: parameters that change, and all of the model."""

    data: TrainingData
    trainable: int
    parameters: int


@dataclass(frozen=True)
class TrainingStep:
    """One step done. `loss` is the mean over the step's tokens in nats, `held_out_loss` over the rows that are not
    trained on (None: not measured at this step). `seconds` is the time of this step alone, `memory` bytes by part.
    `longest` is the row to whose length the others of the step were padded, in tokens."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float
    tokens: int
    held_out_loss: float | None = None
    memory: Mapping[str, int] | None = None
    longest: int = 0


@dataclass(frozen=True)
class Trained:
    """What came of it: a folder that peft loads, or, with `method` full, transformers. `stopped`: before all steps; the
    weights are those of the last checkpoint. `nbytes` is their size on disk."""

    folder: Path
    base: str
    precision: str
    steps: int
    loss: float | None
    held_out_before: float | None
    held_out_after: float | None
    nbytes: int
    stopped: bool = False
    method: TrainingMethod = "lora"


@dataclass(frozen=True)
class Merged:
    """An adapter in the weights: a folder that transformers loads. `onto` is the precision whose weights it was added
    to, `dtype` the type in which the sum is written."""

    folder: Path
    onto: str
    dtype: str
    nbytes: int


TrainingEvent = TrainingPreparing | TrainingStarted | TrainingStep | Trained
