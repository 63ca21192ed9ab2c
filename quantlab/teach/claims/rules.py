"""Each claim's rule in words, as docs/claims.md has it."""

import re
from collections.abc import Mapping
from functools import cache

from quantlab.settings import DOCS

_ROW = re.compile(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)


@cache
def holds_where() -> Mapping[int, str]:
    """By a claim's number: where it holds. The judging functions and the document are held together by a test."""
    text = (DOCS / "claims.md").read_text("utf-8")
    return {int(number): rule.replace("`", "").strip() for number, rule in _ROW.findall(text)}
