"""What is offered before anything loads, as far as it depends on what is installed."""

import os

import pytest

from quantlab import models, offers
from quantlab.methods import METHODS, base, gguf
from quantlab.records import Placement
from quantlab.settings import AppSettings


@pytest.fixture
def demo():
    return models.peek("demo", AppSettings(public=False))


def test_a_package_that_is_installed_meanwhile_is_found(demo, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert base.missing_package("installed_meanwhile")
    before = tmp_path.stat()
    (tmp_path / "installed_meanwhile.py").write_text("")
    # So quick that the folder's time does not tell: Python then trusts what it has listed.
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert base.missing_package("installed_meanwhile")
    offers.offers(demo, Placement("cpu"))
    assert not base.missing_package("installed_meanwhile")


def test_without_llama_cpp_the_reason_names_the_target_that_installs_it(demo, monkeypatch):
    monkeypatch.setattr(gguf, "missing_package", lambda module: module == "llama_cpp")
    found = {one.precision.name: one for one in offers.offers(demo, Placement("cpu"))}
    reasons = {found[one.name].unavailable for one in METHODS["gguf"].precisions}
    assert len(reasons) == 1 and "make gguf" in reasons.pop()
