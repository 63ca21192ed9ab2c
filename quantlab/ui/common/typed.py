"""Whole numbers as a page sends them: 3 may come as 3.0, and an API client sends anything."""

from typing import Any

from quantlab.errors import BadInput


def as_int(value: Any) -> Any:
    """A whole float as an int; whatever else it is stays, for the check that follows."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def whole(what: str, value: Any, such: int) -> int:
    """The whole number that was typed. Raises BadInput where it is none; `such` is one for its advice."""
    try:
        found = float(value)
        if found == int(found):
            return int(found)
    except (TypeError, ValueError, OverflowError):
        pass
    raise BadInput(f"{what} must be a whole number.", f"Type one, such as {such}.")
