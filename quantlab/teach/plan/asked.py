"""What a plan is asked for, beside the model and the card."""

from dataclasses import dataclass

from quantlab.teach.plan.memory import AS_COMPUTED


@dataclass(frozen=True)
class Asked:
    """`precisions` empty: the usual ones. `context` counts the tokens of each of `batch` sequences, prompt and answer
    together. `piece`: tokens of a prompt that are read at once, None: all. `rank` and `targets` are LoRA's."""

    precisions: tuple[str, ...] = ()
    context: int = 4_096
    batch: int = 1
    kv: str = AS_COMPUTED
    compute_dtype: str = "bfloat16"
    piece: int | None = None
    finetune: str | None = None
    rank: int = 16
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    checkpointing: bool = True
