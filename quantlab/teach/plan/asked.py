"""What a plan is asked for, beside the model and the card."""

from dataclasses import dataclass, replace

from quantlab.teach.plan.memory import AS_COMPUTED

#: Tokens of a sequence where no context is named, unless the model was made for fewer.
USUAL_CONTEXT = 4_096


@dataclass(frozen=True)
class Asked:
    """`precisions` empty: the usual ones. `context` counts the tokens of each of `batch` sequences, prompt and answer
    together; None: the usual ones, or as many as the model was made for where that is fewer. `piece`: tokens of a
    prompt that are read at once, None: all. `rank` and `targets` are LoRA's."""

    precisions: tuple[str, ...] = ()
    context: int | None = None
    batch: int = 1
    kv: str = AS_COMPUTED
    compute_dtype: str = "bfloat16"
    piece: int | None = None
    finetune: str | None = None
    rank: int = 16
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    checkpointing: bool = True

    @property
    def tokens(self) -> int:
        """The context that is meant, as far as no model limits it."""
        return USUAL_CONTEXT if self.context is None else self.context

    def of(self, made_for: int | None) -> "Asked":
        """The same for a model that was made for so many tokens, with the context that is meant."""
        shorter = self.context is None and made_for is not None and made_for < USUAL_CONTEXT
        return replace(self, context=made_for if shorter else self.tokens)
