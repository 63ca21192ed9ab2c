"""Tokens and names as text to show. Prompts are a visitor's input: nothing of them may become markup."""

_MARKS = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥"}

# Plotly reads a small HTML in every text; "$...$" would be TeX. It decodes these references after it has read the tags.
_REFERENCES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})


def visible(token: str) -> str:
    """A token in which spaces and line ends can be seen; what cannot be printed as its code point."""
    shown = (_MARKS.get(c, c if c.isprintable() else f"\\u{ord(c):04x}") for c in token)
    return "".join(shown) or "(empty)"


def escaped(text: str) -> str:
    """`text` for a place where plotly reads markup: labels, annotations, hover."""
    return text.translate(_REFERENCES)


def shortened(text: str, length: int) -> str:
    """`text` of at most `length` characters, cut in its middle: names of one family differ at their ends."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[head + 1 - length :]}"
