"""A Trainer that tells each step. Imports transformers, so it is imported where something is trained."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainerCallback, TrainingArguments

from quantlab.errors import Diverged
from quantlab.finetune.tokens import TokenRow
from quantlab.measure.memory import PeakMemory
from quantlab.records import Progress
from quantlab.records.finetuning import FinetuneSettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

#: What PEFT and torch ignore in labels.
_IGNORED = -100
#: How often a step is looked at while it goes on, in seconds; and how much more than before it must take to be told.
_LOOK_S, _MORE = 0.1, 1.05
Tell = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Task:
    """What is trained on, and what is looked at meanwhile. `pad` is the token behind the end of short rows."""

    learnt: Sequence[TokenRow]
    held_out: Sequence[TokenRow]
    asked: FinetuneSettings
    pad: int


class TellingTrainer(Trainer):
    """Tells a `step` for each step, and `held_out` for each look at the rows that are not trained on."""

    def __init__(
        self,
        network: "PeftModel | PreTrainedModel",
        arguments: TrainingArguments,
        task: Task,
        tell: Tell,
        progress: Progress,
    ) -> None:
        super().__init__(
            network, arguments, data_collator=partial(collate, pad=task.pad), train_dataset=list(task.learnt)
        )
        self.task, self.tell, self.told = task, tell, progress
        self.batch_tokens = self.gradient_bytes = self.peak_bytes = self.longest = 0
        #: The most activations that were told while a step went on.
        self.most = 0
        self.add_callback(_Telling(self))

    def training_step(self, model: Any, inputs: dict[str, torch.Tensor], *rest: Any, **kept: Any) -> torch.Tensor:
        self.batch_tokens, self.longest = int(inputs["attention_mask"].sum()), inputs["input_ids"].shape[1]
        device, held = str(next(model.parameters()).device), sum(self._parts().values())
        with PeakMemory(device if ":" in device or device == "cpu" else f"{device}:0", held) as peak:
            try:
                with self._told_meanwhile(peak):
                    return super().training_step(model, inputs, *rest, **kept)
            finally:  # also where memory ran out: so far it got
                self._take(peak)

    def _take(self, peak: PeakMemory) -> None:
        self.peak_bytes = peak.result().bytes or 0
        self.gradient_bytes = sum(it.grad.nbytes for it in self.model.parameters() if it.grad is not None)

    @contextmanager
    def _told_meanwhile(self, peak: PeakMemory) -> Iterator[None]:
        """Tell what a step takes on a CPU whenever that is more than ever before: the system kills a process that takes
        too much without a word."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(_LOOK_S):
                self._take(peak)
                if (taken := self.memory())["activations"] > _MORE * self.most:
                    self.most = taken["activations"]
                    self.tell("memory", {"memory": taken})

        thread = threading.Thread(target=watch, name="quantlab-peak", daemon=True)
        if self.args.use_cpu:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if self.args.use_cpu:
                thread.join()

    def look(self, step: int) -> None:
        """The loss of the rows held out, as an event."""
        if self.task.held_out:
            loss = held_out_loss(self.model, self.task.held_out, self.task.asked.batch, self.task.pad)
            self.tell("held_out", {"step": step, "loss": loss})

    def memory(self) -> dict[str, int]:
        """Bytes by part. What is there is counted tensor by tensor, all but adapters being the base;
        `activations` are what the last step took on top of it at its peak."""
        counted = self._parts() | {"gradients": self.gradient_bytes}
        return counted | {"activations": max(0, self.peak_bytes - sum(counted.values()))}

    def _parts(self) -> dict[str, int]:
        network = self.model
        adapters = self.task.asked.method == "lora"
        trained = sum(it.nbytes for it in network.parameters() if it.requires_grad) if adapters else 0
        every = sum(it.nbytes for it in (*network.parameters(), *network.buffers()))
        states = self.optimizer.state.values() if self.optimizer is not None else ()
        optimizer = sum(it.nbytes for state in states for it in state.values() if isinstance(it, torch.Tensor))
        return {
            "base": every - trained, "adapters": trained, "gradients": 0, "optimizer": optimizer,
        }  # fmt: skip


class _Telling(TrainerCallback):
    """What the Trainer logs, as events; a loss that is no number ends the training."""

    def __init__(self, trainer: TellingTrainer) -> None:
        self._trainer = trainer
        self._begun = time.perf_counter()

    def on_step_begin(self, _arguments: Any, _state: Any, _control: Any, **_kept: Any) -> None:
        self._begun = time.perf_counter()

    def on_log(self, arguments: Any, state: Any, _control: Any, logs: Any = None, **_kept: Any) -> None:
        if "loss" not in (logs or {}):
            return
        trainer, step, steps = self._trainer, state.global_step, state.max_steps
        check_finite(step, float(logs["loss"]), logs.get("grad_norm"), trainer.task.asked.learning_rate)
        told = {
            "step": step, "steps": steps, "loss": float(logs["loss"]), "learning_rate": float(logs["learning_rate"]),
            "seconds": time.perf_counter() - self._begun, "tokens": trainer.batch_tokens, "memory": trainer.memory(),
            "longest": trainer.longest,
        }  # fmt: skip
        trainer.tell("step", told)
        trainer.told(step, steps, "training")
        if step % arguments.save_steps == 0 or step == steps:
            trainer.look(step)


def collate(rows: Sequence[TokenRow], pad: int) -> dict[str, torch.Tensor]:
    """A batch `[rows, longest]`, padded at its end; labels of what is not learnt are ignored."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), _IGNORED)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for at, row in enumerate(rows):
        count = len(row.ids)
        ids[at, :count] = torch.tensor(row.ids)
        mask[at, :count] = 1
        labels[at, :count] = torch.where(torch.tensor(row.trained), ids[at, :count], _IGNORED)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def held_out_loss(network: torch.nn.Module, rows: Sequence[TokenRow], batch: int, pad: int) -> float:
    """The mean over all learnt tokens of the rows, in nats: long rows count for more, as they do in a perplexity."""
    was_training = network.training
    network.eval()
    total, count = 0.0, 0
    device = next(network.parameters()).device
    with torch.inference_mode():
        for at in range(0, len(rows), batch):
            made = {name: it.to(device) for name, it in collate(rows[at : at + batch], pad).items()}
            labels = made.pop("labels")[:, 1:]
            logits = network(**made).logits[:, :-1].float()
            total += cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED, reduction="sum"
            ).item()
            count += int((labels != _IGNORED).sum())
    network.train(was_training)
    return total / count


def check_finite(step: int, loss: float, gradient: float | None, learning_rate: float) -> None:
    """Raises Diverged where a training has run away: nothing is learnt from numbers that are none."""
    if not math.isfinite(loss) or (gradient is not None and not math.isfinite(float(gradient))):
        raise Diverged(
            f"The loss of step {step} is no number: the training ran away.",
            f"Lower the learning rate (it is {learning_rate:g}), and choose another name.",
        )
