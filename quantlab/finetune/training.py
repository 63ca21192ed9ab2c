"""Train adapters with peft and transformers, or all weights with transformers alone.

Runs in a process of its own (`quantlab.runtime.worker`).

What it tells stands in `events.jsonl` of the output folder, a line for each event: whoever follows reads it from there,
and what was told is still there after a crash. Checkpoints of the Trainer lie in `checkpoints`; a second call with the
same folder goes on from the last one with the same random numbers.
"""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from quantlab.errors import BadInput, ModelError, OutOfMemory
from quantlab.finetune import data, starting
from quantlab.finetune.folder import CHECKPOINTS, EVENTS, INITIAL
from quantlab.finetune.tokens import TokenRow, token_rows
from quantlab.methods import method_of, precision
from quantlab.methods.adapted import quiet_peft
from quantlab.models import copy_tokenizer
from quantlab.models.quiet import import_transformers
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Model, Progress, ResolvedPlacement
from quantlab.records.finetuning import FinetuneSettings
from quantlab.runtime.disk import disk_error
from quantlab.runtime.torch_session import is_out_of_memory

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, TrainingArguments

#: So many checkpoints and measurements of the held-out rows there are in a training.
_PARTS = 10
#: A disk with less than this, in bytes, is full.
_FULL = 10**6


@contextmanager
def _memory_in_words() -> Iterator[None]:
    """Of memory that ran out outside of the steps, where nothing tells what they took."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory("The memory ran out.") from error


@_memory_in_words()
def train(
    progress: Progress,
    model: dict[str, Any],
    weights: str,
    file: str,
    digest: str,
    folder: str,
    settings: dict[str, Any],
    placement: dict[str, Any],
    resumed: str | None,
) -> None:
    """Train on `file`, whose digest is known, and write what came of it into `folder`, from the checkpoint `resumed` on
    if there is one. The base is loaded from the folder `weights`: the model's own unless its precision is kept.

    Raises BadInput, ModelError, Unavailable (a full disk) or OutOfMemory.
    """
    asked = FinetuneSettings(**{**settings, "targets": tuple(settings["targets"])})
    source = Model(model["name"], model["kind"], Path(model["folder"]))
    progress(0, 0, "reading the rows")
    tokenizer = load_tokenizer(source)
    read = data.rows(Path(file), digest)
    rows = token_rows(tokenizer, read, asked.context, asked.raw, source.name)
    learnt, held_out = _parted(rows, asked)
    base = _base(replace(source, folder=Path(weights)), asked, ResolvedPlacement(**placement), progress)
    progress(0, 0, "making ready what is trained")
    network = _adapted(base, asked, source) if asked.method == "lora" else _whole(base, asked)
    if asked.method == "lora" and asked.init_lora_weights == "pissa" and resumed is None:
        starting.keep_initial(network, Path(folder, INITIAL))
    events = _Events(Path(folder, EVENTS))
    trainable, parameters = _parameters(network, asked.method == "lora")
    told = {
        "data": {
            "name": Path(file).name, "rows": len(learnt), "held_out": len(held_out),
            "tokens": sum(len(row.ids) for row in learnt),
            "trained_tokens": sum(sum(row.trained[1:]) for row in learnt), "cut": sum(row.cut for row in rows),
            "left_out": len(read) - len(rows), "longest": max(len(row.ids) for row in rows),
        },
        "trainable": trainable, "parameters": parameters,
    }  # fmt: skip
    import_transformers()
    from quantlab.finetune.telling import Task, TellingTrainer

    arguments = _arguments(asked, Path(folder), next(network.parameters()).device.type == "cpu")
    task = Task(learnt, held_out, asked, tokenizer.pad_token_id or 0)
    trainer = TellingTrainer(network, arguments, task, events.tell, progress)
    try:
        if resumed is None:
            events.tell("started", told | {"memory": trainer.memory()})
            progress(0, 0, "reading the rows that are held out")
            trainer.look(0)
        trainer.train(resume_from_checkpoint=resumed)
    except Exception as error:
        if is_out_of_memory(error):
            events.tell("memory", {"memory": trainer.memory()})
            raise OutOfMemory("The memory ran out while it was trained.") from error
        raise _in_words(error, Path(folder)) from error
    network.save_pretrained(folder)
    _finish(source, asked, Path(folder))
    progress(asked.steps, asked.steps, "the weights are written")


def _finish(source: Model, asked: FinetuneSettings, folder: Path) -> None:
    """Make what was saved into what other programs load."""
    if asked.method == "full":
        copy_tokenizer(source, folder)
    elif asked.init_lora_weights == "pissa":
        starting.as_lora(folder, folder / INITIAL)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _in_words(error: Exception, folder: Path) -> Exception:
    """torch tells of a write that failed without the system's number: how full the disk is says what it was."""
    if not (isinstance(error, RuntimeError) and "inline_container" in str(error)):
        return error
    if shutil.disk_usage(folder).free < _FULL:
        return disk_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)))
    return ModelError(
        f"A checkpoint cannot be written into {folder.name}.",
        "Check the disk and the limit on a file's size (ulimit -f), and try again.",
    )


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
    what = f"loading the base at {asked.precision}"
    progress(0, 0, what)
    method.prepare()
    loaded = method.load(source, chosen, placement, lambda done, total, _: progress(done, total, what))
    network = loaded.network
    if network is None:
        raise RuntimeError(f"{asked.precision} has no network of torch's")
    for module in network.modules():
        # bitsandbytes 0.50 packs 4-bit weights for a fused kernel of some CPUs when it reads without a gradient, and
        # unpacks them when they are saved, their scales quantized anew: the base would drift with each checkpoint.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return network


def _adapted(network: torch.nn.Module, asked: FinetuneSettings, source: Model) -> "PeftModel":
    """The base with adapters, trained ones in float32. Raises BadInput for targets that the model does not have."""
    with quiet_peft():
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    head = network.get_output_embeddings()
    # GPTQ's layers are none of torch's, and peft's own "all-linear" passes over them.
    there = sorted(
        {key.rpartition(".")[2] for key, it in network.named_modules() if hasattr(it, "in_features") and it is not head}
    )
    targets = there if asked.targets == ("all-linear",) else list(asked.targets)
    if unknown := [target for target in targets if target not in there]:
        raise BadInput(
            f"{source.name} has no layers called {unknown[0]!r}.", f"Choose from: {', '.join(there)}, all-linear."
        )
    config = LoraConfig(
        r=asked.rank, lora_alpha=asked.alpha, lora_dropout=asked.dropout, bias="none", task_type="CAUSAL_LM",
        target_modules=targets,
        use_rslora=asked.rslora, use_dora=asked.dora,
        init_lora_weights="pissa" if asked.init_lora_weights == "pissa" else True,
    )  # fmt: skip
    torch.manual_seed(asked.seed)
    with quiet_peft():
        if method_of(precision(asked.precision)).quantizes:
            # What is not quantized goes to float32. Of a base of 16 bits that would be all of it.
            network = prepare_model_for_kbit_training(network, use_gradient_checkpointing=False)
        adapted = get_peft_model(network, config)
        if asked.init_lora_weights == "loftq":
            starting.loftq(adapted, source)
    return adapted


def _whole(network: Any, asked: FinetuneSettings) -> "PreTrainedModel":
    """The network with all its weights to be trained."""
    torch.manual_seed(asked.seed)
    network.requires_grad_(True)
    network.config.use_cache = False
    return network.train()


def _parameters(network: Any, adapters: bool) -> tuple[int, int]:
    """Parameters that are trained, and all; packed ones count as the weights that they hold."""
    if not adapters:
        every = sum(it.numel() for it in network.parameters())
        return every, every
    trainable, every = network.get_nb_trainable_parameters()
    # GPTQ's codes are buffers, which are no parameters to torch.
    for module in network.modules():
        if hasattr(module, "qweight") and not isinstance(module.qweight, torch.nn.Parameter):
            every += module.in_features * module.out_features
    return int(trainable), int(every)


class _Events:
    """Appends to the file that is followed; each line is whole when it is there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tell(self, kind: str, told: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **told}) + "\n")


def _arguments(asked: FinetuneSettings, folder: Path, on_cpu: bool) -> "TrainingArguments":
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder / CHECKPOINTS), max_steps=asked.steps, per_device_train_batch_size=asked.batch,
        learning_rate=asked.learning_rate, lr_scheduler_type="linear",
        warmup_steps=math.ceil(asked.warmup * asked.steps), seed=asked.seed, data_seed=asked.seed,
        logging_steps=1, logging_nan_inf_filter=False, save_steps=max(1, asked.steps // _PARTS), save_total_limit=1,
        report_to=[], remove_unused_columns=False, disable_tqdm=True, use_cpu=on_cpu, dataloader_num_workers=0,
    )  # fmt: skip
