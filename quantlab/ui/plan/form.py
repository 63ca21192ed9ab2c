"""What a visitor asks on the tab, checked on the server whatever a browser sends."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from quantlab.errors import BadInput
from quantlab.records import ModelNumbers
from quantlab.teach.plan import planning
from quantlab.teach.plan.asked import USUAL_CONTEXT, Asked
from quantlab.teach.plan.memory import AS_COMPUTED, KV_TYPES
from quantlab.ui.common.typed import as_int

#: The two ways to say which model.
NAMED, NUMBERS = "A model", "Numbers"
KINDS = (("All weights", "full"), ("LoRA on 16 bits", "lora"), ("QLoRA on 4 bits", "qlora"))
KV_CHOICES = (AS_COMPUTED, *KV_TYPES)
MOST_PRECISIONS = 6
#: A context that is not named: see `Asked`. A field that was emptied is none.
OWN = "own"
#: What the typed numbers begin with: those of Mistral 7B.
START_NUMBERS = ModelNumbers(32, 4_096, 32, 14_336, 32_768, 8, 128)


@dataclass(frozen=True)
class PlanChoice:
    """Everything that is asked; numbers as the page gives them."""

    source: str = NAMED
    model: str = ""
    layers: Any = START_NUMBERS.layers
    hidden_size: Any = START_NUMBERS.hidden_size
    heads: Any = START_NUMBERS.heads
    intermediate_size: Any = START_NUMBERS.intermediate_size
    vocabulary: Any = START_NUMBERS.vocabulary
    key_value_heads: Any = START_NUMBERS.key_value_heads
    head_dim: Any = START_NUMBERS.head_dim
    tied: bool = START_NUMBERS.tied
    precisions: Sequence[str] = ("bf16", "int8", "nf4", "q4_k_m")
    context: Any = USUAL_CONTEXT
    batch: Any = Asked.batch
    kv: str = Asked.kv
    card: str = "RTX 3060"
    compute_dtype: str = Asked.compute_dtype
    piece: Any = 0
    finetune: str = "qlora"
    rank: Any = Asked.rank
    targets: str = ", ".join(Asked.targets)
    checkpointing: bool = Asked.checkpointing


def model(choice: PlanChoice) -> str | ModelNumbers:
    """Raises BadInput."""
    if choice.source == NUMBERS:
        names = [field.name for field in fields(ModelNumbers) if field.name != "tied"]
        given = {name: as_int(getattr(choice, name)) for name in names}
        given |= {name: given[name] or None for name in ("key_value_heads", "head_dim")}
        return ModelNumbers(**given, tied=bool(choice.tied))
    name = str(choice.model or "").strip()
    if not name:
        raise BadInput("No model was named.", "Name one, or give its numbers.")
    return name


def asked(choice: PlanChoice) -> Asked:
    """Raises BadInput."""
    chosen = tuple(str(name) for name in choice.precisions or ())
    if not chosen:
        raise BadInput("No precision was chosen.", "Choose one to six of them.")
    if len(chosen) > MOST_PRECISIONS:
        raise BadInput(f"{len(chosen)} precisions are more than one look takes.", f"Choose up to {MOST_PRECISIONS}.")
    context = None if choice.context == OWN else planning.check_context(as_int(choice.context))
    return planning.check(
        Asked(
            chosen, context, as_int(choice.batch), str(choice.kv), str(choice.compute_dtype),
            as_int(choice.piece) or None,
        )
    )  # fmt: skip


def tuned(choice: PlanChoice) -> Asked:
    """The same for fine-tuning. Raises BadInput."""
    targets = tuple(name.strip() for name in str(choice.targets or "").split(",") if name.strip())
    return replace(
        asked(choice), finetune=choice.finetune, rank=as_int(choice.rank), targets=targets,
        checkpointing=bool(choice.checkpointing),
    )  # fmt: skip
