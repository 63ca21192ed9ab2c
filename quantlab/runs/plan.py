"""From what was asked to what will run: the prompt's tokens, the limits, the order, the reference."""

import threading
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quantlab import methods, models
from quantlab.errors import BadInput, ModelError, QuantlabError, Stopped
from quantlab.methods import METHODS, at_kv_cache, most_precise, precision, served, variant_of
from quantlab.methods.gguf.trying import tokens
from quantlab.methods.published import STORED, as_stored, check_there, is_published, label, precision_of, read
from quantlab.methods.served import Server, is_served
from quantlab.models.architecture import vocabulary_size
from quantlab.models.folder import read_json
from quantlab.models.tokenizer import check_ids, encode_prompt, load_tokenizer
from quantlab.records import (
    Model,
    Precision,
    Progress,
    QualitySettings,
    ResolvedPlacement,
    Settings,
    Text,
    Variant,
    silent,
)
from quantlab.runs.generate import PROBE, PromptInput, check_tokenizer
from quantlab.runtime import placement as placements
from quantlab.runtime.kv_cache import split
from quantlab.runtime.sampling import sampler
from quantlab.settings import AppSettings, app_settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: The decode speed is measured after this many characters of a text, or this many tokens where that is less.
_PROMPT, _PROMPT_TOKENS = 400, 64
_REFERENCE_HERE = "Choose a precision that runs here, such as bf16: the others are held against it."
#: Where the ways to part a text part: signs before line ends, spaces in a row, digits, capitals after an apostrophe,
#: letters and digits side by side, and words that are common enough to be tokens.
SPLITS = (
    "The end.\nAnd so on...\n\n\tIf x:\r\n    return  y; \n it's don'T I'LL WE'VE they're (yes) [no]\n\n \n"
    "12345678 1,234.56 007 abc123def x2=y3 v1.0-rc2 $5 #tag @me a/b/c\n http://example.org/?q=1&r=2 ... --- !!! \n"
    "HelloWorld helloWORLD snake_case  Größe naïve café 東京都に行く Привет мир नमस्ते السلام 🙂🙂 ½ ² e\u0301 \u00a0 \n"
)


@dataclass(frozen=True)
class Entrant:
    """A column before it runs: a precision, under the name of its column, of a model; or why it cannot run.

    `server` answers in its place, where the column is of a served model."""

    precision: Precision
    model: Model
    failure: QuantlabError | None = None
    server: Server | None = None

    @property
    def name(self) -> str:
        return self.precision.name


@dataclass(frozen=True)
class Plan:
    """All that is known before the first variant loads. The placement of `settings` is `placement`."""

    model: Model
    entrants: tuple[Entrant, ...]
    reference: Entrant
    prompt: str
    prompt_input: PromptInput
    settings: Settings
    placement: ResolvedPlacement

    @property
    def order(self) -> tuple[Entrant, ...]:
        return (self.reference, *(entrant for entrant in self.entrants if entrant is not self.reference))

    def identity(self, entrant: Entrant) -> str:
        """A digest of all files that a column's figures follow from: its own, the reference's, the tokenizer's."""
        files = dict.fromkeys((entrant.model.identity, self.reference.model.identity, self.model.identity))
        adapters = (it.precision.adapter for it in (entrant, self.reference))
        files |= {adapter.identity: None for adapter in adapters if adapter}
        return self.model.identity if len(files) == 1 else models.digest(list(files))[:32]

    def variant(self, entrant: Entrant) -> Variant:
        return variant_of(entrant.model, entrant.precision, self.placement, self.settings.calibration)


def enter(model: Model, name: str, asked: str, app: AppSettings, progress: Progress = silent) -> Entrant:
    """The column called `name` for what was asked: a precision of the model, or a published checkpoint.

    A checkpoint that cannot be had (the Hub is out of reach, a file is damaged) is an entrant with its failure. Raises
    BadInput for a precision, a file or a pick that does not exist, Stopped from `progress`.
    """
    if is_served(asked):
        check_there(read(asked), app)
        server = served.read(asked)
        return Entrant(served.precision(server, name), model, server=server)
    asked, kv_cache = split(asked)
    if not is_published(asked):
        chosen = precision(asked)
        of = models.identified(models.file_model(model)) if asked == STORED and model.origin is not None else model
        chosen = at_kv_cache(_as_stored(of, chosen) if asked == STORED else chosen, kv_cache)
        # Two adapters may have one name, in two folders.
        return Entrant(replace(chosen, name=name) if chosen.adapter else chosen, of)
    published = read(asked)
    check_there(published, app)
    try:
        found = models.resolve(published.name, app, progress, published.pick)
        return Entrant(at_kv_cache(precision_of(published, name, models.checkpoint(found)), kv_cache), found)
    except (Stopped, BadInput):  # what was mistyped is told before a column takes its minutes
        raise
    except QuantlabError as error:
        return Entrant(Precision(name, STORED, 0, ""), model, error)


def _as_stored(model: Model, chosen: Precision) -> Precision:
    """The precision `stored` with the bits that the model's own weights have, where they are quantized."""
    checkpoint = models.checkpoint(model)
    return as_stored(checkpoint, chosen.name) if checkpoint.stored_as else chosen


def refusal(entrant: Entrant, device: str) -> str | None:
    """Why a column cannot run on the device, in words that go on from "it ..."; None where it can."""
    return methods.refusal(entrant.precision, models.checkpoint(entrant.model), device)


def plan(
    model: Model,
    entrants: tuple[Entrant, ...],
    prompt: str,
    settings: Settings,
    app: AppSettings,
    stop: threading.Event | None = None,
) -> Plan:
    """Read the prompt and check everything that can be checked before a variant loads.

    Raises BadInput, ModelError where a checkpoint's tokenizer gives other ids than the model's, Stopped once `stop` is
    set.
    """
    placement = placements.resolve(settings.placement)
    tokenizer = load_tokenizer(model)
    prompt_ids = tuple(encode_prompt(tokenizer, prompt, settings.raw, stop))
    check_ids(tokenizer, prompt_ids, vocabulary_size(models.config(model)), "The prompt")
    _check_lengths(len(prompt_ids), settings, context_length(model), app)
    sampler(settings)  # refuses settings out of range before anything loads
    prompt_input = PromptInput(prompt_ids, tokenizer, _eos_ids(model, tokenizer), settings)
    reference = _reference(entrants, settings.reference, placement.device)
    _check_tokenizers(model, entrants, prompt_input)
    _check_read_alike(model, prompt_input, stop)
    models.check_unchanged(model)  # the tokenizer was read after it was looked at
    settings = replace(settings, placement=placement.asked)
    return Plan(model, entrants, reference, prompt, prompt_input, settings, placement)


def plan_text(model: Model, entrants: tuple[Entrant, ...], text: Text, settings: QualitySettings) -> Plan:
    """The same for a text: the prompt, after which the speed is measured, is its beginning."""
    asked = Settings(
        max_new_tokens=settings.new_tokens,
        raw=True,
        reference=settings.reference,
        placement=settings.placement,
        calibration=settings.calibration,
    )
    return plan(model, entrants, _beginning(model, text), asked, app_settings())


def _beginning(model: Model, text: Text) -> str:
    """The text's beginning, a few tokens long."""
    tokenizer, begun = load_tokenizer(model), text.content.strip()[:_PROMPT]
    ids = tokenizer.encode(begun, add_special_tokens=False, verbose=False)[:_PROMPT_TOKENS]
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip() or begun[:1]


def _check_tokenizers(model: Model, entrants: tuple[Entrant, ...], prompt_input: PromptInput) -> None:
    """Raises ModelError for a checkpoint with another tokenizer. That of a GGUF file is known when it is loaded."""
    others = (it.model for it in entrants if it.failure is None and it.model != model and it.model.gguf is None)
    for other in dict.fromkeys(others):
        check_tokenizer(other, prompt_input)


def _check_read_alike(model: Model, prompt_input: PromptInput, stop: threading.Event | None) -> None:
    """Raises ModelError where transformers reads the tokenizer of a GGUF file otherwise than llama.cpp does.

    A file tells how a text is parted by a name that only llama.cpp's own code explains.
    """
    if model.origin is None or METHODS["gguf"].unavailable("cpu") is not None:
        return

    def go_on(*_step: object) -> None:
        if stop is not None and stop.is_set():
            raise Stopped

    text = prompt_input.tokenizer.decode(prompt_input.prompt_ids) + PROBE + SPLITS
    ours = tuple(prompt_input.tokenizer.encode(text, add_special_tokens=False))
    theirs = tokens(model.origin, text, go_on)
    if ours != theirs:
        raise ModelError(
            f"transformers reads the tokenizer of {model.name} otherwise than llama.cpp: a text of {len(theirs)} tokens"
            f" is {len(ours)} to it.",
            "Give the original model, and add this file as a published checkpoint (--variant).",
        )


def _reference(entrants: tuple[Entrant, ...], wanted: str | None, device: str) -> Entrant:
    """The one asked for, by its column's name or as it was typed; else the most precise one that can run."""
    if wanted is not None:
        name = label(wanted)
        found = next((entrant for entrant in entrants if entrant.name in (name, wanted)), None)
        if found is None:
            raise BadInput(
                f"The reference {wanted!r} is not among the precisions.",
                f"Choose one of: {', '.join(entrant.name for entrant in entrants)}.",
            )
        if found.server is not None:
            raise BadInput(f"{found.name} is served: it tells too little to be the reference.", _REFERENCE_HERE)
        return found
    if all(it.server for it in entrants):
        raise BadInput("Only served models are chosen.", _REFERENCE_HERE)
    entrants = tuple(it for it in entrants if it.server is None)
    runnable = [it for it in entrants if it.failure is None and refusal(it, device) is None] or entrants
    best = most_precise(tuple(entrant.precision for entrant in runnable))
    return next(entrant for entrant in runnable if entrant.precision is best)


def moved(plan: Plan, without: Collection[str]) -> Plan | None:
    """The plan with the next most precise column that can run as its reference; None where one was asked for, or none
    is left.

    `without` names the columns that cannot be it: logits that are no numbers cannot be compared with.
    """
    if plan.settings.reference is not None:
        return None
    left = tuple(it for it in plan.entrants if it.name not in without and it.server is None)
    return replace(plan, reference=_reference(left, None, plan.placement.device)) if left else None


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
            else f"Shorten the prompt to fewer than {context} tokens: prompt and new ones share them.",
        )


def context_length(model: Model) -> int:
    """Tokens that the model was made for, as its configuration or transformers' default says; a huge number where
    neither does."""
    return models.context_length(model) or 2**31


def _eos_ids(model: Model, tokenizer: "PreTrainedTokenizerBase") -> frozenset[int]:
    """Every id that ends an answer: the tokenizer's, the configuration's and the generation configuration's.

    Raises ModelError where one of the files holds something else.
    """
    told = {"": tokenizer.eos_token_id}
    if not model.meaningless:
        told["config.json"] = models.config(model).get("eos_token_id")
    if model.folder is not None and (file := model.folder / "generation_config.json").is_file():
        told[file.name] = read_json(file, model.name).get("eos_token_id")
    found: set[int] = set()
    for file_name, value in told.items():
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
            raise ModelError(
                f"{file_name} of {model.name!r} has the eos_token_id {value!r}, which is no token id and no list of "
                "them.",
                "Mend that value, or remove it.",
            )
        found.update(ids)
    return frozenset(found)
