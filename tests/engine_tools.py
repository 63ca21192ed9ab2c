"""Greedy tokens, ours and plain transformers'."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from quantlab.records import Model, Placement, Settings
from quantlab.runtime.decode import decode
from quantlab.runtime.sampling import sampler
from tests.loading import load


def greedy(model: Model, placement: Placement, name: str, prompt: Sequence[int], new: int) -> list[int]:
    """What our loop gives."""
    loaded = load(model, name, placement=placement)
    try:
        return [step.token_id for step in decode(loaded.start(), prompt, new, sampler(Settings()))]
    finally:
        loaded.close()


def generated(folder: Path, prompt: Sequence[int], new: int) -> list[int]:
    """Plain transformers, nothing of ours. End-of-text does not stop it, as it does not stop our loop."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    network.generation_config.eos_token_id = None
    ids = torch.tensor([list(prompt)])
    out = network.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new, pad_token_id=0
    )
    return out[0, len(prompt) :].tolist()
