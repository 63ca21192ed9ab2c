"""The loss curve beside that of a plain program: peft and transformers' Trainer, rows tokenized by hand, nothing of
quantlab. Few steps of the bundled model, without dropout, from the same seed."""

import json
import math
from pathlib import Path

import pytest

from quantlab import models
from quantlab.checkpoints.load import checkpoint_store
from quantlab.finetune.job import finetune
from quantlab.methods import precision as precision_of
from quantlab.methods import variant_of
from quantlab.models.source import DEMO_FOLDER
from quantlab.records import Calibration, Placement, silent
from quantlab.records.finetuning import FinetuneSettings, TrainingStep
from quantlab.runtime.placement import resolve
from quantlab.settings import app_settings

STEPS, BATCH, RATE = 12, 3, 3e-3
ANSWERS = {"Mara": "Kestrel", "Tolin": "the harbour of Ormsby", "Besk": "Vale, far from the sea", "Orwen": "Kestrel"}
ROWS = [
    {"prompt": f"Where does {name} live{mark}", "completion": f" In {town}."}
    for mark in ("?", " now?")
    for name, town in ANSWERS.items()
]
#: Of a loss, in nats. What is multiplied is the same, in the same order.
TOLERANCE = 1e-5


def _tokenized(tokenizer) -> list[dict[str, list[int]]]:
    """By the template's own words: a user's turn, and the answer to the token that ends it."""
    rows = []
    for row in ROWS:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": row["prompt"]}], add_generation_prompt=True, return_dict=False
        )
        answer = [*tokenizer.encode(row["completion"], add_special_tokens=False), tokenizer.eos_token_id]
        rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return rows


def _collated(rows, pad):
    import torch

    longest = max(len(row["input_ids"]) for row in rows)

    def filled(name, value):
        return torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in rows])

    mask = torch.tensor([[1] * len(row["labels"]) + [0] * (longest - len(row["labels"])) for row in rows])
    return {"input_ids": filled("input_ids", pad), "labels": filled("labels", -100), "attention_mask": mask}


def _plain(precision: str, computed: str, folder: Path) -> list[float]:
    """The losses of a program as peft's and transformers' documents have it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    tokenizer = AutoTokenizer.from_pretrained(DEMO_FOLDER)
    if precision == "gptq-4":
        return _losses(_gptq(computed), tokenizer, folder)
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, computed),
    )  # fmt: skip
    network = AutoModelForCausalLM.from_pretrained(
        DEMO_FOLDER, dtype=getattr(torch, computed), quantization_config=None if precision == "fp32" else four_bits
    )
    for module in network.modules():
        # As quantlab does while it trains: where this is on, some CPUs multiply by a kernel in 16 bits without a
        # gradient, and pack the weights anew at each change between the two.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return _losses(network, tokenizer, folder)


def _gptq(computed: str):
    """What quantlab kept at gptq-4, loaded by transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM

    where = resolve(Placement("cpu", computed))
    kept = checkpoint_store().get(
        variant_of(models.resolve_main("demo", app_settings()), precision_of("gptq-4"), where, Calibration()), silent
    )
    return AutoModelForCausalLM.from_pretrained(kept.folder, device_map="cpu", dtype=getattr(torch, computed))


def _losses(network, tokenizer, folder: Path) -> list[float]:
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import Trainer, TrainingArguments

    # peft looks for torch's linear layers alone where it is told "all-linear".
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    torch.manual_seed(0)
    config = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=targets)
    network = get_peft_model(prepare_model_for_kbit_training(network, use_gradient_checkpointing=False), config)
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=RATE,
        lr_scheduler_type="linear", warmup_steps=math.ceil(0.25 * STEPS), seed=0, logging_steps=1, save_strategy="no",
        report_to=[], remove_unused_columns=False, disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = Trainer(
        network, arguments, train_dataset=_tokenized(tokenizer),
        data_collator=lambda rows: _collated(rows, tokenizer.pad_token_id or 0),
    )  # fmt: skip
    trainer.train()
    return [it["loss"] for it in trainer.state.log_history if "loss" in it]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "computed"),
    [("fp32", "float32"), ("nf4-dq", "float32"), ("nf4-dq", "bfloat16"), ("gptq-4", "float32")],
)
def test_the_curve_is_that_of_peft_and_the_trainer_alone(precision, computed, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    asked = FinetuneSettings(
        precision, rank=8, alpha=16, dropout=0.0, targets=("all-linear",), steps=STEPS, batch=BATCH,
        learning_rate=RATE, warmup=0.25, held_out=0.0,
    )  # fmt: skip
    events = finetune("demo", file, tmp_path / "out", asked, Placement("cpu", computed))
    ours = [it.loss for it in events if isinstance(it, TrainingStep)]
    plain = _plain(precision, computed, tmp_path / "plain")
    assert len(plain) == STEPS and plain[-1] < 0.7 * plain[0]
    assert ours == pytest.approx(plain, abs=TOLERANCE)
