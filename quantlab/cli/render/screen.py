"""The one way from a text to the terminal.

Texts come from models, files and other people: what they hold must be shown and never obeyed. A terminal obeys control
characters (they move the cursor, change its title, set the clipboard) and readers are misled by marks that turn the
direction of writing.
"""

import re
import unicodedata
from typing import Any

from rich.console import Console
from rich.text import Text

#: Marks of direction: a name shown between them reads as another one.
_TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_STEERS = re.compile(rf"[^\S \n\t]|[\x00-\x08\x0b-\x1f\x7f-\x9f{_TURNING}]")

#: Longer than any word that a model or a person writes.
_LONG_WORD = re.compile(r"\S{1000}")


def visible(text: str) -> str:
    """The same text with what steers a terminal made visible: ESC becomes ␛, others such a picture or �."""
    return _STEERS.sub(lambda found: _picture(found[0]), text)


def _picture(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)  # Unicode's pictures of control characters, in their order
    if code == 0x7F:
        return "\u2421"
    return " " if unicodedata.category(char) == "Zs" else "\ufffd"


class Screen(Console):
    """A console whose every text goes through `visible`, whether printed, in a table or in a bar."""

    def print(self, *objects: Any, **options: Any) -> None:
        # Breaking a word into lines, and looking for numbers and addresses in it, takes as long as the square of its
        # length: it is written as it is, and the terminal breaks it.
        if any(isinstance(each, str) and _LONG_WORD.search(each) for each in objects):
            options |= {"soft_wrap": True, "highlight": False, "emoji": False}
        super().print(*objects, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)
