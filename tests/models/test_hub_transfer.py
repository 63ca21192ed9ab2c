"""Bytes on their way from a stand-in Hub: stopped, cut, slow, wrong, fetched by two at once, and off the terminal."""

import errno
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from quantlab import models
from quantlab.errors import ModelError, Stopped
from quantlab.models import hub as hub_module
from quantlab.models.hub import fetch
from tests.models.conftest import REPO, WEIGHTS, partials
from tests.models.hub_server import COMMIT, Behaviour

#: A process for each, and servers that wait.
pytestmark = pytest.mark.slow

#: What Stop may take, in seconds.
AT_ONCE = 1.0


class Stopper:
    """A progress that stops once so many bytes are there, and knows when it did."""

    def __init__(self, after: int, patience: int = 0) -> None:
        self.after, self.patience, self.at, self.seen = after, patience, 0.0, 0

    def __call__(self, done: int, total: int, what: str) -> None:
        if total and done >= self.after:
            self.patience -= 1
            if self.patience < 0:
                self.at, self.seen = time.monotonic(), done
                raise Stopped

    @property
    def took(self) -> float:
        return time.monotonic() - self.at


def test_the_process_that_downloads_starts_without_torch():
    heavy = {"torch", "transformers", "numpy", "gradio"}
    code = f"import sys, quantlab.runtime.worker, quantlab.models.hub.fetch; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


@pytest.mark.parametrize("where", ["worker", "in_this_process"])
def test_stop_ends_a_download_in_the_middle_and_a_later_call_completes_it(
    filled, local, model_files, tmp_path, where, request
):
    if where != "worker":
        request.getfixturevalue(where)
    size = len(model_files[WEIGHTS])
    filled.behaviour = Behaviour(pause_s=0.1)
    stop, before, earlier = Stopper(size // 3), children(), threads()
    with pytest.raises(Stopped):
        models.resolve(REPO, local, stop)
    assert stop.took < AT_ONCE and size // 3 <= stop.seen < size
    if where == "worker":
        assert children() <= before, "nobody goes on with it"
        assert partials(tmp_path) == []
    else:
        until(lambda: threads() <= earlier)

    filled.behaviour = Behaviour()
    filled.requests.clear()
    model = models.resolve(REPO, local)
    assert len(filled.bodies()) == 1 and not filled.asked("tokenizer.json"), "whole files stayed"
    assert (model.folder / WEIGHTS).read_bytes() == model_files[WEIGHTS]
    assert partials(tmp_path) == []


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def threads() -> set[threading.Thread]:
    """Downloads of this process, those of earlier tests among them: one may still wait for a server."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("quantlab-download")}


def until(happened, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_stop_does_not_wait_for_a_server_that_sends_nothing_more(filled, local):
    filled.behaviour = Behaviour(stall_after=1 << 17)
    stop = Stopper(1 << 17, patience=5)
    with pytest.raises(Stopped):
        models.resolve(REPO, local, stop)
    assert stop.took < AT_ONCE


def test_stop_does_not_wait_for_an_answer(filled, local):
    filled.behaviour.hang_s = 20
    begun = time.monotonic()

    def stop(done: int, total: int, what: str) -> None:
        if time.monotonic() - begun > 0.3:
            raise Stopped

    with pytest.raises(Stopped):
        models.resolve(REPO, local, stop)
    assert time.monotonic() - begun < 0.3 + AT_ONCE


def test_what_a_killed_download_left_is_removed_and_never_taken(filled, local, model_files, tmp_path):
    import hashlib

    blobs = tmp_path / "cache" / f"models--{REPO.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True)
    left = blobs / f"{hashlib.sha256(model_files[WEIGHTS]).hexdigest()}.0123abcd.incomplete"
    left.write_bytes(b"x" * 1000)
    model = models.resolve(REPO, local)
    assert (model.folder / WEIGHTS).read_bytes() == model_files[WEIGHTS]
    assert partials(tmp_path) == []


def test_two_who_ask_at_once_fetch_the_weights_once(filled, local, tmp_path):
    """Each has a process of its own for it."""
    filled.behaviour.pause_s = 0.1
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: models.resolve(REPO, local), range(2))
    assert first == second
    assert len(filled.bodies()) == 1
    assert partials(tmp_path) == []


def test_a_cut_connection_is_taken_up_where_it_broke(filled, local, model_files):
    filled.behaviour = Behaviour(cuts=2, cut_after=1 << 17)
    model = models.resolve(REPO, local)
    assert [body.range for body in filled.bodies()] == [None, f"bytes={1 << 17}-", f"bytes={1 << 18}-"]
    assert (model.folder / WEIGHTS).read_bytes() == model_files[WEIGHTS]


def test_a_connection_that_is_reset_is_asked_for_again(filled, local, model_files, tmp_path):
    filled.behaviour = Behaviour(cuts=1, cut_after=1 << 17, reset=True)
    model = models.resolve(REPO, local)
    assert [body.range for body in filled.bodies()] == [None, None], "the library keeps nothing over that"
    assert (model.folder / WEIGHTS).read_bytes() == model_files[WEIGHTS]
    assert partials(tmp_path) == []


def test_a_connection_that_stays_cut_is_told_and_the_next_call_gets_it(filled, local, model_files, tmp_path):
    filled.behaviour = Behaviour(cut_at=1 << 18)
    begun = time.monotonic()
    with pytest.raises(ModelError, match="broke off in the middle"):
        models.resolve(REPO, local)
    assert time.monotonic() - begun < 20 and 1 < len(filled.bodies()) < 10
    assert partials(tmp_path) == []
    filled.behaviour = Behaviour()
    model = models.resolve(REPO, local)
    assert (model.folder / WEIGHTS).read_bytes() == model_files[WEIGHTS]


def test_a_busy_server_is_asked_again(filled, local):
    filled.behaviour = Behaviour(failures=2)
    models.resolve(REPO, local)
    assert len(filled.bodies()) == 3


def test_a_server_that_stays_busy_is_told(filled, local):
    filled.behaviour = Behaviour(failures=100)
    with pytest.raises(ModelError, match="HTTP 503"):
        models.resolve(REPO, local)
    assert len(filled.bodies()) == fetch.ATTEMPTS


def without_patience(progress, **arguments) -> None:
    """In the worker: the library asks a silent server once, where it would ask it six times."""
    from huggingface_hub import constants, file_download

    file_download.http_get = partial(file_download.http_get, _nb_retries=0)
    constants.HF_HUB_DOWNLOAD_TIMEOUT = 1
    fetch.fetch(progress, **arguments)


def test_a_server_that_falls_silent_is_told(filled, local, monkeypatch):
    monkeypatch.setattr(hub_module, "_TASK", f"{__name__}:without_patience")
    filled.behaviour.silent = f"/storage/{REPO}/{WEIGHTS}"
    with pytest.raises(ModelError, match="did not answer in time"):
        models.resolve(REPO, local)


def test_a_hub_that_does_not_answer_is_told(filled, local, monkeypatch):
    monkeypatch.setattr(hub_module, "TIMEOUT_S", 0.2)
    filled.behaviour.hang_s = 5
    with pytest.raises(ModelError, match="did not answer in time"):
        models.resolve(REPO, local)


def test_bytes_that_are_not_those_listed_are_refused_and_forgotten(filled, local, model_files):
    filled.behaviour.wrong = True
    with pytest.raises(ModelError, match=rf"{WEIGHTS} of '{REPO}' is not what the Hub lists"):
        models.resolve(REPO, local)
    assert not hub_module.in_cache(REPO, COMMIT)
    filled.behaviour.wrong = False
    model = models.resolve(REPO, local)
    assert (model.folder / WEIGHTS).read_bytes() == model_files[WEIGHTS]


def test_small_files_are_held_to_git_s_checksum(filled, local, model_files, monkeypatch):
    monkeypatch.setattr("tests.models.hub_server._sha1", lambda content: "0" * 40)
    with pytest.raises(ModelError, match="of 'owner/small' is not what the Hub lists"):
        models.resolve(REPO, local)
    assert filled.bodies() == []


@pytest.mark.parametrize("way", ["filled", "by_xet"])
def test_a_file_whose_check_was_ended_is_not_believed(way, local, model_files, request):
    """The process may be ended between the last byte and its checksum: the file lies in its place by then."""
    request.getfixturevalue(way)
    model = models.resolve(REPO, local)
    blob = (model.folder / WEIGHTS).resolve()
    blob.write_bytes(model_files[WEIGHTS][:-1] + b"\x00")
    note = model.folder.parents[1] / ".unchecked" / COMMIT / WEIGHTS
    assert hub_module.in_cache(REPO, COMMIT) and not note.exists()
    note.touch()
    assert not hub_module.in_cache(REPO, COMMIT)
    with pytest.raises(ModelError, match="is not what the Hub lists"):
        models.resolve(f"{REPO}@{COMMIT}", local)
    assert (models.resolve(REPO, local).folder / WEIGHTS).read_bytes() == model_files[WEIGHTS]
    assert hub_module.in_cache(REPO, COMMIT)


def on_a_full_disk(progress, **arguments) -> None:
    """In the worker: every byte that is written goes to a device that has no room."""
    from huggingface_hub import file_download

    http_get, xet_get = file_download.http_get, file_download.xet_get

    def full(url, _temp_file, **more) -> None:
        with open("/dev/full", "wb") as device:
            http_get(url, device, **more)

    file_download.http_get = full
    file_download.xet_get = lambda incomplete_path, **more: xet_get(incomplete_path=Path("/dev/full"), **more)
    fetch.fetch(progress, **arguments)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device here that is always full")
@pytest.mark.parametrize("way", ["filled", "by_xet"])
def test_a_disk_that_fills_up_is_told_and_leaves_no_halves(way, local, monkeypatch, model_files, tmp_path, request):
    request.getfixturevalue(way)
    with monkeypatch.context() as patch:
        patch.setattr(hub_module, "_TASK", f"{__name__}:on_a_full_disk")
        with pytest.raises(ModelError, match="disk filled up"):
            models.resolve(REPO, local)
    assert partials(tmp_path) == []
    assert (models.resolve(REPO, local).folder / WEIGHTS).read_bytes() == model_files[WEIGHTS]


def test_a_cache_that_cannot_be_written_is_told(filled, local, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(ModelError, match="cannot be written") as refused:
        models.resolve(REPO, local)
    assert os.strerror(errno.ENOTDIR) in str(refused.value) or os.strerror(errno.EEXIST) in str(refused.value)


@pytest.mark.parametrize("where", ["worker", "in_this_process"])
def test_nothing_of_the_library_reaches_the_terminal(filled, local, capfd, where, request):
    if where != "worker":
        request.getfixturevalue(where)
    filled.behaviour.warning = f"{where}; Set a token"
    models.peek(REPO, local)
    filled.behaviour = Behaviour(failures=1, cuts=1, cut_after=1 << 17, warning=f"{where} again; Set a token")
    models.resolve(REPO, local)
    models.resolve(REPO, local)
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def by_xet(filled, monkeypatch, tmp_path):
    pytest.importorskip("hf_xet")
    filled.xet = True
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    return filled


def test_bytes_come_through_xet_where_both_sides_know_it(by_xet, local, model_files):
    by_xet.behaviour.pause_s = 0.8
    told = []
    model = models.resolve(REPO, local, lambda *progress: told.append(progress))
    assert by_xet.chunks() and by_xet.bodies() == []
    assert (model.folder / WEIGHTS).read_bytes() == model_files[WEIGHTS]
    done = [done for done, total, _ in told if total]
    assert {total for _, total, _ in told if total} == {len(model_files[WEIGHTS])}
    # The library writes pieces in their order: where the first comes last, nothing is told between none and all.
    assert done == sorted(done) and len(set(done)) > 1 and done[-1] == len(model_files[WEIGHTS])
    by_xet.close()
    assert models.resolve(REPO, local) == model


def test_xet_is_stopped_at_once_too_and_begins_again(by_xet, local, model_files, tmp_path):
    by_xet.behaviour.pause_s = 0.5
    stop, before = Stopper(1), children()
    with pytest.raises(Stopped):
        models.resolve(REPO, local, stop)
    # Its pieces come side by side: on a busy machine all may be there when progress is told for the first time.
    assert stop.took < AT_ONCE and 0 < stop.seen <= len(model_files[WEIGHTS])
    assert children() <= before and partials(tmp_path) == []
    by_xet.behaviour.pause_s = 0
    assert (models.resolve(REPO, local).folder / WEIGHTS).read_bytes() == model_files[WEIGHTS]


def test_where_xet_fails_plain_http_is_asked(by_xet, local, model_files, monkeypatch):
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_BASE_DELAY", "100ms")
    by_xet.behaviour = Behaviour(failures=1000, failing=403)
    monkeypatch.setattr("tests.models.hub_server._Handler._storage", unfailing)
    model = models.resolve(REPO, local)
    assert by_xet.chunks() and len(by_xet.bodies()) == 1
    assert (model.folder / WEIGHTS).read_bytes() == model_files[WEIGHTS]


def unfailing(handler, path: str) -> None:
    name = path.removeprefix(f"/storage/{REPO}/")
    handler._send(200, handler.server_hub.repos[REPO][name])


def test_weights_that_all_repositories_share_are_still_those_published(by_xet, model_files, monkeypatch, tmp_path):
    """Under Xet the library keeps a file once for all repositories, and its name there is another checksum."""
    import hashlib

    from quantlab.models import smollm2

    by_xet.repos[smollm2.REPO], by_xet.commit = dict(model_files), smollm2.COMMIT
    monkeypatch.setattr(smollm2, "packaged", lambda: None)
    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(model_files[WEIGHTS]).hexdigest())
    app = models.AppSettings(public=False, cache_folder=tmp_path)
    found = models.resolve("smollm2", app)
    assert by_xet.chunks() and (found.folder / WEIGHTS).resolve().name != smollm2.SHA256
    assert models.resolve("smollm2", app) == found
