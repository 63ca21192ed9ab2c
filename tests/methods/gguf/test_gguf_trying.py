"""A foreign file that ends llama.cpp ends a process of its own and is refused; a good one is tried once."""

import time

import pytest

from quantlab.errors import ModelError, Stopped
from quantlab.methods import METHODS, precision
from quantlab.methods.gguf import GGUF, trying
from quantlab.models.source import DEMO_FOLDER
from quantlab.records import Model, ResolvedPlacement, Variant, silent
from quantlab.runtime import worker
from tests.gguf_files import rewrite
from tests.methods.gguf import making

#: llama.cpp quantizes for nearly every one.
pytestmark = pytest.mark.slow

CPU = ResolvedPlacement("cpu", "float32")
DEMO = Model("demo", "demo", DEMO_FOLDER)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    return making.built(Variant(DEMO, GGUF.parse("q4_0"), CPU), tmp_path_factory.mktemp("q4_0")).read_bytes()


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.setattr(trying, "_tried", set())

    def load(content: bytes, progress=silent):
        file = tmp_path / "foreign.gguf"
        if not file.exists() or file.read_bytes() != content:
            file.write_bytes(content)
        return METHODS["stored"].load(Model("foreign", "folder", None, gguf=file), precision("stored"), CPU, progress)

    return load


@pytest.fixture(scope="module")
def broken(whole, tmp_path_factory) -> bytes:
    """Its header passes all that is looked at before; llama.cpp asserts over it."""
    (file := tmp_path_factory.mktemp("broken") / "whole.gguf").write_bytes(whole)
    return rewrite(file, file.with_name("broken.gguf"), counts={"llama.expert_used_count": 3}).read_bytes()


def test_a_file_over_which_llama_cpp_asserts_is_refused_and_this_process_goes_on(broken, load, capfd):
    with pytest.raises(ModelError, match=r"llama.cpp broke off over foreign.gguf.*(-6|GGML_ASSERT)"):
        load(broken)
    assert capfd.readouterr() == ("", "")


def test_a_good_file_is_tried_once_and_again_when_it_changed(whole, broken, load, monkeypatch):
    runs, run = [], worker.run
    monkeypatch.setattr(worker, "run", lambda *args, **more: (runs.append(args), run(*args, **more)))
    told: list[str] = []
    for notes in (1, 0):
        loaded = load(whole, lambda _done, _total, what: told.append(what))
        assert loaded.start(8).forward([5, 6, 7]).shape == (loaded.vocabulary_size,)
        assert [" s of the load" in note for note in loaded.facts.notes] == [True] * notes
        loaded.close()
    assert len(runs) == 1 and any("in a process of its own" in what for what in told)
    with pytest.raises(ModelError, match="broke off"):
        load(broken)
    assert len(runs) == 2


def test_stop_ends_the_trial(whole, load):
    def stop(*_step):
        raise Stopped

    begun = time.monotonic()
    with pytest.raises(Stopped):
        load(whole, stop)
    assert time.monotonic() - begun < 10


def test_where_no_worker_can_be_had_it_is_said(whole, load, monkeypatch):
    monkeypatch.setattr(worker, "unavailable", lambda: "needs Linux or macOS")
    loaded = load(whole)
    assert any("was not tried in a process of its own" in note for note in loaded.facts.notes)
    loaded.close()
