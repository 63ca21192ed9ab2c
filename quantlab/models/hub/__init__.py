"""Models of the Hugging Face Hub, kept in the Hub library's own cache.

Fetched are configuration, tokenizer and safetensors, or one GGUF file, and nothing else.

No code and no pickle is ever fetched, and the configuration is looked at before the weights are. A pinned revision
that is complete in the cache needs no network; any other needs it only to learn what the newest revision is. All files
of one download are of one commit, also where a branch moves meanwhile.

What is asked of the Hub is asked here; bytes are brought by `fetch`, in a process of its own.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from quantlab.errors import ModelError
from quantlab.models import folder as folders
from quantlab.models.gguf import files as gguf_files
from quantlab.models.hub import fetch, outline
from quantlab.models.hub.ask import ask
from quantlab.models.hub.cache import File, Snapshot, check_space, known, remember, sweep
from quantlab.models.hub.errors import translate_errors, worth_asking_again
from quantlab.models.quiet import QUIET_HUB
from quantlab.models.source import COMMIT
from quantlab.records import Checkpoint, Progress, TensorInfo, silent
from quantlab.runtime import worker

#: All that is ever fetched beside the weights.
SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    folders.INDEX,
)
#: So many bytes are written, and told, at once.
CHUNK_BYTES = 1 << 20
#: How long the Hub's list of files may take.
TIMEOUT_S = 10.0
_TASK = "quantlab.models.hub.fetch:fetch"
#: hf_xet would ask a server that cannot be reached for many minutes, where plain HTTP may get through.
_XET_ATTEMPTS = "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "2"


@dataclass(frozen=True)
class Downloaded:
    """A model in the cache: the folder of its snapshot, its commit, and the one file where that is a GGUF."""

    folder: Path
    commit: str
    gguf: Path | None = None


Look = Callable[[Downloaded], object]


def unseen(_model: Downloaded) -> None:
    """Nobody looks."""


def download(
    repo: str, revision: str | None = None, progress: Progress = silent, pick: str | None = None, look: Look = unseen
) -> Downloaded:
    """Fetch what is missing of a model; of several GGUF files only the one that `pick` chooses.

    `look` is given the model before its weights are fetched, a GGUF model as `outlined` gives it, and may refuse it.

    `progress` is told bytes; what it raises (`Stopped`) ends the download within moments. Files that are whole by then
    stay, and a later call fetches the others. Raises ModelError for all that can go wrong on the way.
    """
    with translate_errors(repo, revision):
        snapshot, listing = _find(repo, revision, pick, progress)
        gguf = _gguf(snapshot, listing, pick)
        if listing is not None and (gguf or not snapshot.complete()):
            if gguf and not all(snapshot.has(file.name) for file in gguf):
                with TemporaryDirectory(prefix="quantlab-") as work:
                    place = _outlined(snapshot, gguf, Path(work), progress)
                    look(Downloaded(place.parent, snapshot.commit, place))
            elif not gguf:
                look(Downloaded(snapshot.folder, snapshot.commit))
            weights = gguf or _weights(snapshot, listing, progress)
            _fetch(snapshot, weights, progress, f"Downloading {repo}")
    if gguf:
        gguf_files.check(snapshot.folder / gguf[0].name, repo)
        return Downloaded(snapshot.folder, snapshot.commit, snapshot.folder / gguf[0].name)
    folders.check(snapshot.folder, repo)
    return Downloaded(snapshot.folder, snapshot.commit)


def peek(repo: str, revision: str | None = None, pick: str | None = None) -> Checkpoint:
    """What is known of a model whose weights need not be here: only their headers are read.

    Raises ModelError as `download` does.
    """
    with translate_errors(repo, revision):
        snapshot, listing = _find(repo, revision, pick, silent)
        if gguf := _gguf(snapshot, listing, pick):
            with TemporaryDirectory(prefix="quantlab-") as work:
                found = ask(lambda: outline.outline(snapshot, gguf, Path(work)), silent, "")
            return gguf_files.checkpoint(found)
        if listing is None or snapshot.complete():
            config = folders.read_config(snapshot.folder, repo)
            return folders.checkpoint(config, folders.read_tensors(snapshot.folder, repo))
        tensors: dict[str, TensorInfo] = {}
        for shard in _weights(snapshot, listing, silent):
            header = ask(partial(_remote_tensors, snapshot, shard), silent, "")
            tensors |= {name: TensorInfo(tuple(it.shape), it.dtype) for name, it in header.items()}
        return folders.checkpoint(folders.read_config(snapshot.folder, repo), tensors)


def outlined(repo: str, revision: str | None, pick: str | None, folder: Path) -> Downloaded | None:
    """A GGUF model without its weights: in `folder`, files as large as they are, with holes. None for safetensors.

    Raises ModelError as `download` does.
    """
    with translate_errors(repo, revision):
        snapshot, listing = _find(repo, revision, pick, silent)
        gguf = _gguf(snapshot, listing, pick)
        return Downloaded(folder, snapshot.commit, _outlined(snapshot, gguf, folder, silent)) if gguf else None


def in_cache(repo: str, commit: str) -> bool:
    """Whether a revision, named by its commit, is whole in the cache, so that nobody need be asked."""
    return Snapshot(repo, commit, _cache()).complete()


def reachable(patience_s: float) -> bool:
    """Whether the Hub answers within so many seconds; False where the environment forbids to ask."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=patience_s)
    except Exception:  # each of its transports has errors of its own, and all of them say no
        return False
    return True


def _gguf(snapshot: Snapshot, listing: list[File] | None, pick: str | None) -> list[File]:
    """The GGUF files that are meant, as listed or as they lie in the cache; none for safetensors. Raises ModelError."""
    by_name = {file.name: file for file in (snapshot.held() if listing is None else listing)}
    meant = gguf_files.meant(list(by_name), pick, snapshot.repo)
    parts = [] if meant is None else gguf_files.parts(meant)
    if absent := [name for name in parts if name not in by_name]:
        raise ModelError(f"{snapshot.repo!r} has no {absent[0]}.", "Choose another file, or another repository.")
    return [by_name[name] for name in parts]


def _outlined(snapshot: Snapshot, files: list[File], folder: Path, progress: Progress) -> Path:
    """The first of the files, in `folder`, without its weights."""
    ask(lambda: outline.outline(snapshot, files, folder), progress, f"Reading about {snapshot.repo}")
    return folder / PurePosixPath(files[0].name).name


def _remote_tensors(snapshot: Snapshot, file: File) -> dict[str, Any]:
    return _api().parse_safetensors_file_metadata(snapshot.repo, file.name, revision=snapshot.commit).tensors


def _find(repo: str, revision: str | None, pick: str | None, progress: Progress) -> tuple[Snapshot, list[File] | None]:
    """The snapshot that `revision` means, and the Hub's list of its files, or None where the cache is enough."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    def listed():
        asked = partial(_api().model_info, repo, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
        try:
            return asked()
        except HTTPError as error:
            if not worth_asking_again(error):
                raise
            return asked()

    cached = _cached(repo, revision, pick)
    # One GGUF file in the cache does not tell that it is the only one.
    if cached and revision and COMMIT.fullmatch(revision) and (pick or not _gguf(cached, None, pick)):
        return cached, None
    try:
        info = ask(listed, progress, f"Asking about {repo}")
    except (HTTPError, OfflineModeIsEnabled) as error:
        refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
        if refused or not cached:
            raise
        return cached, None
    snapshot = Snapshot(repo, info.sha, _cache())
    remember(snapshot, revision)
    return snapshot, [_listed(repo, sibling) for sibling in info.siblings or ()]


def _cached(repo: str, revision: str | None, pick: str | None) -> Snapshot | None:
    """The snapshot of `revision` where the cache holds all of it that is meant."""
    if (snapshot := known(repo, revision, _cache())) is None:
        return None
    try:
        if gguf := _gguf(snapshot, None, pick):
            gguf_files.check(snapshot.folder / gguf[0].name, repo)
            return snapshot if all(snapshot.has(file.name) for file in gguf) else None
    except ModelError:
        return None
    return snapshot if snapshot.complete() else None


def _listed(repo: str, sibling: Any) -> File:
    blob = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
    if sibling.size is None or not blob:
        raise ModelError(f"The Hub does not say how large the files of {repo!r} are.", "Check HF_ENDPOINT.")
    return File(sibling.rfilename, sibling.size, blob, sibling.lfs.sha256 if sibling.lfs else None)


def _weights(snapshot: Snapshot, listing: list[File], progress: Progress) -> list[File]:
    """Fetch the small files, refuse what must not be loaded, then say which files hold the weights.

    The index names the shards: repositories hold the same weights under other names too, which would double the
    download.
    """
    by_name = {file.name: file for file in listing}
    small, what = [by_name[name] for name in SMALL_FILES if name in by_name], f"Reading about {snapshot.repo}"
    _fetch(snapshot, small, lambda *_: progress(0, 0, what), what)
    folders.check_config(snapshot.folder, snapshot.repo)
    names = [folders.WEIGHTS]
    if folders.WEIGHTS not in by_name and folders.INDEX in by_name:
        names = sorted(set(folders.read_index(snapshot.folder, snapshot.repo).values()))
    if absent := [name for name in names if name not in by_name]:
        pickles = [name for name in by_name if name.endswith(folders.PICKLES)]
        if pickles and names == [folders.WEIGHTS]:
            raise ModelError(
                f"{snapshot.repo!r} has its weights as pickles only ({pickles[0]}), which can run code.",
                "Choose a repository with safetensors; many have been converted under another name.",
            )
        raise ModelError(f"{snapshot.repo!r} has no {absent[0]}.", "Choose a repository with safetensors weights.")
    if not any(name in by_name for name in folders.TOKENIZERS):
        raise ModelError(f"{snapshot.repo!r} has no tokenizer.", "Choose a repository that holds the whole model.")
    return [by_name[name] for name in names]


def _fetch(snapshot: Snapshot, files: Iterable[File], progress: Progress, what: str) -> None:
    """Bring what is missing of `files` into the cache. On Windows, where no worker can be had, it is done here."""
    from huggingface_hub import constants

    missing = [file for file in files if not snapshot.has(file.name)]
    if not missing:
        return
    sweep(snapshot, missing)
    check_space(snapshot, missing)
    wanted = [asdict(file) for file in missing]

    def shown(done: int, total: int, said: str) -> None:
        progress(done, total, said if total else what)

    try:
        if worker.unavailable() is None:
            # As they are here, and whole: the worker stands in another folder.
            own = {"HF_ENDPOINT": constants.ENDPOINT, "HF_HOME": os.path.abspath(constants.HF_HOME)}
            own[_XET_ATTEMPTS[0]] = os.environ.get(*_XET_ATTEMPTS)
            arguments = {"what": what, "snapshot": asdict(snapshot), "files": wanted, "chunk_bytes": CHUNK_BYTES}
            worker.run(_TASK, arguments, shown, own, "download")
        else:
            with QUIET_HUB:
                fetch.fetch(shown, what, asdict(snapshot), wanted, chunk_bytes=CHUNK_BYTES)
    finally:
        sweep(snapshot, missing)


def _cache() -> str:
    from huggingface_hub import constants

    return str(Path(constants.HF_HUB_CACHE).expanduser().absolute())


def _api():
    from huggingface_hub import HfApi

    return HfApi()
