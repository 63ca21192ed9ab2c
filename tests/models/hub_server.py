"""A stand-in for the Hugging Face Hub: the endpoints that quantlab asks, with the Hub's headers and error codes.

Large files are redirected to another origin, as the Hub redirects to its storage. The stand-in can be slow, cut
connections, refuse and fail, and remembers every request.
"""

import hashlib
import json
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tests.models import xet

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_API = re.compile(r"/api/(?:models/)?(?P<repo>.+?)(?:/revision/(?P<revision>.+))?")
_TREE = re.compile(r"/api/(?P<repo>.+?)/tree/[^/]+(?:/(?P<folder>.*))?")
_FILE = re.compile(r"/(?P<repo>.+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class Behaviour:
    """What goes wrong with large files, and when: the first `cuts` connections are dropped after `cut_after` bytes, all
    are dropped where they reach `cut_at`, and so on; with `reset` by an error, else as if the file ended there.
    `failing` is the status of the first `failures` answers, `wrong` replaces the last byte, a path that ends with
    `silent` is never answered, the first `hung_up` requests of all end without an answer, a file `lost` is listed and
    not there, and `warning` is what the Hub wants its library to say.
    """

    gated: bool = False
    limited: bool = False
    failing: int = 503
    wrong: bool = False
    silent: str | None = None
    lost: str | None = None
    warning: str | None = None
    cuts: int = 0
    cut_after: int = 0
    cut_at: int | None = None
    reset: bool = False
    stall_after: int | None = None
    pause_s: float = 0.0
    failures: int = 0
    hang_s: float = 0.0
    hung_up: int = 0


@dataclass
class HubServer:
    """`repos` by name, each its files; a dataset's name is `datasets/owner/name`. `older` holds other commits.
    `xet`: large files can be had through Xet too, and a library that knows it asks for them so.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    behaviour: Behaviour = field(default_factory=Behaviour)
    requests: list[Request] = field(default_factory=list)
    commit: str = COMMIT
    xet: bool = False
    older: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hub = self
        self.released = threading.Event()

        class Handler(_Handler):
            server_hub = hub

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def move(self, commit: str, repo: str, files: dict[str, bytes]) -> None:
        """A new commit on the branch; the one before can still be had by its name."""
        self.older[self.commit] = dict(self.repos)
        self.repos[repo], self.commit = files, commit

    def files(self, repo: str, revision: str | None) -> dict[str, bytes] | None:
        """The files of a repository at a revision, None where it has no such."""
        if revision in (None, "main", self.commit):
            return self.repos.get(repo)
        return self.older.get(revision, {}).get(repo)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def asked(self, name: str, method: str = "GET") -> list[Request]:
        return [request for request in self.requests if request.method == method and request.path.endswith(name)]

    def bodies(self) -> list[Request]:
        """The requests for the content of large files."""
        return [request for request in self.requests if request.path.startswith("/storage/")]

    def chunks(self) -> list[Request]:
        """The requests for pieces of large files through Xet."""
        return [request for request in self.requests if request.path.startswith(xet.CHUNKS)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up in these tests; that is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_hub: HubServer

    def log_message(self, *args: object) -> None:
        """The tests' output stays readable."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server_hub, unquote(urlsplit(self.path).path)
        hub.requests.append(Request(self.command, path, self.headers.get("Range"), self.headers.get("Authorization")))
        hub.released.wait(hub.behaviour.hang_s)
        if hub.behaviour.hung_up:
            hub.behaviour.hung_up -= 1
            self.close_connection = True
            return None
        if hub.behaviour.silent and path.endswith(hub.behaviour.silent):
            hub.released.wait()
        if path.startswith("/storage/"):
            return self._storage(path)
        if path.startswith(xet.PREFIX):
            return self._xet(path)
        if found := _TREE.fullmatch(path):
            return self._tree(**found.groupdict())
        if found := _API.fullmatch(path):
            return self._api(**found.groupdict())
        if found := _FILE.fullmatch(path):
            return self._file(**found.groupdict())
        return self._refuse(404, "EntryNotFound")

    def _api(self, repo: str, revision: str | None) -> None:
        hub = self.server_hub
        if repo not in hub.repos:
            return self._refuse(401, "RepoNotFound")
        if (files := hub.files(repo, revision)) is None:
            return self._refuse(404, "RevisionNotFound")
        if hub.behaviour.limited:
            return self._refuse(429, "")
        siblings, sha = [], hub.commit if revision in (None, "main") else revision
        for name, content in files.items():
            blob = _sha1(content)
            sibling = {"rfilename": name, "size": len(content), "blobId": blob}
            if _is_large(name):
                sha256 = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"size": len(content), "sha256": sha256, "pointerSize": 134}
            siblings.append(sibling)
        return self._send(200, json.dumps({"id": repo, "sha": sha, "siblings": siblings}).encode())

    def _tree(self, repo: str, folder: str | None) -> None:
        """The files and folders in one folder, and nothing below them."""
        within, found = f"{folder}/" if folder else "", {}
        for name, content in self.server_hub.repos.get(repo, {}).items():
            first, below, _ = name.removeprefix(within).partition("/")
            if name.startswith(within):
                path, oid = f"{within}{first}", _sha1(content)
                file = {"type": "file", "path": path, "size": len(content), "oid": oid}
                found[path] = {"type": "directory", "path": path, "oid": oid} if below else file
        return (
            self._send(200, json.dumps(list(found.values())).encode()) if found else self._refuse(404, "EntryNotFound")
        )

    def _file(self, repo: str, revision: str, name: str) -> None:
        hub = self.server_hub
        if repo not in hub.repos:
            return self._refuse(401, "RepoNotFound")
        if hub.behaviour.gated and self.headers.get("Authorization") != "Bearer hf_allowed":
            return self._refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        if (files := hub.files(repo, revision)) is None:
            return self._refuse(404, "RevisionNotFound")
        if name not in files or name == hub.behaviour.lost:
            return self._refuse(404, "EntryNotFound")
        content, commit = files[name], hub.commit if revision == "main" else revision
        if _is_large(name):
            storage = f"http://localhost:{hub.port}/storage/{repo}/{name}?{commit}"
            linked = {"X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Linked-Size": str(len(content))}
            by_xet = xet.pointers(content, hub.url) if hub.xet else {}
            return self._send(302, b"", {"Location": storage, "X-Repo-Commit": commit, **linked, **by_xet})
        return self._send(200, content, {"X-Repo-Commit": commit, "ETag": f'"{_sha1(content)}"'})

    def _storage(self, path: str) -> None:
        hub, behaviour = self.server_hub, self.server_hub.behaviour
        repo = next(repo for repo in hub.repos if path.startswith(f"/storage/{repo}/"))
        content = hub.files(repo, urlsplit(self.path).query)[path.removeprefix(f"/storage/{repo}/")]
        if behaviour.failures > 0:
            behaviour.failures -= 1
            return self._refuse(behaviour.failing, "")
        if behaviour.wrong:
            content = content[:-1] + bytes([content[-1] ^ 1])
        first, last = 0, len(content) - 1
        if wanted := self.headers.get("Range"):
            start, _, stop = wanted.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(stop or last), last)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        try:
            self._pour(content[first : last + 1], first)
        except OSError:
            self.close_connection = True  # the other side has had enough

    def _xet(self, path: str) -> None:
        hub = self.server_hub
        contents = [content for repo in hub.repos.values() for name, content in repo.items() if _is_large(name)]
        if (found := xet.answer(path, contents, hub.url)) is None:
            return self._refuse(404, "")
        body, headers = found
        if path.startswith(xet.CHUNKS):
            if hub.behaviour.failures > 0:
                hub.behaviour.failures -= 1
                return self._refuse(hub.behaviour.failing, "")
            time.sleep(hub.behaviour.pause_s)
            first, _, last = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")
            body = body[int(first) : int(last or len(body)) + 1]
            return self._send(206, body, {"Content-Range": f"bytes {first}-{last}/*"})
        return self._send(200, body, headers)

    def _pour(self, content: bytes, first: int) -> None:
        behaviour, step = self.server_hub.behaviour, 1 << 16
        for start in range(0, len(content), step):
            if behaviour.cut_at is not None and first + start >= behaviour.cut_at:
                self.close_connection = True
                return
            if behaviour.cuts and start >= behaviour.cut_after:
                behaviour.cuts -= 1
                self.close_connection = True
                if behaviour.reset:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                return
            if behaviour.stall_after is not None and start >= behaviour.stall_after:
                self.server_hub.released.wait()
            self.wfile.write(content[start : start + step])
            time.sleep(behaviour.pause_s)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code} if code else {})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.server_hub.behaviour.warning:
            self.send_header("X-HF-Warning", self.server_hub.behaviour.warning)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _sha1(content: bytes) -> str:
    """A file's name in git."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".gguf"))
