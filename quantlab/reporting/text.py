"""Tokens, answers and names as text to show. Prompts are a visitor's input: nothing of them may become markup."""

from quantlab.records import Run

_MARKS = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥"}

# Plotly reads a small HTML in every text; "$...$" would be TeX. It decodes these references after it has read the tags.
_REFERENCES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})


def visible(token: str) -> str:
    """A token in which spaces and line ends can be seen; what cannot be printed as its code point."""
    shown = (_MARKS.get(c, c if c.isprintable() else f"\\u{ord(c):04x}") for c in token)
    return "".join(shown) or "(empty)"


def said(run: Run) -> tuple[str, ...]:
    """A run's tokens without the end-of-text token, which its text leaves out."""
    return run.tokens[:-1] if "".join(run.tokens[:-1]).lstrip() == run.text.lstrip() else run.tokens


def cut_at(run: Run, max_new_tokens: int) -> int:
    """The limit of new tokens where it ended an answer; 0 where the answer ended by itself or was stopped."""
    return max_new_tokens if not run.stopped and not run.error and len(said(run)) >= max_new_tokens else 0


def tokens(count: int) -> str:
    """So many tokens, in words."""
    return f"{count:,} token{'' if count == 1 else 's'}"


def holds_code(text: str) -> bool:
    """Whether code is fenced off in an answer, which then wants letters of one width."""
    return "```" in text


def escaped(text: str) -> str:
    """`text` for a place where plotly reads markup: labels, annotations, hover."""
    return text.translate(_REFERENCES)


def shortened(text: str, length: int) -> str:
    """`text` of at most `length` characters, cut in its middle: names of one family differ at their ends."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[head + 1 - length :]}"
