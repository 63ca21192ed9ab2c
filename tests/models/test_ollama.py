"""Which file of a store of Ollama a name means."""

import json

import pytest

from quantlab import models
from quantlab.errors import ModelError
from quantlab.models import ollama
from quantlab.settings import AppSettings
from tests import gguf_files
from tests.models.gguf_making import write


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def file(tmp_path):
    write(tmp_path / "m.gguf")
    return tmp_path / "m.gguf"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("small", "registry.ollama.ai/library/small/latest"),
        ("small:1b-q4_K_M", "registry.ollama.ai/library/small/1b-q4_K_M"),
        ("somebody/small:7b", "registry.ollama.ai/somebody/small/7b"),
        ("hf.co/owner/Name-GGUF:Q4_K_M", "hf.co/owner/Name-GGUF/Q4_K_M"),
    ],
)
def test_a_name_leads_to_its_file(name, kept, store, file):
    blob = gguf_files.ollama(file, store, kept)
    assert ollama.find(f"ollama:{name}") == blob
    model = models.resolve(f"Ollama:{name}", AppSettings(public=False))
    assert (model.name, model.kind, model.gguf) == (f"ollama:{name}", "gguf", blob)


@pytest.mark.parametrize(
    "name", ["other", "small:2b", "nobody/small", "../../small", "a/b/c/d/e", "", "small:", "..:x"]
)
def test_what_is_not_there_is_told_with_what_is(name, store, file):
    gguf_files.ollama(file, store, "registry.ollama.ai/library/small/1b")
    gguf_files.ollama(file, store, "hf.co/owner/m/latest")
    with pytest.raises(ModelError, match="no model") as caught:
        ollama.find(f"ollama:{name}")
    assert caught.value.advice == "There is: hf.co/owner/m:latest, small:1b."


def test_a_store_that_is_not_there_or_empty(store, tmp_path):
    with pytest.raises(ModelError, match="no store of Ollama") as caught:
        ollama.find("ollama:small")
    assert "OLLAMA_MODELS" in caught.value.advice
    (store / "manifests").mkdir(parents=True)
    with pytest.raises(ModelError) as caught:
        ollama.find("ollama:small")
    assert "holds none" in caught.value.advice


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"{", "cannot be read"),
        (b"[]", "no manifest"),
        (b"{}", "no layers"),
        (b'{"layers": [1]}', "no layers"),
        (b'{"layers": []}', "no weights"),
        (b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../x"}]}', "no file"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_a_damaged_manifest(content, what, store, file):
    gguf_files.ollama(file, store)
    (store / "manifests/registry.ollama.ai/library/small/latest").write_bytes(content)
    with pytest.raises(ModelError, match=what):
        ollama.find("ollama:small")


def test_a_blob_that_is_missing_or_cut_short(store, file):
    blob = gguf_files.ollama(file, store)
    blob.write_bytes(blob.read_bytes()[:100])
    with pytest.raises(ModelError, match="have 100 bytes"):
        ollama.find("ollama:small")
    blob.unlink()
    with pytest.raises(ModelError, match="not in Ollama's store"):
        ollama.find("ollama:small")


def test_an_adapter_and_several_files_are_refused(store, file):
    gguf_files.ollama(file, store)
    manifest = store / "manifests/registry.ollama.ai/library/small/latest"
    told = json.loads(manifest.read_text())
    manifest.write_text(
        json.dumps({"layers": [*told["layers"], {"mediaType": "application/vnd.ollama.image.adapter"}]})
    )
    with pytest.raises(ModelError, match="adapter"):
        ollama.find("ollama:small")
    manifest.write_text(json.dumps({"layers": [told["layers"][0]] * 2}))
    with pytest.raises(ModelError, match="2 files of weights"):
        ollama.find("ollama:small")
