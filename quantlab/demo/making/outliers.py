"""Give a trained model the outlier channels of a large one, without changing what it computes.

Large models have a few channels with far larger values than the rest (Dettmers et al. 2022, arXiv:2208.07339), and
those are what makes few bits hurt. A small model has none. Here each channel between two linear maps is scaled up
on one side and down on the other by a seeded log-normal factor: the same trick as SmoothQuant's (Xiao et al. 2022,
arXiv:2211.10438), the other way round. In exact arithmetic the function stays the same.
"""

from collections.abc import Callable

import torch

OUTLIER_SEED = 11


def add_outliers(model: torch.nn.Module, sigma: float, seed: int = OUTLIER_SEED) -> None:
    """Rescale a Llama in place. `sigma` is the standard deviation of the factors' logarithm; 0 does nothing.

    Four pairs a layer: each norm's gain against the columns of what reads it, the rows of `up_proj` against the
    columns of `down_proj`, the rows of `v_proj` against the columns of `o_proj`.
    """
    generator = torch.Generator().manual_seed(seed)

    def factors(size: int) -> torch.Tensor:
        return (torch.randn(size, generator=generator) * sigma).exp()

    heads_per_group = model.config.num_attention_heads // model.config.num_key_value_heads
    head_dim = model.config.head_dim
    with torch.no_grad():
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            _move(layer.input_layernorm, [attention.q_proj, attention.k_proj, attention.v_proj], factors)
            _move(layer.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj], factors)
            up = factors(mlp.up_proj.out_features)
            mlp.up_proj.weight.mul_(up.unsqueeze(1))
            mlp.down_proj.weight.div_(up)
            value = factors(attention.v_proj.out_features)
            attention.v_proj.weight.mul_(value.unsqueeze(1))
            # Each key-value head serves a group of query heads, whose outputs all carry its factors.
            shared = value.view(-1, 1, head_dim).expand(-1, heads_per_group, -1).reshape(-1)
            attention.o_proj.weight.div_(shared)


def _move(norm: torch.nn.Module, readers: list[torch.nn.Linear], factors: Callable[[int], torch.Tensor]) -> None:
    scale = factors(norm.weight.numel())
    norm.weight.mul_(scale)
    for reader in readers:
        reader.weight.div_(scale)
