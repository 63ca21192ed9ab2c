"""Train adapters with peft and transformers. Runs in a process of its own (`quantlab.runtime.worker`).

What it tells stands in `events.jsonl` of the output folder, a line for each event: whoever follows reads it from there,
and what was told is still there after a crash. Checkpoints of the Trainer lie in `checkpoints`; a second call with the
same folder goes on from the last one with the same random numbers.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch.nn.functional import cross_entropy

from quantlab.errors import BadInput, ModelError
from quantlab.finetune import data
from quantlab.finetune.job import CHECKPOINTS, EVENTS
from quantlab.finetune.tokens import TokenRow, token_rows
from quantlab.methods import method_of, precision
from quantlab.models.quiet import import_transformers
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Model, Progress, ResolvedPlacement
from quantlab.records.finetuning import FinetuneSettings

if TYPE_CHECKING:
    from peft import PeftModel

#: What PEFT and torch ignore in labels.
_IGNORED = -100
#: So many checkpoints and measurements of the held-out rows there are in a training.
_PARTS = 10


def train(
    progress: Progress,
    model: dict[str, Any],
    file: str,
    folder: str,
    settings: dict[str, Any],
    placement: dict[str, Any],
    resumed: str | None,
) -> None:
    """Train on `file` and write the adapter into `folder`, from the checkpoint `resumed` on if there is one.

    Raises BadInput, ModelError or OutOfMemory.
    """
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1))
    asked = FinetuneSettings(**{**settings, "targets": tuple(settings["targets"])})
    source = Model(model["name"], model["kind"], Path(model["folder"]))
    progress(0, asked.steps, "reading the rows")
    tokenizer = load_tokenizer(source)
    read = data.rows(Path(file))
    rows = token_rows(tokenizer, read, asked.context, asked.raw, source.name)
    learnt, held_out = _parted(rows, asked)
    progress(0, asked.steps, f"loading {asked.precision}")
    network = _adapted(_base(source, asked, ResolvedPlacement(**placement), progress), asked, source.name)
    events = _Events(Path(folder, EVENTS))
    trainable, parameters = _parameters(network)
    told = {
        "data": {
            "name": Path(file).name, "rows": len(learnt), "held_out": len(held_out),
            "tokens": sum(len(row.ids) for row in learnt),
            "trained_tokens": sum(sum(row.trained[1:]) for row in learnt), "cut": sum(row.cut for row in rows),
        },
        "trainable": trainable, "parameters": parameters,
    }  # fmt: skip
    trainer = _trainer(network, learnt, held_out, asked, Path(folder), events, progress, tokenizer.pad_token_id or 0)
    if resumed is None:
        events.tell("started", told)
        trainer.look(0)
    trainer.train(resume_from_checkpoint=resumed)
    network.save_pretrained(folder)
    shutil.rmtree(Path(folder, CHECKPOINTS), ignore_errors=True)
    progress(asked.steps, asked.steps, "the adapter is written")


def _parted(rows: Sequence[TokenRow], asked: FinetuneSettings) -> tuple[list[TokenRow], list[TokenRow]]:
    """Rows to train on, and those held out: at least one of each, drawn by the seed."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(asked.seed)).tolist()
    count = min(len(rows) - 1, max(1, round(asked.held_out * len(rows)))) if asked.held_out else 0
    if len(rows) < 2:
        raise BadInput(f"Only {len(rows)} row has something to learn.", "Give more rows, or raise the context.")
    return [rows[at] for at in sorted(order[count:])], [rows[at] for at in sorted(order[:count])]


def _base(source: Model, asked: FinetuneSettings, placement: ResolvedPlacement, progress: Progress) -> torch.nn.Module:
    chosen = precision(asked.precision)
    method = method_of(chosen)
    method.prepare()
    loaded = method.load(source, chosen, placement, lambda done, total, what: progress(0, asked.steps, what))
    return loaded.network


def _adapted(network: torch.nn.Module, asked: FinetuneSettings, name: str) -> "PeftModel":
    """The base with adapters, trained ones in float32. Raises BadInput for targets that the model does not have."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    there = sorted({key.rpartition(".")[2] for key, it in network.named_modules() if _is_linear(it)} - {"lm_head"})
    every = asked.targets == ("all-linear",)
    if unknown := [target for target in asked.targets if target not in there and not every]:
        raise BadInput(f"{name} has no layers called {unknown[0]!r}.", f"Choose from: {', '.join(there)}, all-linear.")
    config = LoraConfig(
        r=asked.rank, lora_alpha=asked.alpha, lora_dropout=asked.dropout, bias="none", task_type="CAUSAL_LM",
        target_modules="all-linear" if every else list(asked.targets),
        use_rslora=asked.rslora, use_dora=asked.dora,
    )  # fmt: skip
    torch.manual_seed(asked.seed)
    prepared = prepare_model_for_kbit_training(network, use_gradient_checkpointing=False)
    return get_peft_model(prepared, config)


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)


def _parameters(network: torch.nn.Module) -> tuple[int, int]:
    """Parameters that are trained, and all; packed ones count as the weights that they hold."""
    trainable, every = network.get_nb_trainable_parameters()
    return int(trainable), int(every)


class _Events:
    """Appends to the file that is followed; each line is whole when it is there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tell(self, kind: str, told: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **told}) + "\n")


def _collate(rows: Sequence[TokenRow], pad: int) -> dict[str, torch.Tensor]:
    """A batch `[rows, longest]`, padded at its end; labels of what is not learnt are ignored."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), _IGNORED)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for at, row in enumerate(rows):
        count = len(row.ids)
        ids[at, :count] = torch.tensor(row.ids)
        mask[at, :count] = 1
        learnt = torch.tensor(row.trained)
        labels[at, :count] = torch.where(learnt, ids[at, :count], _IGNORED)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _trainer(
    network: "PeftModel",
    learnt: list[TokenRow],
    held_out: list[TokenRow],
    asked: FinetuneSettings,
    folder: Path,
    events: _Events,
    progress: Progress,
    pad: int,
) -> Any:
    """A Trainer that tells each step."""
    import_transformers()
    from transformers import Trainer, TrainerCallback, TrainingArguments

    every = max(1, asked.steps // _PARTS)
    arguments = TrainingArguments(
        output_dir=str(folder / CHECKPOINTS), max_steps=asked.steps, per_device_train_batch_size=asked.batch,
        learning_rate=asked.learning_rate, lr_scheduler_type="linear",
        warmup_steps=math.ceil(asked.warmup * asked.steps), seed=asked.seed, data_seed=asked.seed,
        logging_steps=1, logging_nan_inf_filter=False, save_steps=every, save_total_limit=1, report_to=[],
        remove_unused_columns=False, disable_tqdm=True,
        use_cpu=next(network.parameters()).device.type == "cpu", dataloader_num_workers=0,
    )  # fmt: skip

    class Telling(TrainerCallback):
        """What the Trainer logs, as events; a loss that is no number ends the training."""

        begun = time.perf_counter()

        def on_step_begin(self, _arguments: Any, _state: Any, _control: Any, **_kept: Any) -> None:
            self.begun = time.perf_counter()

        def on_log(self, _arguments: Any, state: Any, _control: Any, logs: Any = None, **_kept: Any) -> None:
            logs = logs or {}
            if "loss" in logs:
                check_finite(state.global_step, float(logs["loss"]), logs.get("grad_norm"), asked.learning_rate)
                events.tell(
                    "step",
                    {
                        "step": state.global_step, "steps": asked.steps, "loss": float(logs["loss"]),
                        "learning_rate": float(logs["learning_rate"]),
                        "tokens": trainer.batch_tokens, "seconds": time.perf_counter() - self.begun,
                        "memory": _memory(network, trainer),
                    },
                )  # fmt: skip
                progress(state.global_step, asked.steps, "training")
                if state.global_step % every == 0 or state.global_step == asked.steps:
                    trainer.look(state.global_step)

    class Told(Trainer):
        batch_tokens = gradient_bytes = 0

        def training_step(self, model: Any, inputs: dict[str, torch.Tensor], *rest: Any, **kept: Any) -> torch.Tensor:
            self.batch_tokens = int(inputs["attention_mask"].sum())
            loss = super().training_step(model, inputs, *rest, **kept)
            self.gradient_bytes = sum(it.grad.nbytes for it in model.parameters() if it.grad is not None)
            return loss

        def look(self, step: int) -> None:
            """The loss of the rows held out, as an event."""
            if held_out:
                loss = held_out_loss(network, held_out, asked.batch, pad)
                events.tell("held_out", {"step": step, "loss": loss})

    trainer = Told(
        network, arguments, data_collator=partial(_collate, pad=pad), train_dataset=learnt,
        callbacks=[Telling()],
    )  # fmt: skip
    return trainer


def held_out_loss(network: torch.nn.Module, rows: Sequence[TokenRow], batch: int, pad: int) -> float:
    """The mean over all learnt tokens of the rows, in nats: long rows count for more, as they do in a perplexity."""
    was_training = network.training
    network.eval()
    total, count = 0.0, 0
    device = next(network.parameters()).device
    with torch.inference_mode():
        for at in range(0, len(rows), batch):
            made = {name: it.to(device) for name, it in _collate(rows[at : at + batch], pad).items()}
            labels = made.pop("labels")[:, 1:]
            logits = network(**made).logits[:, :-1].float()
            total += cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED, reduction="sum"
            ).item()
            count += int((labels != _IGNORED).sum())
    network.train(was_training)
    return total / count


def check_finite(step: int, loss: float, gradient: float | None, learning_rate: float) -> None:
    """Raises ModelError where a training has run away: nothing is learnt from numbers that are none."""
    if not math.isfinite(loss) or (gradient is not None and not math.isfinite(float(gradient))):
        raise ModelError(
            f"The loss of step {step} is no number: the training ran away.",
            f"Lower the learning rate (it is {learning_rate:g}); the last good checkpoint is kept.",
        )


def _memory(network: torch.nn.Module, trainer: Any) -> dict[str, int]:
    """Bytes by part, from the tensors that are there: all but what is trained is the base."""
    trained = [it for it in network.parameters() if it.requires_grad]
    adapters = sum(it.nbytes for it in trained)
    every = sum(it.nbytes for it in (*network.parameters(), *network.buffers()))
    states = trainer.optimizer.state.values() if trainer.optimizer is not None else ()
    optimizer = sum(it.nbytes for state in states for it in state.values() if isinstance(it, torch.Tensor))
    told = {"base": every - adapters, "adapters": adapters, "gradients": trainer.gradient_bytes, "optimizer": optimizer}
    return told | {"resident": psutil.Process().memory_info().rss}
