"""The rules of the claims in words, for the page and for reports."""

import re
from collections.abc import Mapping
from functools import cache

from quantlab.settings import DOCS


@cache
def rules() -> Mapping[int, str]:
    """The rule of each claim by its number, as docs/claims.md states it: what follows "holds where"."""
    text = (DOCS / "claims.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+?) \|$", text, re.MULTILINE)
    return {int(number): rule.replace("`", "") for number, rule in found}
