"""Where there is no cluster, or no Ray, the command line says so."""

import sys

import pytest

from quantlab import cli

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere"])
def test_no_cluster_at_the_address(capsys, address):
    assert cli.main(["compare", "--cluster", address, "--precisions", "fp32"]) == cli.REFUSED
    assert f"There is no Ray cluster at '{address}'" in capsys.readouterr().err


def test_auto_where_none_was_started(capsys, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray._private.utils.read_ray_address", lambda *_: None)
    assert cli.main(["compare", "--cluster", "auto", "--precisions", "fp32"]) == cli.REFUSED
    assert "none was started on this machine" in capsys.readouterr().err


def test_no_ray(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(["quality", "--cluster", "auto", "--precisions", "fp32"]) == cli.REFUSED
    told = capsys.readouterr().err
    assert "needs the package ray" in told and "pip install 'ray>=2.60,<2.61'" in told
