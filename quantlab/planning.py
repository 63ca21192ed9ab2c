"""From what was asked to what will run: the prompt's tokens, the limits, the order, the reference."""

import json
from dataclasses import dataclass, replace

from quantlab import models
from quantlab.engine.sampling import sampler
from quantlab.errors import BadInput, ModelError
from quantlab.methods import method_of, most_precise
from quantlab.models.tokenizer import encode_prompt, load_tokenizer
from quantlab.records import Model, Precision, Settings
from quantlab.running import Question
from quantlab.runtime import placement as placements
from quantlab.settings import AppSettings


@dataclass(frozen=True)
class Plan:
    """All that is known before the first variant loads."""

    model: Model
    chosen: tuple[Precision, ...]
    reference: Precision
    prompt: str
    question: Question
    settings: Settings

    @property
    def order(self) -> tuple[Precision, ...]:
        return (self.reference, *(p for p in self.chosen if p is not self.reference))


def plan(model: Model, chosen: tuple[Precision, ...], prompt: str, settings: Settings, app: AppSettings) -> Plan:
    """Read the prompt and check everything that can be checked before a variant loads. Raises BadInput."""
    placement = placements.resolve(settings.placement)
    tokenizer = load_tokenizer(model)
    prompt_ids = tuple(encode_prompt(tokenizer, prompt, settings.raw))
    _check_lengths(len(prompt_ids), settings, _context_length(model), app)
    sampler(settings)  # refuses settings out of range before anything loads
    if settings.reference is not None and settings.reference not in {p.name for p in chosen}:
        raise BadInput(
            f"The reference {settings.reference!r} is not among the precisions.",
            f"Choose one of: {', '.join(p.name for p in chosen)}.",
        )
    runnable = tuple(p for p in chosen if not method_of(p).unavailable(placement.device)) or chosen
    reference = next((p for p in chosen if p.name == settings.reference), None) or most_precise(runnable)
    question = Question(prompt_ids, tokenizer, _eos_ids(model, tokenizer), settings)
    return Plan(model, chosen, reference, prompt, question, replace(settings, placement=placement))


def _check_lengths(prompt_tokens: int, settings: Settings, context: int, app: AppSettings) -> None:
    """Raises BadInput where prompt and answer do not fit the model's context, or the limits of a public page."""
    if settings.max_new_tokens < 1:
        raise BadInput("At least one new token is needed.", "Raise the number of new tokens.")
    if app.public and settings.max_new_tokens > app.max_new_tokens:
        raise BadInput(f"Here an answer has at most {app.max_new_tokens} tokens.", "Ask for fewer new tokens.")
    if app.public and prompt_tokens > app.max_prompt_tokens:
        raise BadInput(
            f"The prompt has {prompt_tokens} tokens, and here at most {app.max_prompt_tokens} are allowed.",
            "Shorten the prompt.",
        )
    if prompt_tokens + settings.max_new_tokens > context:
        raise BadInput(
            f"The prompt's {prompt_tokens} tokens and {settings.max_new_tokens} new ones exceed the model's context "
            f"of {context}.",
            f"Ask for at most {context - prompt_tokens} new tokens."
            if prompt_tokens < context
            else f"Shorten the prompt by at least {prompt_tokens - context + 1} tokens.",
        )


def _context_length(model: Model) -> int:
    config = models.config(model)
    return config.get("max_position_embeddings") or config.get("n_positions") or config.get("n_ctx") or 2**31


def _eos_ids(model: Model, tokenizer) -> frozenset[int]:
    """Every id that ends an answer: the tokenizer's, the configuration's and the generation configuration's."""
    found = [tokenizer.eos_token_id, models.config(model).get("eos_token_id") if not model.meaningless else None]
    if model.folder is not None and (model.folder / "generation_config.json").is_file():
        try:
            found.append(json.loads((model.folder / "generation_config.json").read_text()).get("eos_token_id"))
        except (ValueError, AttributeError) as error:
            raise ModelError(
                f"generation_config.json of {model.name!r} is not valid JSON.", "Copy it again, or remove it."
            ) from error
    flat = (i for entry in found for i in (entry if isinstance(entry, list) else [entry]))
    return frozenset(i for i in flat if i is not None)
