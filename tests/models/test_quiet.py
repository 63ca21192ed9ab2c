"""Changes to what the whole process has: whichever of two leaves first, what was there before comes back."""

import sys
import warnings

import pytest

from quantlab.models.quiet import NO_BARS, NO_OUTPUT, NO_WARNINGS, Shared


def states() -> tuple:
    from tqdm import tqdm

    return sys.stdout, vars(tqdm)["__init__"], list(warnings.filters)


@pytest.mark.parametrize("held", [NO_OUTPUT, NO_BARS, NO_WARNINGS])
@pytest.mark.parametrize("order", ["first out first", "last out first"])
def test_two_inside_put_back_what_was_there(held, order):
    """First in, first out left tqdm disabled and standard output swallowed for the rest of the process."""
    before = states()
    one, two = held, held
    one.__enter__()
    two.__enter__()
    changed = states()
    (one if order == "first out first" else two).__exit__(None, None, None)
    assert states() == changed != before, "one is still inside"
    (two if order == "first out first" else one).__exit__(None, None, None)
    assert states() == before


def test_what_is_printed_inside_is_not_seen(capsys):
    with NO_OUTPUT:
        print("a banner")
    print("an answer")
    assert capsys.readouterr().out == "an answer\n"


def test_it_is_changed_anew_after_all_have_left():
    calls: list[str] = []

    def change():
        calls.append("in")
        return lambda: calls.append("out")

    held = Shared(change)
    for _ in range(2):
        with held, held:
            pass
    assert calls == ["in", "out", "in", "out"]
