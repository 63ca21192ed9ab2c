"""What stands in front of the weights of a GGUF file of the Hub, read by a few requests for its beginning."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from quantlab.models.gguf import files as gguf_files
from quantlab.models.gguf.header import GgufHeader, parse_header, read_header
from quantlab.models.hub.cache import File, Snapshot

#: How much is asked for at once: the header of a large vocabulary is a few times that.
_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class _Copied:
    """A stream that is read from its beginning, and what is read written down."""

    stream: BinaryIO
    copy: BinaryIO

    def read(self, count: int) -> bytes:
        found = self.stream.read(count)
        self.copy.write(found)
        return found


def outline(snapshot: Snapshot, files: Sequence[File], folder: Path) -> GgufHeader:
    """Write into `folder` the files of one model, each as large as it is, with holes in the place of the weights.

    Headers are there, and the small tensors that tell of the architecture. A file that is in the cache is linked to.
    Gives the checked header of the whole model. Raises ModelError where it cannot be loaded.
    """
    headers = [_outline(snapshot, file, folder / PurePosixPath(file.name).name) for file in files]
    return gguf_files.check_headers(headers, PurePosixPath(files[0].name).name, snapshot.repo)


def _outline(snapshot: Snapshot, file: File, place: Path) -> GgufHeader:
    from huggingface_hub import HfFileSystem, constants

    if snapshot.has(file.name):
        place.symlink_to(snapshot.folder / file.name)
        return read_header(place, snapshot.repo)
    hub = HfFileSystem(endpoint=constants.ENDPOINT, skip_instance_cache=True)
    path, pieces = f"{snapshot.repo}/{file.name}", {"block_size": _BLOCK_BYTES, "size": file.size}
    with hub.open(path, revision=snapshot.commit, **pieces) as remote, place.open("wb") as copy:
        header = parse_header(_Copied(remote, copy), file.size, place.name, snapshot.repo)
        for name in filter(gguf_files.is_setting, header.tensors):
            remote.seek(header.offsets[name])
            copy.seek(header.offsets[name])
            copy.write(remote.read(header.nbytes[name]))
        copy.truncate(file.size)
    return header
