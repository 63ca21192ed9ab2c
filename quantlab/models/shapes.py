"""Shapes: published architectures filled with seeded random weights.

Memory and latency depend on the sizes of a model, not on what it learnt; a shape shows both without a download. Its
weights are made one tensor at a time, when the loader asks for each, so that the whole at full precision never exists.
"""

import json
import math
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

from quantlab.errors import ModelError, unknown
from quantlab.records import Model, TensorInfo
from quantlab.settings import ASSETS

if TYPE_CHECKING:
    import torch

FOLDER = ASSETS / "shapes"
PREFIX = "shape:"
SEED = 20_240_501
#: Weights drawn at once by one thread.
BLOCK = 1 << 22
#: Architectures whose parameters `shape_tensors` knows.
FAMILIES = ("llama", "mistral", "qwen3")
_STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@cache
def names() -> tuple[str, ...]:
    """The shapes there are, without their prefix, small ones first."""
    return tuple(sorted((file.stem for file in FOLDER.glob("*.json")), key=lambda name: count(shape_config(name))))


def canonical(typed: str) -> str:
    """The shape meant by `typed`, with or without its prefix, in any case. Raises BadInput where there is none."""
    wanted = typed.strip()
    if wanted.casefold().startswith(PREFIX):
        wanted = wanted[len(PREFIX) :]
    for name in names():
        if name.casefold() == wanted.strip().casefold():
            return name
    raise unknown("shape", typed, [PREFIX + name for name in names()])


def shape_config(name: str) -> dict[str, Any]:
    """The configuration (an ordinary config.json) of the shape `name`."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def count(config: dict[str, Any]) -> int:
    """Number of weights; those of tied embeddings once."""
    return sum(math.prod(tensor.shape) for tensor in shape_tensors(config).values())


def shape_tensors(config: dict[str, Any]) -> dict[str, TensorInfo]:
    """Names and shapes of all parameters of a configuration in `FAMILIES`, by formula. Tied embeddings appear once."""
    family = config["model_type"]
    if family not in FAMILIES:
        raise ModelError(f"A shape cannot have the architecture {family!r}.", f"Known are: {', '.join(FAMILIES)}.")
    hidden, mlp, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    query, key = heads * head, config["num_key_value_heads"] * head
    layer: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (query, hidden),
        "self_attn.k_proj.weight": (key, hidden),
        "self_attn.v_proj.weight": (key, hidden),
        "self_attn.o_proj.weight": (hidden, query),
        "mlp.gate_proj.weight": (mlp, hidden),
        "mlp.up_proj.weight": (mlp, hidden),
        "mlp.down_proj.weight": (hidden, mlp),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    if family == "qwen3":
        layer |= {"self_attn.q_norm.weight": (head,), "self_attn.k_norm.weight": (head,)}
    biased = [("self_attn.", "attention_bias"), ("mlp.", "mlp_bias")]
    for part in [part for part, setting in biased if config.get(setting)]:
        matrices = {name: shape for name, shape in layer.items() if name.startswith(part) and len(shape) == 2}
        layer |= {name.replace(".weight", ".bias"): shape[:1] for name, shape in matrices.items()}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for index in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    stored = _STORED[config.get("dtype") or config["torch_dtype"]]
    return {name: TensorInfo(shape, stored) for name, shape in shapes.items()}


class LazyTensor:
    """A random tensor that is made when it is indexed, as the slices of a safetensors file are.

    Its values depend on `seed` alone: they are drawn in float32, a block at a time, and rounded to `dtype`, so that
    every precision of a shape stores the same weights and no tensor exists in float32 beside the one asked for.
    """

    def __init__(self, seed: int, shape: tuple[int, ...], dtype: "torch.dtype", fill: float | None, std: float) -> None:
        self.shape = shape
        self.dtype = dtype
        self._seed = seed
        self._fill = fill
        self._std = std

    def __getitem__(self, index: Any) -> "torch.Tensor":
        tensor = self._materialize()
        return tensor if index is Ellipsis else tensor[index]

    def get_shape(self) -> list[int]:
        return list(self.shape)

    def get_dtype(self) -> str:
        return _STORED[str(self.dtype).removeprefix("torch.")]

    def is_floating_point(self) -> bool:
        return True

    def _materialize(self) -> "torch.Tensor":
        import torch

        if self._fill is not None:
            return torch.full(self.shape, self._fill, dtype=self.dtype)
        tensor = torch.empty(self.shape, dtype=self.dtype)
        flat = tensor.view(-1)

        def fill(start: int) -> None:
            # Each block has a seed of its own, so that the values do not depend on how many threads there are.
            generator = torch.Generator().manual_seed(zlib.crc32(f"{self._seed}/{start}".encode()))
            block = flat[start : start + BLOCK]
            block.copy_(torch.empty(block.numel()).normal_(0.0, self._std, generator=generator))

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            list(pool.map(fill, range(0, flat.numel(), BLOCK)))
        return tensor


def lazy_state_dict(model: Model, dtype: "str | torch.dtype") -> dict[str, LazyTensor]:
    """The weights of a shape, by parameter name, each made in `dtype` (or its name: "bfloat16") when it is placed.

    For `from_pretrained(None, config=config, state_dict=...)` of the model's own class, which
    `MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]` gives: `AutoModelForCausalLM` fails without a name. Matrices are
    normal with the configuration's `initializer_range` as standard deviation, norms are ones, biases zeros.
    """
    import torch

    if isinstance(dtype, str):
        dtype = getattr(torch, dtype)
    name = canonical(model.name)
    config = shape_config(name)
    std = config.get("initializer_range", 0.02)
    lazy = {}
    for tensor, info in shape_tensors(config).items():
        fill = None if len(info.shape) == 2 else float(tensor.endswith("norm.weight"))
        lazy[tensor] = LazyTensor(zlib.crc32(f"{SEED}/{name}/{tensor}".encode()), info.shape, dtype, fill, std)
    return lazy
