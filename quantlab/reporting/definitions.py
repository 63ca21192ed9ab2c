"""What each number means: docs/measurement.md as HTML, for the page and the reports."""

import re
from functools import cache

from quantlab.settings import DOCS


@cache
def definitions() -> str:
    """The document with its headings one level lower, without its title: where it stands is a title already."""
    from markdown_it import MarkdownIt

    text = (DOCS / "measurement.md").read_text(encoding="utf-8")
    lower = re.sub(r"^#", "##", text.partition("\n")[2], flags=re.MULTILINE)
    return MarkdownIt("commonmark").enable("table").render(lower)
