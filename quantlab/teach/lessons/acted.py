"""What a learner tries out in a lesson, checked."""

from dataclasses import dataclass

from quantlab.errors import BadInput, unknown
from quantlab.teach.inside.numbers import EXAMPLE

#: The longest prompt of a learner's own, in characters: a lesson's run takes seconds.
LONGEST_PROMPT = 300
BITS = (2, 8)
PRECISIONS = ("fp32", "bf16", "int8", "nf4")
MODELS = ("smollm2", "demo")
PROMPT = "Tell me a story about Mira Toll."


@dataclass(frozen=True)
class Acted:
    """The controls of all lessons; each lesson looks at its own, three at most."""

    prompt: str = PROMPT
    numbers: str = EXAMPLE
    bits: int = 4
    planned: str = "shape:Mistral-7B-v0.3"
    precision: str = "nf4"
    context: int = 4_096
    model: str = "smollm2"
    card: str = "RTX 3060"


def checked_prompt(prompt: str) -> str:
    """Raises BadInput for none and for one that is too long for a lesson."""
    text = prompt.strip()
    if not text:
        raise BadInput("The prompt is empty.", f"Type one, such as: {PROMPT}")
    if len(text) > LONGEST_PROMPT:
        raise BadInput(f"The prompt has {len(text):,} characters.", f"In a lesson it has {LONGEST_PROMPT} at most.")
    return text


def checked_name(kind: str, name: str, known: tuple[str, ...]) -> str:
    """Raises BadInput for what is not offered."""
    if name not in known:
        raise unknown(kind, name[:80], known)
    return name
