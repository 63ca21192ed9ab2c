"""What the page says about a chosen model: what its kind means, and examples that suit it."""

from quantlab.records import Model, ModelFacts, ModelKind, units

KINDS = {
    "demo": "It was trained for this app on Veld, an invented island of 1,000 people with their towns, crafts, pets "
    "and foods. It tells stories of them, answers questions about them and adds up small numbers, and knows nothing of "
    "the real world.",
    "folder": "A folder on this machine.",
    "package": "From the Hugging Face Hub or, without it, from a Python package on this machine.",
    "hub": "From the Hugging Face Hub, downloaded once. Add @revision for a certain version.",
    "gguf": "A GGUF file: itself by llama.cpp (stored), and its weights, dequantized, at every other precision.",
    "shape": "A published architecture filled with random weights: memory and speed are true, the text is meaningless.",
}
NOTHING_THERE = (
    "Nothing is there by this name: it is none of the list, no folder, .gguf file or Ollama model of this machine, "
    "and no id of the Hugging Face Hub."
)
NOT_OFFERED = "This page has no model of this name: choose one from the list."
NOT_LOOKED_UP = "An id of the Hugging Face Hub that is not looked up yet: the Hub is asked about it when it is run."
NOT_READ = "It could not be read as a model."
#: (label, prompt) of the example buttons. Every list has the same length: the buttons are fixed.
DEMO_EXAMPLES = (
    ("Story", "Tell me a story about Sanna Corsa."),
    ("Fact", "What pet does Sanna Corsa have?"),
    ("Sum", "What is 27 + 45?"),
    ("Question", "Who are you?"),
    ("Person", "Tell me about Sanna Corsa."),
)
GENERAL_EXAMPLES = (
    ("Story", "Tell me a short story about a lighthouse keeper who finds a letter."),
    ("Fact", "What is the capital of Australia, and why is it not Sydney?"),
    ("Sum", "What is 27 + 45? Explain step by step."),
    ("Question", "Why is the sky blue? Answer in two sentences."),
    ("Code", "Write a Python function that checks whether a word is a palindrome."),
)


def start_model(choices: tuple[tuple[str, str, str], ...]) -> str:
    """What the page opens on: the first of the list."""
    return choices[0][0]


def kind_of(name: str, choices: tuple[tuple[str, str, str], ...]) -> str:
    """The kind of a model of the list, or of a shape; empty for any other, which its name alone does not tell."""
    known = {choice_name: kind for choice_name, kind, _ in choices}
    return known.get(name, "shape" if name.startswith("shape:") else "")


def before_it_is_found(name: str) -> Model | None:
    """What is known of a model by its name alone: whether its weights are random."""
    return Model(name, "shape", None) if name.startswith("shape:") else None


def about(
    name: str, choices: tuple[tuple[str, str, str], ...], facts: ModelFacts, *, public: bool = False
) -> tuple[str, str, str]:
    """The lines under the model's name: what it is, what its kind means, and what its files say."""
    described = {choice_name: description for choice_name, _, description in choices}
    kind = kind_of(name, choices) or facts.kind
    if kind is None:
        return "", (NOT_OFFERED if public else NOTHING_THERE), ""
    told = listed(facts)
    if not told and kind == "hub":
        return described.get(name, ""), NOT_LOOKED_UP, ""
    unread = f" {NOT_READ}" if not told and kind in ("folder", "gguf") else ""
    return described.get(name, ""), KINDS[kind] + unread, told


def listed(facts: ModelFacts) -> str:
    """What a model's description says, in a line; empty where nothing of it was read."""
    if not facts.architecture and facts.nbytes is None:
        return ""
    parts = [
        facts.architecture,
        f"{_count(facts.parameters)} parameters" if facts.parameters else "",
        units.counted(facts.layers, "layer") if facts.layers else "",
        f"context of {facts.context:,} tokens" if facts.context else "",
        f"{units.size(facts.nbytes)} {_where(facts.kind)}{_quantized(facts.stored_as)}" if facts.nbytes else "",
    ]
    return " · ".join(filter(None, parts))


def _where(kind: ModelKind | None) -> str:
    return "on disk" if kind in ("demo", "folder", "gguf") else "of weights"


def _quantized(stored_as: str | None) -> str:
    return f", quantized already ({stored_as})" if stored_as not in (None, "gguf") else ""


def _count(weights: int) -> str:
    return f"{units.number(weights / 1e9)} billion" if weights >= 1e9 else f"{units.number(weights / 1e6)} million"


def prompt_for(name: str, prompt: str, choices: tuple[tuple[str, str, str], ...]) -> str:
    """The prompt after a change of the model: an example of the other kind of model gives way to its like."""
    wanted = examples(name, choices)
    texts = [text for _, text in wanted]
    for others in (DEMO_EXAMPLES, GENERAL_EXAMPLES):
        place = next((place for place, (_, text) in enumerate(others) if text == prompt), None)
        if place is not None and prompt not in texts:
            return texts[place]
    return prompt


def examples(name: str, choices: tuple[tuple[str, str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The examples for a model, as (label, prompt)."""
    return DEMO_EXAMPLES if kind_of(name, choices) == "demo" else GENERAL_EXAMPLES
