"""The texts that every variant reads: the demo world's held-out documents, English prose, WikiText-2, a user's own."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from quantlab.demo.corpus import BOS, END, held_out_documents
from quantlab.errors import BadInput, QuantlabError
from quantlab.fidelity import wikitext
from quantlab.models.source import of_demo_world
from quantlab.records import Text
from quantlab.settings import ASSETS, AppSettings

#: Names of the bundled texts, and what each is.
BUNDLED: Mapping[str, str] = MappingProxyType(
    {
        "demo": "documents of the demo world that no training run has seen",
        "english": "English prose in ten registers, written for this purpose",
    }
)
#: Names of all texts that are no file of a user's; `wikitext2` is fetched once.
NAMED: Mapping[str, str] = MappingProxyType(
    {
        **BUNDLED,
        "wikitext2": "Wikipedia's articles in WikiText-2, test set: what papers measure perplexity on; from the Hub",
    }
)
_KNOWN = f"Name a text file, or one of: {', '.join(NAMED)}."
DEMO_DOCUMENTS = 300
#: A text is held in memory and read in one go by the tokenizer; what lies beyond the first windows is not scored.
MAX_BYTES = 10 * 10**6


def text(source: str) -> Text:
    """The text of that name, else the text in that file.

    Raises BadInput for a file that is missing, empty, not UTF-8 or larger than `MAX_BYTES`, Unavailable for
    `wikitext2` where it is not in the Hub's cache and cannot be fetched.
    """
    if source == "demo":
        # One after the other as in training, where each began with BOS and ended with END.
        documents = held_out_documents(DEMO_DOCUMENTS)
        return _text(source, "".join(BOS + document.removesuffix(END) + END for document in documents))
    if source == "english":
        return _text(source, (ASSETS / "texts" / "english.txt").read_text("utf-8"))
    if source == "wikitext2":
        return _text(source, wikitext.content())
    if not source.strip():
        raise BadInput("No text was named.", _KNOWN)
    return _text(Path(source).name, _content(Path(source)))


def suiting(model: str, app: AppSettings) -> str:
    """The name of the bundled text that suits a model: its own world for the demo and its kin, else English prose."""
    return "demo" if of_demo_world(model, app) else "english"


@lru_cache(maxsize=8)  # a sweep asks it of one text for each of its jobs
def is_named(read: Text) -> bool:
    """Whether `text(read.name)` gives it again: a file of a user's may have the same name."""
    try:
        return read.name in NAMED and text(read.name).digest == read.digest
    except QuantlabError:
        return False


def pasted(content: str, name: str = "pasted text") -> Text:
    """A text that a user gave. Raises BadInput where it is empty or larger than `MAX_BYTES`."""
    if len(content.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _too_large(name)
    return _text(name, content)


def _content(file: Path) -> str:
    try:
        if file.is_file() and file.stat().st_size > MAX_BYTES:
            raise _too_large(str(file))
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8: byte {error.start:,} cannot be read.", "Save it as UTF-8.") from error
    except OSError as error:
        raise BadInput(f"The text {str(file)!r} cannot be read: {error.strerror}.", _KNOWN) from error
    except ValueError as error:  # a name with a null byte
        raise BadInput("The text's name is no file name.", _KNOWN) from error


def _too_large(name: str) -> BadInput:
    return BadInput(f"{name} is larger than {MAX_BYTES / 1e6:.0f} MB.", "A part of it tells as much: cut it.")


def _text(name: str, content: str) -> Text:
    if not content.strip():
        raise BadInput(f"The text {name!r} is empty.", "Give a text of at least some 500 words.")
    if "\0" in content:
        raise BadInput(f"{name!r} holds null characters, which no text has.", "Give a plain text file (UTF-8).")
    # A lone surrogate has no UTF-8 and no tokens.
    try:
        encoded = content.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"The text {name!r} holds half a character at {error.start:,}.", "Remove it.") from error
    return Text(name, content, hashlib.sha256(encoded).hexdigest())
