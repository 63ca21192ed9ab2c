"""How a command line is read: as argparse does, but what was typed is shown in errors as everywhere else."""

import argparse
from typing import Any, NoReturn

from quantlab.errors import shortened, shown

#: Of arguments that nothing takes so many are told.
_TOLD = 5


class Parser(argparse.ArgumentParser):
    """Its verbs are of the same class. An error ends the program with 2, as argparse's do."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # argparse would repeat the whole of what is no number.
        self.register("type", int, whole)
        self.register("type", float, number)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, others = self.parse_known_args(args, namespace)
        if others:
            told = ", ".join(map(shown, others[:_TOLD]))
            more = f" and {len(others) - _TOLD:,} more" if len(others) > _TOLD else ""
            self.error(f"nothing takes {told}{more}")
        return found

    def error(self, message: str) -> NoReturn:
        super().error("".join(it if it.isprintable() else repr(it)[1:-1] for it in shortened(message)))


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no whole number") from error


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no number") from error
