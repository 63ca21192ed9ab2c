"""Train the demo model: `python -m quantlab.demo.making.train --work DIR`.

A plain next-token run over the packed corpus, in float32 on the CPU. It checkpoints to `DIR` every
`CHECKPOINT_STEPS` and goes on from the last checkpoint when started again; the data follow from the step, so an
interrupted run sees the same batches as one that was not. The trained model is left in `DIR/trained`.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from quantlab.demo.corpus import END, documents
from quantlab.demo.making.tokenizer import train_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

SEED = 7
CONTEXT = 1_024
BATCH_TOKENS = 4_096
STEPS = 4_400
#: Mostly short rows, because attention over long ones costs more; these steps, the last among them, have full ones.
SHORT_CONTEXT = 256
FULL_CONTEXT_STEPS = (*range(3_100, 3_200), *range(STEPS - 300, STEPS))
PEAK_LR = 3e-3
#: The learning rate as a share of its peak at these steps, linear between them.
SCHEDULE = ((0, 0.0), (150, 1.0), (2_400, 1.0), (3_200, 1 / 3), (3_800, 1 / 3), (STEPS, 0.0))
WEIGHT_DECAY = 0.1
CHECKPOINT_STEPS = 200
#: Seeds handed to each step: more documents than a batch can hold, so that steps never share one.
DOCUMENTS_PER_STEP = 300


def new_model(vocab_size: int, bos: int, eos: int, pad: int) -> "LlamaForCausalLM":
    """A Llama of 2.2 M weights whose hidden and MLP sizes are multiples of 256, as K-quants need."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    return LlamaForCausalLM(config)


def learning_rate(step: int) -> float:
    """The rate of one step, read off `SCHEDULE`."""
    for (left, low), (right, high) in pairwise(SCHEDULE):
        if step < right:
            return PEAK_LR * (low + (high - low) * (step + 1 - left) / (right - left))
    return 0.0


def token_stream(tokenizer: "PreTrainedTokenizerBase", first_seed: int) -> Iterator[list[int]]:
    for text in documents(first_seed):
        yield tokenizer(text if text.endswith(END) else text + END)["input_ids"]


def batch(tokenizer: "PreTrainedTokenizerBase", step: int) -> torch.Tensor:
    """The packed token ids of one step, `[rows, context + 1]`."""
    context = CONTEXT if step in FULL_CONTEXT_STEPS else SHORT_CONTEXT
    rows = BATCH_TOKENS // context
    wanted = rows * (context + 1)
    ids: list[int] = []
    for document in token_stream(tokenizer, step * DOCUMENTS_PER_STEP):
        ids += document
        if len(ids) >= wanted:
            return torch.tensor(ids[:wanted]).view(rows, context + 1)
    raise AssertionError("the corpus is endless")


def _optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.95))


def _save_aside(state: dict, path: Path) -> None:
    """A kill while writing must not cost the previous checkpoint."""
    torch.save(state, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def train(work: Path, steps: int = STEPS) -> None:
    """Train, or go on training, and leave model and tokenizer in `work/trained`."""
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    model = new_model(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    optimizer = _optimizer(model)
    checkpoint, log = work / "checkpoint.pt", work / "log.jsonl"
    first, seconds = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, seconds = state["step"], state["seconds"]
    begun = time.perf_counter() - seconds
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        ids = batch(tokenizer, step)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds = time.perf_counter() - begun
        if step % 20 == 0:
            with log.open("a") as out:
                out.write(json.dumps({"step": step, "loss": round(loss.item(), 4), "seconds": round(seconds)}) + "\n")
        if (step + 1) % CHECKPOINT_STEPS == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            _save_aside(state | {"step": step + 1, "seconds": seconds}, checkpoint)
    trained = work / "trained"
    model.save_pretrained(trained)
    tokenizer.save_pretrained(trained)
    record = {"steps": steps, "tokens": steps * BATCH_TOKENS, "seconds": round(seconds), "seed": SEED}
    (work / "training.json").write_text(json.dumps(record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and the trained model")
    train(parser.parse_args().work)


if __name__ == "__main__":
    main()
