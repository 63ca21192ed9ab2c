"""Errors a user can be told: what happened and what to do. Anything else is a defect and stays loud.

A defect in one variant must not take the others with it: it becomes that column's `Broken`, and its traceback goes to
the log.
"""

import difflib
import re
from collections.abc import Iterable

#: Characters of what was typed that an error repeats.
LONGEST_SHOWN = 100
#: Characters of a word or of something in quotes that an error leaves as they are: a path may be so long.
_LONGEST_WORD = 200
#: Digits of a number, with what parts them.
_LONG_NUMBER = re.compile(r"\d[\d,_]{24,}")
_LONG_WORD = re.compile(
    rf"(?<!\w)'(?P<single>[^'\n]{{{_LONGEST_WORD + 1},}})'|(?<!\w)\"(?P<double>[^\"\n]{{{_LONGEST_WORD + 1},}})\""
    rf"|(?P<bare>\S{{{_LONGEST_WORD + 1},}})"
)


class QuantlabError(Exception):
    """A message fit for a user's eyes. `advice` says what to do about it.

    Whatever was typed and is repeated in `what` is shortened here, for all errors: numbers of many digits, words and
    quotes longer than any path.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        what = shortened(what)
        super().__init__(what)
        self.what = what
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.what} {self.advice}".strip()


class BadInput(QuantlabError):
    """What was asked for cannot be: an unknown name, a prompt too long, a value out of range."""


class ModelError(QuantlabError):
    """A model cannot be found, read or trusted."""


class NotFinite(ModelError):
    """Logits of which no token has a probability: `count` of them are infinite or not a number."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count:,} of its logits are infinite or not a number, so that no token has a probability.")
        self.count = count


class Diverged(ModelError):
    """A training whose loss is no number any more: with the same settings it would end so again."""


class Unavailable(QuantlabError):
    """This machine lacks what a precision or a source needs."""


class OutOfMemory(QuantlabError):
    """A variant does not fit, also after everything unused was dropped."""


class Broken(QuantlabError):
    """A defect, ours or a library's, met while one variant ran. Its cause is in the log."""


class Stopped(QuantlabError):
    """The user asked to stop. Not a failure, but the end of the run."""

    def __init__(self) -> None:
        super().__init__("Stopped.")


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust (tokenizers, safetensors) broke off: its error is none of Python's `Exception`.

    Whoever catches `Exception` lets it pass, and a thread that hands over errors would end without a word.
    """
    return type(error).__name__ == "PanicException"


def is_exit(error: BaseException) -> bool:
    """Whether it ends a program or a generator (KeyboardInterrupt, SystemExit, GeneratorExit) and tells of no fault."""
    return not isinstance(error, Exception) and not is_panic(error)


def shortened(what: str) -> str:
    """A sentence in which no number and no word is longer than can be read: of each its two ends are left."""
    return _LONG_WORD.sub(_both_ends, _LONG_NUMBER.sub(_first_digits, what))


def _first_digits(number: re.Match[str]) -> str:
    count = sum(it.isdigit() for it in number[0])
    return f"{number[0][:12].rstrip(',_')}… ({count} digits)"


def _both_ends(found: re.Match[str]) -> str:
    (long,) = filter(None, found.groups())
    return found[0].replace(long, f"{long[: _LONGEST_WORD // 2]}…{long[-_LONGEST_WORD // 2 :]}")


def unknown(kind: str, name: str, valid: Iterable[str]) -> BadInput:
    """The error for a name that is none of `valid`: the near ones first, then all of them."""
    names = list(valid)
    small = {each.lower(): each for each in names}
    near = difflib.get_close_matches(name, names, n=1) or difflib.get_close_matches(name.lower(), small, n=1)
    hint = f"Did you mean {small.get(near[0].lower(), near[0])}? " if near else ""
    return BadInput(f"Unknown {kind} {shown(name)}.", f"{hint}Choose from: {', '.join(names)}.")


def shown(typed: str) -> str:
    """What was typed, in quotes, cut where it is longer than a sentence can bear."""
    return repr(typed) if len(typed) <= LONGEST_SHOWN else f"{typed[:LONGEST_SHOWN]!r}..."
