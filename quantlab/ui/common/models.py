"""What the page says about a chosen model: what its kind means, and examples that suit it."""

import re

from quantlab.models.source import is_gguf
from quantlab.records import Model
from quantlab.ui.compare.share import HUB_ID

KINDS = {
    "demo": "It was trained for this app on Veld, an invented island of 1,000 people with their towns, crafts, pets "
    "and foods. It tells stories of them, answers questions about them and adds up small numbers, and knows nothing of "
    "the real world.",
    "folder": "A folder on this machine, with safetensors weights and a tokenizer.",
    "package": "From the Hugging Face Hub or, without it, from a Python package on this machine.",
    "hub": "From the Hugging Face Hub, downloaded once. Add @revision for a certain version.",
    "gguf": "A GGUF file: itself by llama.cpp (stored), and its weights, dequantized, at every other precision.",
    "shape": "A published architecture filled with random weights: memory and speed are true, the text is meaningless.",
}
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
    """The kind of a model by its name, without looking at a disk or a network."""
    known = {choice_name: kind for choice_name, kind, _ in choices}
    if name in known:
        return known[name]
    if name.startswith("shape:"):
        return "shape"
    if is_gguf(name):
        return "gguf"
    return "hub" if HUB_ID.fullmatch(name) and not re.match(r"[./~]", name) else "folder"


def before_it_is_found(name: str) -> Model | None:
    """What is known of a model by its name alone: whether its weights are random."""
    return Model(name, "shape", None) if name.startswith("shape:") else None


def about(name: str, choices: tuple[tuple[str, str, str], ...]) -> tuple[str, str]:
    """The line under the model's name: what it is, and what its kind means."""
    described = {choice_name: description for choice_name, _, description in choices}
    return described.get(name, ""), KINDS[kind_of(name, choices)]


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
