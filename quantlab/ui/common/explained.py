"""One plain sentence for each label of Compare and Quality, with an example where it helps; its exact definition is one
click further, in the text at the foot of the page."""

from quantlab.reporting.templates import Pieces

_HTML = Pieces("ui/common/explained.html")
#: For each label its sentence, and the anchor of docs/measurement.md that defines it.
_SENTENCES = {
    "card": ("Memory in GB, or a card’s name; then “fits” speaks of that card.", "plan_fits"),
    "context": ("Prompt and answer; 4 tokens are about 3 words.", "plan_kv"),
    "prompt": ("What every column answers: the same tokens for each of them.", "set_prompt"),
    "max_new_tokens": ("The answer ends after so many tokens: 64 are about 50 words.", "set_new_tokens"),
    "reference": ("The column that the others are compared with, as a rule the one with the most bits.", "fidelity"),
    "compute_dtype": ("The type in which few-bit weights are multiplied: nf4 is unpacked into it first.", "set_dtype"),
    "sample": ("Draw the next token by its probability. Off: the likeliest one every time (greedy).", "set_sample"),
    "temperature": ("Below 1 likely tokens become likelier still, above 1 rare ones too.", "set_temperature"),
    "top_k": ("Draw among the k likeliest tokens only: 50 leaves out all but 50. 0 is off.", "set_top_k"),
    "top_p": ("Draw among the fewest tokens that together reach p: 0.9 leaves out the last tenth.", "set_top_p"),
    "seed": ("The same seed draws the same random numbers for every column, and again tomorrow.", "set_sample"),
    "raw": ("The model goes on with your words, where a chat would answer them.", "set_prompt"),
    "race": ("All columns at once: pretty to look at, but their times disturb each other.", "time"),
    "samples": ("Pieces of text that are read.", "set_calibration"),
    "length": ("Tokens in each of these pieces.", "set_calibration"),
    "kernel": ("The code that multiplies packed weights; auto takes the fastest that fits.", "set_kernel"),
    "fresh": ("The same greedy comparison gives the same words: this measures its times anew.", "answers"),
    "bound": ("Mean KLD in nats. 0.05 is about 5 % more perplexity, on text like the reference’s own.", "kld"),
    "memory": ("For the weights, in MB = 10⁶ bytes. 0 is no limit.", "stored_bytes"),
    "windows": ("More windows give smaller errors but take longer. Short texts are read to their end.", "reading"),
    "more_tasks": ("Their questions are downloaded from the Hugging Face Hub.", "tasks"),
    "noise_floor": ("Reads the reference in a second rounding too, which may have to be loaded for it.", "noise_floor"),
    "layers": ("Each layer’s output beside the reference’s: the largest number names the weakest layer.", "layers"),
}
ANCHORS = {key: anchor for key, (_, anchor) in _SENTENCES.items()}
#: How the links call them, where that is not the key.
_NAMES = {
    "max_new_tokens": "new tokens", "compute_dtype": "compute dtype", "top_k": "top-k", "top_p": "top-p",
    "raw": "raw prompt", "samples": "calibration", "fresh": "times", "card": "fits", "context": "keys and values",
    "more_tasks": "tasks", "noise_floor": "noise floor", "bound": "KLD", "memory": "stored bytes",
}  # fmt: skip


def info(key: str) -> str:
    """The sentence under a label. Raises KeyError for a label without one."""
    return _SENTENCES[key][0]


def exactly(*keys: str) -> str:
    """Links to the definitions of these labels: a sentence under a label can hold none."""
    return _HTML.exactly([(ANCHORS[key], _NAMES.get(key, key)) for key in keys])
