"""The models of these tests, made or resolved once."""

import pytest

from quantlab import models
from quantlab.records import Model
from quantlab.settings import AppSettings
from tests import tiny

APP = AppSettings(public=False, port=0)


@pytest.fixture(scope="session")
def demo() -> Model:
    return models.resolve("demo", APP)


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Model:
    """A Llama of two layers, hidden size 64, in float32."""
    return tiny.write(tmp_path_factory.mktemp("small"), "llama")
