"""As much of Xet, the Hub's storage of files as hashed pieces, as a download asks: a token, a plan, the pieces.

A file is cut into xorbs (here of a few pieces each), a xorb into pieces with a head of eight bytes. Nothing is
compressed.
"""

import hashlib
import json
from collections.abc import Sequence

PREFIX = "/xet/"
CHUNKS = f"{PREFIX}xorb/"
_PIECE, _PIECES = 1 << 14, 4
_NEVER = 4_000_000_000


def pointers(content: bytes, url: str) -> dict[str, str]:
    """What the answer to a question for a file tells of it beside its place in the other storage."""
    return {"X-Xet-Hash": _hash(content), "X-Xet-Refresh-Route": f"{url}{PREFIX}token"}


def answer(path: str, contents: Sequence[bytes], url: str) -> tuple[bytes, dict[str, str]] | None:
    """Body and headers for a path below PREFIX; None for what is not there. `contents`: the files that there are."""
    rest = path.removeprefix(PREFIX)
    if rest == "token":
        cas = {"X-Xet-Cas-Url": f"{url}{PREFIX}cas", "X-Xet-Access-Token": "token"}
        told = {"casUrl": cas["X-Xet-Cas-Url"], "accessToken": "token", "exp": _NEVER}
        return json.dumps(told).encode(), cas | {"X-Xet-Token-Expiration": str(_NEVER)}
    if rest.startswith("cas/v1/reconstructions/"):
        found = [it for it in contents if rest.endswith(_hash(it))]
        return (json.dumps(_plan(found[0], url)).encode(), {}) if found else None
    if path.startswith(CHUNKS):
        xorbs = {_hash(xorb): xorb for content in contents for xorb in _xorbs(content)}
        return (_packed(xorbs[path.removeprefix(CHUNKS)]), {}) if path.removeprefix(CHUNKS) in xorbs else None
    return None


def _hash(content: bytes) -> str:
    return hashlib.sha256(b"xet" + content).hexdigest()


def _cut(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def _xorbs(content: bytes) -> list[bytes]:
    return _cut(content, _PIECE * _PIECES)


def _packed(xorb: bytes) -> bytes:
    """version, bytes as sent (3), way of compression, bytes (3), then the piece."""
    pieces = ((len(piece).to_bytes(3, "little"), piece) for piece in _cut(xorb, _PIECE))
    return b"".join(b"\0" + size + b"\0" + size + piece for size, piece in pieces)


def _plan(content: bytes, url: str) -> dict[str, object]:
    terms, places = [], {}
    for xorb in _xorbs(content):
        pieces = {"start": 0, "end": len(_cut(xorb, _PIECE))}
        terms.append({"hash": _hash(xorb), "unpacked_length": len(xorb), "range": pieces})
        place = {"url": f"{url}{CHUNKS}{_hash(xorb)}", "url_range": {"start": 0, "end": len(_packed(xorb)) - 1}}
        places[_hash(xorb)] = [{"range": pieces, **place}]
    return {"offset_into_first_range": 0, "terms": terms, "fetch_info": places}
