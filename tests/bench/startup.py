"""How much later `python app.py` answers than an empty page of gradio, started the same way."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120
EMPTY = """
import os
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr
with gr.Blocks() as page:
    pass
page.launch(server_name="127.0.0.1", server_port=int(os.environ["PORT"]), quiet=True, ssr_mode=False)
"""


@dataclass(frozen=True)
class Startup:
    """Medians in seconds from the start of the process to the first answered request."""

    app: float
    empty_page: float
    later: float


def measure(repeats: int) -> Startup:
    """Start both in turn; `later` is the median of the differences of neighbours."""
    pairs = [(_answers_after(["app.py"]), _answers_after(["-c", EMPTY])) for _ in range(max(repeats, 5))]
    ours, empty = (median(column) for column in zip(*pairs, strict=True))
    return Startup(ours, empty, median(a - b for a, b in pairs))


def _answers_after(command: list[str]) -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Compiled modules are kept, as they are unless somebody forbids it: gradio's are from its installation.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begun = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=kept | {"PORT": str(port)}, stdout=subprocess.DEVNULL
    )
    try:
        while time.perf_counter() - begun < LIMIT_S:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=LIMIT_S) as answer:
                    answer.read()
                return time.perf_counter() - begun
            except OSError:
                time.sleep(0.01)
        raise TimeoutError(f"no answer in {LIMIT_S} s from {command[0]}")
    finally:
        server.terminate()
        server.wait()
