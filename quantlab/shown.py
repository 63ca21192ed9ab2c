"""How records show themselves in a notebook. What makes their HTML lies rooms above and is handed in from there."""

from collections.abc import Callable
from typing import Any

Maker = Callable[[Any], str]
_maker: Maker | None = None


def by(maker: Maker) -> None:
    """From here on `maker` gives the HTML of every record that is `Shown`."""
    global _maker
    _maker = maker


class Shown:
    """A record that a notebook shows as HTML, where a cell ends with it."""

    def _repr_html_(self) -> str | None:
        """What Jupyter, Colab and Kaggle ask for; None where nobody makes it."""
        return _maker(self) if _maker else None
