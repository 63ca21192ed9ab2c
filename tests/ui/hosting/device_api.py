"""A stand-in for what lends GPUs to a ZeroGPU Space, as the package `spaces` asks it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


@dataclass
class DeviceApi:
    """`scheduled` holds the parameters of each request for a GPU; `refuse` is a quota to tell instead of lending."""

    url: str = ""
    scheduled: list[dict[str, str]] = field(default_factory=list)
    released: list[dict[str, str]] = field(default_factory=list)
    refuse: dict[str, object] | None = None

    def answer(self, path: str, asked: dict[str, str]) -> tuple[int, object]:
        if path == "/schedule":
            self.scheduled.append(asked)
            if self.refuse is not None:
                return 429, self.refuse
            lent = {"nvidiaIndex": 0, "nvidiaUUID": "GPU-1", "allowToken": str(len(self.scheduled))}
            return 200, {"idle": True, **lent}
        if path == "/release":
            self.released.append(asked)
        return (200, {}) if path in ("/startup-report", "/allow", "/release") else (404, {})


def of_space(api: DeviceApi, folder: Path, *modules: Path, **more: str) -> dict[str, str]:
    """The environment of a ZeroGPU Space whose home is a folder; `modules` are where Python looks for them."""
    cgroup = folder / "cgroup"
    cgroup.write_text("0::/space\n")
    return {
        "SPACES_ZERO_GPU": "true",
        "SPACE_ID": "somebody/quantlab",
        "PYTHONPATH": ":".join(map(str, modules)),
        "HOME": str(folder),
        "SPACES_ZERO_DEVICE_API_URL": api.url,
        "ZEROGPU_PROC_SELF_CGROUP_PATH": str(cgroup),
        "ZEROGPU_OFFLOAD_DIR": str(folder / "offload"),
        **more,
    }


@contextmanager
def device_api() -> Iterator[DeviceApi]:
    api = DeviceApi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            status, value = api.answer(parts.path, {name: it[0] for name, it in parse_qs(parts.query).items()})
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
