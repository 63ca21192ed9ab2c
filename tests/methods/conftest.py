"""One small model for all tests of the methods, and quick garbage collection while they run."""

from pathlib import Path

import pytest

from quantlab.methods import METHODS
from quantlab.records import Model
from tests import tiny
from tests.loading import small_heap


@pytest.fixture(scope="session")
def llama(tmp_path_factory) -> Model:
    """A tied Llama of two layers, hidden size 64. One for all files, so that what is kept of it is built once."""
    return tiny.write(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module", autouse=True)
def _quick_drops() -> None:
    for method in METHODS.values():
        method.prepare()
    small_heap()


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> dict[str, Path]:
    """Quantized folders by name (see `publishing.METHODS_OF`), of one small Llama."""
    from tests.methods import publishing

    original = tmp_path_factory.mktemp("original")
    publishing.write_original(original)
    return publishing.write_all(original, tmp_path_factory.mktemp("published"))
