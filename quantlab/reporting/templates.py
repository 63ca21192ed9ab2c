"""HTML from templates: the one environment of Jinja. Whatever is put into a template is escaped there, and only there.

A template lies beside the module that fills it and is named by its path in the package. That of a whole page is
rendered as it stands. All others hold macros, one for each piece of a page; `Pieces` makes them functions.
"""

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantlab.export.codec import whole
from quantlab.settings import app_settings

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment
    from jinja2.bccache import Bucket

_PACKAGE = Path(__file__).resolve().parent.parent
#: What Jinja reads is left alone; a line break between is taken out.
_BREAK = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|(\s*\n\s*)", re.DOTALL)
#: Keeps the numbers of lines for the messages of errors.
_NO_BREAK = "{#\n#}"


def page(file: str, **values: Any) -> str:
    """A whole page from its template. Only text that can be encoded as UTF-8."""
    return whole(_environment().get_template(file).render(values))


class Pieces:
    """The macros of a template file as functions of the same names.

    What they give is HTML (`Markup`, a str), which no template escapes again, and it can be encoded as UTF-8.
    """

    def __init__(self, file: str) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Callable[..., str]:
        return _piece(self._file, name)


@cache
def _piece(file: str, name: str) -> Callable[..., str]:
    macro = getattr(_environment().get_template(file).module, name)

    def piece(*values: Any, **named: Any) -> str:
        html = macro(*values, **named)
        try:
            html.encode()
        except UnicodeEncodeError:  # half of a surrogate pair: what is sent to a browser must not have one
            html = type(html)(whole(html))
        return html

    return piece


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from jinja2.ext import Extension

    class Joined(Extension):
        def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
            return source if source.startswith("<!doctype") else joined(source)

    return Environment(
        loader=FileSystemLoader(_PACKAGE),
        bytecode_cache=_compiled(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
        extensions=[Joined],
    )


def _compiled() -> "BytecodeCache | None":
    """Where compiled templates are kept: to compile them costs the page's start a tenth of a second, on a slow machine
    two. None where nothing can be written. What the templates become is decided here, so this module is in the name.
    """
    from jinja2 import FileSystemBytecodeCache

    class Kept(FileSystemBytecodeCache):
        def dump_bytecode(self, bucket: "Bucket") -> None:
            with suppress(OSError):  # a full disk takes time, and not the page
                super().dump_bytecode(bucket)

    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    folder = app_settings().cache_folder.expanduser().absolute() / ".templates"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return Kept(str(folder), f"{version}-%s")


def joined(source: str) -> str:
    """A template without its line breaks: beside a tag, of HTML or Jinja, a break is nothing, between words a space."""

    def join(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        before, after = source[: found.start()][-2:], source[found.end() :][:2]
        beside_tag = before.endswith((">", "%}", "#}")) or after.startswith(("<", "{%", "{#"))
        return ("" if beside_tag else " ") + _NO_BREAK * found[1].count("\n")

    return _BREAK.sub(join, source)
