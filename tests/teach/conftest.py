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


@pytest.fixture(scope="session")
def plans():
    """What the claims about 7B and 70B models rest on."""
    from quantlab.settings import app_settings
    from quantlab.teach.claims.measuring import _plans

    return _plans(app_settings())
