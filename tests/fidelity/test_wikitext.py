"""WikiText-2 by name: fetched once from a stand-in Hub, at one commit, joined as in papers; refused in words."""

import io

import pyarrow
import pytest
from pyarrow import parquet

from quantlab.errors import Unavailable
from quantlab.fidelity import texts, wikitext
from quantlab.settings import AppSettings
from quantlab.ui.quality import form
from quantlab.ui.quality.form import QualityChoice
from tests.models.conftest import point_to
from tests.models.hub_server import HubServer

REPO = f"datasets/{wikitext.REPO}"
ROWS = [
    "",
    " = Robert Boulter = \n",
    "",
    " Robert Boulter is an English actor – born in 1982 . \n",
    " " + "He acts . " * 900,
]


def in_parquet(rows: list[str]) -> bytes:
    written = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": rows}), written)
    return written.getvalue()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    from huggingface_hub import constants
    from huggingface_hub.utils._http import close_session

    server = HubServer({REPO: {wikitext.FILE: in_parquet(ROWS), "README.md": b"x"}}, commit=wikitext.COMMIT)
    point_to(monkeypatch, server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield server
    server.close()
    close_session()


def test_it_is_fetched_once_at_its_commit_and_needs_no_hub_afterwards(hub, capfd, monkeypatch):
    found = texts.text("wikitext2")
    assert found.name == "wikitext2" and found.content == "\n\n".join(ROWS)
    asked = {request.path for request in hub.requests}
    assert asked == {"/", f"/{REPO}/resolve/{wikitext.COMMIT}/{wikitext.FILE}"}, "one file of one commit"
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert texts.text("wikitext2") == found and not hub.requests
    assert capfd.readouterr() == ("", ""), "no bar of another program"


def test_without_a_hub_it_is_refused_with_the_names_of_the_others(hub, capfd, monkeypatch):
    hub.close()
    with pytest.raises(Unavailable, match="cannot be reached") as refused:
        texts.text("wikitext2")
    assert refused.value.advice == "Name another text: demo, english, or a file of your own."
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE forbids"):
        texts.text("wikitext2")


@pytest.mark.parametrize(("files", "told"), [({"README.md": b"x"}, "HTTP 404"), ({wikitext.FILE: b"PAR1"}, "damaged")])
def test_what_is_not_there_or_is_no_table_is_told(hub, files, told):
    hub.repos[REPO] = files
    with pytest.raises(Unavailable, match=told):
        texts.text("wikitext2")


def test_a_machine_without_a_reader_is_told_what_to_install(hub, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(Unavailable, match="pyarrow is not installed") as refused:
        texts.text("wikitext2")
    assert refused.value.advice.startswith("pip install pyarrow")


@pytest.mark.parametrize("public", [False, True])
def test_the_page_offers_it(hub, public):
    app, chosen = AppSettings(public=public), QualityChoice("demo", ("fp32", "nf4"), source="wikitext2", windows=4)
    form.check(chosen, app)
    assert form.text(chosen).content == "\n\n".join(ROWS)
