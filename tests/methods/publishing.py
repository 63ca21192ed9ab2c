"""Quantized folders, each written by the library that publishers use for its way of storing."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaForCausalLM, TorchAoConfig

from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
GROUP = 32
#: The folders, and how their config.json calls what stored them.
METHODS_OF = {
    "gptq": "gptq",
    "awq": "awq",
    "nf4": "bitsandbytes",
    "int8": "bitsandbytes",
    "ao-int8": "torchao",
    "ao-float8": "torchao",
    "compressed": "compressed-tensors",
    "nvfp4": "compressed-tensors",
}
#: Run where gptqmodel's banners, threads and patches stay: in a process of its own.
GPTQMODEL = """
import sys, torch
from gptqmodel import BACKEND, GPTQModel
from gptqmodel.quantization import AWQConfig, GPTQConfig
source, gptq, awq = sys.argv[1:]
drawn = torch.Generator().manual_seed(0)
text = [{"input_ids": torch.randint(3, 259, (64,), generator=drawn).tolist(), "attention_mask": [1] * 64}] * 4
model = GPTQModel.load(source, GPTQConfig(bits=4, group_size=32))
model.quantize(text, batch_size=1)
model.save(gptq)
model = GPTQModel.load(source, AWQConfig(bits=4, group_size=32, sym=False))
model.quantize(text, batch_size=1, backend=BACKEND.AWQ_TORCH)
model.save(awq)
"""


def write_original(folder: Path) -> None:
    """A small Llama in bfloat16 whose every layer has as many outputs as AWQ's search wants (64)."""
    torch.manual_seed(0)
    config = tiny.FAMILIES["llama"]()
    config.num_key_value_heads = config.num_attention_heads
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tiny.letters().save_pretrained(folder)


def write_all(original: Path, root: Path) -> dict[str, Path]:
    """A folder below `root` for each way of storing."""
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig

    folders = {name: root / name for name in METHODS_OF}
    subprocess.run(
        [sys.executable, "-c", GPTQMODEL, original, folders["gptq"], folders["awq"]],
        check=True,
        capture_output=True,
        cwd=root,  # gptqmodel writes its log into a folder beside whoever calls it
        env=os.environ | {"GPTQMODEL_CPU_WORKERS": "2", "PYTHONPATH": str(ROOT)},
    )
    configs = {
        "nf4": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
        "int8": BitsAndBytesConfig(load_in_8bit=True),
        "ao-int8": TorchAoConfig(Int8WeightOnlyConfig()),
        "ao-float8": TorchAoConfig(Float8WeightOnlyConfig()),
    }
    for name, config in configs.items():
        network = AutoModelForCausalLM.from_pretrained(original, quantization_config=config, dtype=torch.bfloat16)
        network.save_pretrained(folders[name])
    _compress(original, folders["compressed"], type="int", strategy="group", group_size=GROUP)
    nvfp4 = {"type": "float", "strategy": "tensor_group", "group_size": 16, "scale_dtype": "torch.float8_e4m3fn"}
    _compress(original, folders["nvfp4"], **nvfp4)
    for folder in folders.values():
        tiny.letters().save_pretrained(folder)
    return folders


def _compress(original: Path, folder: Path, **weights) -> None:
    """Symmetric 4-bit groups, by compressed-tensors itself."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        apply_quantization_config,
    )

    network = AutoModelForCausalLM.from_pretrained(original, dtype=torch.bfloat16)
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(num_bits=4, symmetric=True, **weights))
    apply_quantization_config(network, QuantizationConfig(config_groups={"group_0": scheme}, ignore=["lm_head"]))
    for module in network.modules():
        if hasattr(module, "weight_scale"):
            largest = module.weight.detach().float().unflatten(-1, (-1, weights["group_size"])).abs().amax(-1)
            scale = largest / (6 if weights["type"] == "float" else 7.5)
            if hasattr(module, "weight_global_scale"):  # the groups' scales are floats of 8 bits, largest 448
                overall = 448 * 6 / module.weight.detach().float().abs().max()
                module.weight_global_scale.data.copy_(overall.reshape(1))
                scale = (scale * overall).clamp(max=448)
            module.weight_scale.data.copy_(scale)
    compressor = ModelCompressor.from_pretrained_model(network)
    compressor.compress_model(network)
    network.save_pretrained(folder)
    compressor.update_config(folder)
