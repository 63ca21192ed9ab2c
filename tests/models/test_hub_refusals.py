"""What the Hub refuses or lacks, what quantlab refuses of the Hub, and how it is told."""

import errno
import shutil
import time
from collections import namedtuple

import pytest
from huggingface_hub import errors as hub

from quantlab import models
from quantlab.errors import BadInput, ModelError
from quantlab.models.hub.errors import translate_errors
from tests.models.conftest import REPO, WEIGHTS, point_to

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.mark.parametrize(("token", "advice"), [(None, "set HF_TOKEN"), ("hf_other", "Ask for access at")])
def test_a_gated_model_says_where_to_ask(filled, local, monkeypatch, token, advice):
    filled.behaviour.gated = True
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ModelError, match="gated") as refused:
        models.resolve(REPO, local)
    assert advice in refused.value.advice and f"{filled.url}/{REPO}" in refused.value.advice
    assert filled.bodies() == []


def test_a_token_opens_a_gated_model_and_is_shown_to_the_hub_alone(filled, local, monkeypatch):
    filled.behaviour.gated = True
    monkeypatch.setenv("HF_TOKEN", "hf_allowed")
    models.resolve(REPO, local)
    assert filled.bodies() and all(body.authorization is None for body in filled.bodies())


def test_what_the_hub_does_not_have_is_told(filled, local):
    with pytest.raises(ModelError, match="no model 'owner/other'") as missing:
        models.resolve("owner/other", local)
    assert "demo" in missing.value.advice
    with pytest.raises(ModelError, match="no revision 'v9'"):
        models.resolve(f"{REPO}@v9", local)


def test_a_hub_out_of_reach_is_told_at_once(hub, local, monkeypatch):
    hub.close()
    started = time.monotonic()
    with pytest.raises(ModelError, match="out of reach") as gone:
        models.resolve(REPO, local)
    assert time.monotonic() - started < 3
    assert "demo" in gone.value.advice and "shape:bench-100m" in gone.value.advice
    point_to(monkeypatch, "http://nowhere.invalid")
    with pytest.raises(ModelError, match="out of reach"):
        models.resolve(REPO, local)


def test_a_hub_that_asks_for_patience_is_told_at_once(filled, local):
    filled.behaviour.limited = True
    started = time.monotonic()
    with pytest.raises(ModelError, match="fewer requests"):
        models.resolve(REPO, local)
    assert time.monotonic() - started < 3


def test_offline_mode_is_told(filled, local, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        models.resolve(REPO, local)
    assert filled.requests == []


def test_too_little_disk_is_told_before_the_weights_are_fetched(filled, local, monkeypatch, model_files):
    usage = namedtuple("usage", "total used free")
    free = 600_000
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10**9, 10**9 - free, free))
    needed = f"{len(model_files[WEIGHTS]) / 1e6:.3f}"
    with pytest.raises(ModelError, match=rf"needs {needed} MB more on the disk, and 0\.600 MB are free"):
        models.resolve(REPO, local)
    assert filled.bodies() == []


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_code_is_refused_before_the_weights_are_fetched(filled, local, where):
    asks_for_code = b'{"model_type": "llama", "auto_map": {"AutoModelForCausalLM": "modeling_small.Small"}}'
    filled.repos[REPO][where] = asks_for_code
    with pytest.raises(ModelError, match="auto_map"):
        models.resolve(REPO, local)
    assert filled.bodies() == [] and not filled.asked(".py")


@pytest.mark.parametrize(
    ("removed", "message"),
    [(WEIGHTS, "pickles only"), ("config.json", r"no config\.json"), ("tokenizer.json", "no tokenizer")],
)
def test_an_incomplete_repository_is_refused(filled, local, removed, message):
    del filled.repos[REPO][removed]
    with pytest.raises(ModelError, match=message):
        models.resolve(REPO, local)
    assert filled.bodies() == []


@pytest.mark.slow
def test_a_repository_that_lists_a_shard_it_lacks_is_refused(hub, local, sharded_files):
    hub.repos[REPO] = {name: it for name, it in sharded_files.items() if name != "model-00002-of-00002.safetensors"}
    with pytest.raises(ModelError, match=r"no model-00002-of-00002\.safetensors"):
        models.resolve(REPO, local)


def test_a_name_the_hub_cannot_have_is_refused(hub, local):
    with pytest.raises(BadInput, match="cannot be the name"):
        models.resolve("owner/--name", local)


def test_a_file_that_is_listed_and_not_there_is_told(filled, local):
    filled.behaviour.lost = WEIGHTS
    with pytest.raises(ModelError, match="is not where the Hub lists it"):
        models.resolve(REPO, local)


@pytest.mark.parametrize(
    ("error", "cause", "says"),
    [
        (hub.LocalEntryNotFoundError("not here"), hub.FileMetadataError("no commit"), "does not answer as a Hub does"),
        (ValueError("Install `hf_xet` for downloads"), None, "too large for plain HTTP"),
        (OSError("Consistency check failed: file should be of size 2"), None, "did not come whole"),
        (hub.SafetensorsParsingError("bad"), None, "are damaged"),
        (hub.LocalEntryNotFoundError("not here"), hub.OfflineModeIsEnabled("off"), "HF_HUB_OFFLINE"),
        (OSError(errno.EDQUOT, "Quota"), None, "disk filled up"),
    ],
)
def test_what_the_library_raises_is_said_in_words(error, cause, says):
    error.__cause__ = cause
    with pytest.raises(ModelError, match=says), translate_errors(REPO, None):
        raise error


def test_a_defect_stays_loud():
    with pytest.raises(KeyError), translate_errors(REPO, None):
        raise KeyError("ours")


def test_a_connection_that_ends_before_the_answer_is_asked_for_again(filled, local):
    filled.behaviour.hung_up = 1
    models.resolve(REPO, local)
    assert filled.behaviour.hung_up == 0
