"""What went wrong, as the page says it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """An error as a visitor reads it: what happened and what to do."""

    what: str
    advice: str = ""
