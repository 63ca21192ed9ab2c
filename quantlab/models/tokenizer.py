"""One tokenizer for all precisions of a model, and the three things asked of it: load, encode a prompt, show tokens."""

import json
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from quantlab.errors import BadInput, ModelError, is_exit, is_panic
from quantlab.models import source, templates
from quantlab.models.configuration import cause, configuration
from quantlab.models.folder import read_config, read_json
from quantlab.models.quiet import import_transformers, panics_unheard
from quantlab.records import Model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: How a tokenizer.json names its kind. It may be long, and nothing else is looked for in it.
_KIND = re.compile(rb'"model"\s*:\s*\{\s*"type"\s*:\s*"(\w+)"')
#: What a decoder shows for bytes that are no whole character yet.
_INCOMPLETE = "\ufffd"
_NO_LIMIT = int(1e30)


def load_tokenizer(model: Model) -> "PreTrainedTokenizerBase":
    """The tokenizer of `model`; a shape has none, so it takes the demo's, whose ids every vocabulary holds.

    Raises ModelError where transformers cannot read it.
    """
    import_transformers()
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    # A GGUF file names its split itself; the class of its architecture would put its own in that place.
    reader = AutoTokenizer if model.origin is None else PreTrainedTokenizerFast
    folder = model.folder or source.DEMO_FOLDER
    named = _class_named(folder, model.name)
    options = {"trust_remote_code": False, "local_files_only": True, "use_fast": True}
    try:
        with panics_unheard():
            tokenizer = reader.from_pretrained(folder, **options)
    except BaseException as error:  # each class has its own ways to fail, and the user can mend none of them here
        if is_exit(error):
            raise
        _blame_config(folder, model.name)
        raise ModelError(
            f"The tokenizer of {model.name!r} cannot be read ({cause(error)}){_named(named)}.", "Copy its files again."
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"{model.name!r} has no tokenizer.json.", "Save it once with a transformers that can convert it."
        )
    _check_kind(tokenizer, folder, model.name, named)
    # How long a text may be is held against the model (`runs.plan`, windows of a text); here it is only a warning.
    tokenizer.model_max_length = _NO_LIMIT
    return _guarded(tokenizer, model.name)


def _class_named(folder: Path, name: str) -> str | None:
    """The class that tokenizer_config.json names. Raises ModelError for what is of a type that breaks its reader."""
    file = folder / "tokenizer_config.json"
    settings = read_json(file, name) if file.is_file() else {}
    for key, what, types in (("tokenizer_class", "name", (str,)), ("model_max_length", "number", (int, float))):
        if not isinstance(value := settings.get(key), (*types, type(None))):
            raise ModelError(
                f"{file.name} of {name!r} has the {key} {str(value)[:60]!r}, which is no {what}.",
                "Copy its files again, or remove that value.",
            )
    return settings.get("tokenizer_class")


def _named(tokenizer_class: str | None) -> str:
    return f"; tokenizer_config.json names the class {tokenizer_class}" if tokenizer_class else ""


def _blame_config(folder: Path, name: str) -> None:
    """Raises ModelError where config.json is wrong: it is read too, and the tokenizer is not to blame then."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        return
    configuration(read_config(folder, name), repr(name))
    try:
        AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True).to_json_string()
    except Exception as error:  # each kind checks its values in its own way
        raise ModelError(f"config.json of {name!r} cannot be used: {cause(error)}.", "Mend that value.") from error


def _check_kind(tokenizer: "PreTrainedTokenizerBase", folder: Path, name: str, named: str | None) -> None:
    """Raises ModelError where the class that was named makes another kind of tokenizer than its own file holds.

    transformers believes the name, and a vocabulary of pairs would be read as one of whole words.
    """
    file = folder / "tokenizer.json"
    found = _KIND.search(file.read_bytes()) if file.is_file() else None
    kind, made = found and found[1].decode(), type(tokenizer.backend_tokenizer.model).__name__
    if kind and kind != made:
        raise ModelError(
            f"The tokenizer.json of {name!r} is of the kind {kind}, and was read as {made}{_named(named)}.",
            "Copy its files again, or remove that name from tokenizer_config.json.",
        )


def _guarded(tokenizer: "PreTrainedTokenizerBase", name: str) -> "PreTrainedTokenizerBase":
    """The same tokenizer; what its files make the library break off at is a ModelError, whoever calls it.

    A tokenizer.json is a program too: a pattern that tries every way to part a text ends in a panic, and a vocabulary
    without an unknown token in an error, at some texts and not at others.
    """
    kind = type(tokenizer)
    patterns = "Regex" in str(json.loads(tokenizer.backend_tokenizer.to_str()).get("decoder"))

    @contextmanager
    def translate_errors(doing: str, holding: bool) -> Iterator[None]:
        try:
            with panics_unheard(holding):
                yield
        except BaseException as error:
            # Errors of the library are of no kind of their own; those that are were made by a wrong call, by us.
            if not is_panic(error) and type(error) is not Exception:
                raise
            raise ModelError(
                f"The tokenizer of {name!r} cannot {doing} ({cause(error)}).",
                "Its tokenizer.json asks for what the tokenizers library cannot do: copy it again from where the model "
                "was published, or try another text.",
            ) from None

    def _encode_plus(self, *args, **kwargs):
        with translate_errors("read this text", True):
            return kind._encode_plus(self, *args, **kwargs)

    def _decode(self, *args, **kwargs):
        # In the loop that makes an answer, so nothing is held back without need.
        with translate_errors("write these tokens", patterns):
            return kind._decode(self, *args, **kwargs)

    # Under the same name: it is written beside a tokenizer that is saved.
    guards = {"_encode_plus": _encode_plus, "_decode": _decode, "__module__": kind.__module__}
    tokenizer.__class__ = type(kind.__name__, (kind,), guards)
    return tokenizer


def encode_prompt(
    tokenizer: "PreTrainedTokenizerBase", prompt: str, raw: bool, stop: threading.Event | None = None
) -> list[int]:
    """Token ids of a prompt, BOS exactly once where the tokenizer or its chat template wants it.

    The chat template, where there is one, is applied to one user message unless `raw`. Raises BadInput for an empty
    prompt, ModelError for a template that fails, takes too much or leaves the prompt out (see `models.templates`),
    Stopped once `stop` is set.
    """
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"The prompt holds half a character at {error.start:,}.", "Remove it.") from error
    chat = bool(tokenizer.chat_template) and not raw
    prefix = _prefix(tokenizer)
    # A typed BOS beside the one that is put there anyway would be a second one.
    text = _without_bos(tokenizer, prompt) if chat or tokenizer.bos_token_id in prefix else prompt
    if not text.strip():
        raise BadInput("The prompt is empty.", "Type what the models should go on from.")
    if not chat:
        return prefix + tokenizer.encode(text, add_special_tokens=False)
    rendered = templates.render(tokenizer, text, stop)
    templates.check_holds(tokenizer, text, rendered, stop)
    ids = tokenizer.encode(rendered, add_special_tokens=False)
    while len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
        ids = ids[1:]
    return ids


def added_bos(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The BOS that this tokenizer puts in front of a text by itself; None where it has none, or puts none there."""
    bos = tokenizer.bos_token_id
    return bos if bos in _prefix(tokenizer) else None


def check_ids(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int], size: int | None, what: str) -> None:
    """Raises BadInput where a text (`what`: "The prompt") has a token that the model has no embedding for.

    `size` is that of the model's vocabulary. Tokens are added to a tokenizer more easily than to a model.
    """
    if size is not None and (beyond := next((i for i in ids if i >= size), None)) is not None:
        raise BadInput(
            f"{what} holds {tokenizer.convert_ids_to_tokens(beyond)!r}, token {beyond:,}, and the model knows "
            f"{size:,}.",
            "Leave it out, or take the tokenizer that the model was published with.",
        )


def token_texts(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> tuple[str, ...]:
    """The text of each token, special tokens as they are written; joined they are the whole decoded text.

    Where a character is spread over several tokens, the one that completes it gets it and the others are ''.
    """
    whole = _decode(tokenizer, ids)
    pieces = _grown(tokenizer, ids)
    return tuple(pieces if "".join(pieces) == whole else _prefixes(tokenizer, ids, whole))


def _grown(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> list[str]:
    """What each token adds, seen from the last complete piece before it.

    A token's text depends on its neighbour (a leading space is dropped at the start of a text), hence the pair.
    """
    pieces = []
    start = shown = 0
    for end in range(1, len(ids) + 1):
        before, after = _decode(tokenizer, ids[start:shown]), _decode(tokenizer, ids[start:end])
        if after.endswith(_INCOMPLETE) and end < len(ids):
            pieces.append("")
            continue
        pieces.append(after[len(before) :])
        start, shown = shown, end
    return pieces


def _prefixes(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int], whole: str) -> list[str]:
    """The same from the beginning each time, which is slow and holds for every decoder.

    Some take back what they showed: with byte fallback one stray byte turns the valid ones before it into marks too.
    """
    pieces, shown = [], 0
    for end in range(1, len(ids) + 1):
        text = _decode(tokenizer, ids[:end])
        settled = whole.startswith(text) and (end == len(ids) or not text.endswith(_INCOMPLETE))
        pieces.append(text[shown:] if settled else "")
        shown = max(shown, len(text)) if settled else shown
    return pieces


def _decode(tokenizer: "PreTrainedTokenizerBase", ids: Iterable[int]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _prefix(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The ids that this tokenizer wants in front of any text: BOS for most, none for some.

    What it would put behind (an end-of-text token) is left out: a prompt is there to be continued.
    """
    bare = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a")
    start = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
    prefix, bos = whole[:start], tokenizer.bos_token_id
    if getattr(tokenizer, "add_bos_token", False) and bos is not None and bos not in prefix:
        prefix = [bos, *prefix]
    return prefix


def _without_bos(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    while tokenizer.bos_token and text.lstrip().startswith(tokenizer.bos_token):
        text = text.lstrip().removeprefix(tokenizer.bos_token)
    return text
