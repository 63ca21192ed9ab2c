"""Changes to what the whole process has: whichever of two leaves first, what was there before comes back."""

import subprocess
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


#: Each is the first that imports bitsandbytes in its process, by another way.
FIRST_IN = {
    "a load": "*_, _ = quantlab.compare('demo', ['nf4', 'int8'], 'Tell me', Settings(max_new_tokens=2))",
    "a claim's trials": "*_, _ = measuring.claims('demo', (14, 21))",
    "the tab Inside": "bitsandbytes.BITSANDBYTES.rounded(precision('nf4'), Matrix(torch.ones(2, 64)))",
    "what would run": "bitsandbytes.what_runs('nf4', ResolvedPlacement('cpu', 'float32'))",
}
IMPORTS = """
import torch, quantlab
from quantlab.methods import bitsandbytes, precision
from quantlab.methods.rounded import Matrix
from quantlab.records import ResolvedPlacement, Settings
from quantlab.teach.claims import measuring
import sys
assert "bitsandbytes" not in sys.modules
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", FIRST_IN)
def test_bitsandbytes_says_nothing_whoever_is_the_first_to_import_it(way):
    program = f"{IMPORTS}{FIRST_IN[way]}\nassert 'bitsandbytes' in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
