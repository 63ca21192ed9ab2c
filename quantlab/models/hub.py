"""Models of the Hugging Face Hub, kept in the Hub library's own cache.

Fetched are configuration, tokenizer and safetensors, or one GGUF file, and nothing else.

No code and no pickle is ever fetched, and the configuration is looked at before the weights are. A pinned revision
that is complete in the cache needs no network; any other needs it only to learn what the newest revision is.
"""

import io
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from quantlab import units
from quantlab.errors import ModelError
from quantlab.models import folder as folders
from quantlab.models import gguf_files, transfer
from quantlab.models.gguf_header import GgufHeader, parse_header
from quantlab.models.hub_errors import told
from quantlab.models.source import COMMIT
from quantlab.records import Checkpoint, Progress, TensorInfo, silent

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


#: How much of a GGUF file is asked for at once: the header of a large vocabulary is a few times that.
_HEADER_BYTES = 4 << 20


@dataclass(frozen=True)
class _File:
    """A file as the Hub lists it. `blob` is its name in the cache: the Hub's checksum of it."""

    name: str
    size: int
    blob: str
    sha256: str | None


@dataclass(frozen=True)
class _Snapshot:
    """One revision of a repository and its place in the cache."""

    repo: str
    commit: str

    @property
    def storage(self) -> Path:
        return _storage(self.repo)

    @property
    def folder(self) -> Path:
        return self.storage / "snapshots" / self.commit

    def complete(self) -> bool:
        """Whether configuration, tokenizer and safetensors are all in the cache."""
        try:
            folders.check(self.folder, self.repo)
        except ModelError:
            return False
        return True

    def gguf(self, pick: str | None) -> Path | None:
        """The GGUF file in the cache that is meant; None for safetensors. Raises ModelError."""
        held = [str(file.relative_to(self.folder)) for file in self.folder.rglob("*")]
        meant = gguf_files.meant(held, pick, self.repo)
        return None if meant is None else self.folder / meant


@dataclass(frozen=True)
class Downloaded:
    """A model in the cache: the folder of its snapshot, its commit, and the one file where that is a GGUF."""

    folder: Path
    commit: str
    gguf: Path | None = None


def download(
    repo: str, revision: str | None = None, progress: Progress = silent, pick: str | None = None
) -> Downloaded:
    """Fetch what is missing of a model; of several GGUF files only the one that `pick` chooses.

    `progress` is told bytes; what it raises (`Stopped`) ends the download, and a later call goes on from there.
    Raises ModelError for all that can go wrong on the way.
    """
    with told(repo, revision):
        snapshot, listing = _find(repo, revision, pick)
        gguf = _gguf(snapshot, listing, pick)
        if listing is not None and (gguf or not snapshot.complete()):
            if gguf:
                _remote_header(snapshot, gguf)
            weights = [gguf] if gguf else _weights(snapshot, listing, progress)
            _fetch(snapshot, weights, progress, f"Downloading {repo}")
    if gguf:
        gguf_files.check(snapshot.folder / gguf.name, repo)
        return Downloaded(snapshot.folder, snapshot.commit, snapshot.folder / gguf.name)
    folders.check(snapshot.folder, repo)
    return Downloaded(snapshot.folder, snapshot.commit)


def peek(repo: str, revision: str | None = None, pick: str | None = None) -> Checkpoint:
    """What is known of a model whose weights need not be here: only their headers are read.

    Raises ModelError as `download` does.
    """
    with told(repo, revision):
        snapshot, listing = _find(repo, revision, pick)
        if gguf := _gguf(snapshot, listing, pick):
            return gguf_files.checkpoint(_remote_header(snapshot, gguf))
        if listing is None or snapshot.complete():
            config = folders.read_config(snapshot.folder, repo)
            return folders.checkpoint(config, folders.read_tensors(snapshot.folder, repo))
        tensors: dict[str, TensorInfo] = {}
        for file in _weights(snapshot, listing, silent):
            header = _api().parse_safetensors_file_metadata(repo, file.name, revision=snapshot.commit)
            tensors |= {name: TensorInfo(tuple(it.shape), it.dtype) for name, it in header.tensors.items()}
        return folders.checkpoint(folders.read_config(snapshot.folder, repo), tensors)


def in_cache(repo: str, commit: str) -> bool:
    """Whether a revision, named by its commit, is whole in the cache, so that nobody need be asked."""
    return _Snapshot(repo, commit).complete()


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


def _gguf(snapshot: _Snapshot, listing: list[_File] | None, pick: str | None) -> _File | None:
    """The GGUF file that is meant, as listed or as it lies in the cache; None for safetensors. Raises ModelError."""
    if listing is None:
        held = snapshot.gguf(pick)
        return None if held is None else _File(str(held.relative_to(snapshot.folder)), held.stat().st_size, "", None)
    by_name = {file.name: file for file in listing}
    meant = gguf_files.meant(list(by_name), pick, snapshot.repo)
    return None if meant is None else by_name[meant]


def _remote_header(snapshot: _Snapshot, file: _File) -> GgufHeader:
    """The checked header of a GGUF file, from the cache or by a few requests for its beginning."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    short, held = PurePosixPath(file.name).name, snapshot.folder / file.name
    if held.exists():
        return gguf_files.check(held, snapshot.repo)
    url = hf_hub_url(snapshot.repo, file.name, revision=snapshot.commit)
    remote = io.BufferedReader(transfer.Remote(url, file.size, build_hf_headers()), _HEADER_BYTES)
    return gguf_files.check_header(parse_header(remote, file.size, short, snapshot.repo), short, snapshot.repo)


def _find(repo: str, revision: str | None, pick: str | None) -> tuple[_Snapshot, list[_File] | None]:
    """The snapshot that `revision` means, and the Hub's list of its files, or None where the cache is enough."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    cached = _cached(repo, revision, pick)
    # One GGUF file in the cache does not tell that it is the only one.
    if cached and revision and COMMIT.fullmatch(revision) and (pick or cached.gguf(pick) is None):
        return cached, None
    try:
        info = _api().model_info(repo, revision=revision, files_metadata=True, timeout=transfer.TIMEOUT_S)
    except (HTTPError, OfflineModeIsEnabled) as error:
        refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
        if refused or not cached:
            raise
        return cached, None
    _remember(repo, revision, info.sha)
    return _Snapshot(repo, info.sha), [_listed(repo, sibling) for sibling in info.siblings or ()]


def _cached(repo: str, revision: str | None, pick: str | None) -> _Snapshot | None:
    """The snapshot of `revision` where the cache holds all of it that is meant."""
    commit = revision or "main"
    if not COMMIT.fullmatch(commit):
        ref = _storage(repo) / "refs" / commit
        commit = ref.read_text().strip() if ref.is_file() else ""
    snapshot = _Snapshot(repo, commit)
    if not COMMIT.fullmatch(commit):
        return None
    with suppress(ModelError):
        if (gguf := snapshot.gguf(pick)) is not None and gguf_files.check(gguf, repo):
            return snapshot
    return snapshot if snapshot.complete() else None


def _remember(repo: str, revision: str | None, commit: str) -> None:
    """Note which commit a branch or tag is, as the library does, so that it is found again without a network."""
    if revision != commit:
        ref = _storage(repo) / "refs" / (revision or "main")
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit)


def _listed(repo: str, sibling: Any) -> _File:
    blob = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
    if sibling.size is None or not blob:
        raise ModelError(f"The Hub does not say how large the files of {repo!r} are.", "Check HF_ENDPOINT.")
    return _File(sibling.rfilename, sibling.size, blob, sibling.lfs.sha256 if sibling.lfs else None)


def _weights(snapshot: _Snapshot, listing: list[_File], progress: Progress) -> list[_File]:
    """Fetch the small files, refuse what must not be loaded, then say which files hold the weights.

    The index names the shards: repositories hold the same weights under other names too, which would double the
    download.
    """
    by_name = {file.name: file for file in listing}
    small = [by_name[name] for name in SMALL_FILES if name in by_name]
    _fetch(snapshot, small, lambda done, total, what: progress(0, 0, what), f"Reading about {snapshot.repo}")
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


def _fetch(snapshot: _Snapshot, files: Iterable[_File], progress: Progress, what: str) -> None:
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    missing = [file for file in files if not (snapshot.folder / file.name).exists()]
    locks = Path(constants.HF_HUB_CACHE) / ".locks" / snapshot.storage.name
    downloads = [
        transfer.Download(
            url=hf_hub_url(snapshot.repo, file.name, revision=snapshot.commit),
            path=snapshot.storage / "blobs" / file.blob,
            lock=locks / f"{file.blob}.lock",
            size=file.size,
            sha256=file.sha256,
        )
        for file in missing
    ]
    _check_space(snapshot.repo, downloads)
    transfer.fetch(downloads, build_hf_headers(), progress, what)
    for file, download in zip(missing, downloads, strict=True):
        _enter(download.path, snapshot.folder / file.name)


def _enter(blob: Path, pointer: Path) -> None:
    """Give a file of the cache its name in a snapshot: a relative link, as the library makes it."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except FileExistsError:  # another process was quicker
        return
    except OSError:  # no links on this disk: the library puts the file itself there
        os.replace(blob, pointer)


def _check_space(repo: str, downloads: list[transfer.Download]) -> None:
    needed = sum(download.missing_bytes for download in downloads)
    place = next((folder for folder in _storage(repo).parents if folder.is_dir()), Path.cwd())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ModelError(
            f"{repo!r} needs {units.size(needed)} more on the disk, and {units.size(free)} are free.",
            "Make room, or set HF_HOME to a folder on a larger disk.",
        )


def _storage(repo: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser() / f"models--{repo.replace('/', '--')}"


def _api():
    from huggingface_hub import HfApi

    return HfApi()
