"""Adapters for tests, as peft writes them."""

from pathlib import Path


def random_adapter(where: Path, **options: object) -> Path:
    """One that changes the demo's answers, of random matrices beside two layers of each block."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from quantlab.models.source import DEMO_FOLDER

    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_pretrained(DEMO_FOLDER, dtype=torch.float32)
    asked = {"r": 4, "lora_alpha": 32, "lora_dropout": 0.5, "target_modules": ["q_proj", "down_proj"]} | options
    get_peft_model(network, LoraConfig(init_lora_weights=False, **asked)).save_pretrained(where)
    return where
