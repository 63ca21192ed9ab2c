"""Dockerfile and compose.yaml without Docker: linted, their files there, their steps done in a folder, the app run."""

import fnmatch
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from quantlab.settings import AppSettings
from tests.ui.hosting.running import running

ROOT = Path(__file__).resolve().parent.parent


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in their order, each on one line."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    parted = [re.split(r"\s+", line, maxsplit=1) for line in lines if line.strip()]
    return [(name, rest) for name, rest in parted]


def of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in of("ENV") for pair in rest.split())


def copies() -> list[tuple[list[str], str]]:
    return [(words[:-1], words[-1]) for words in (rest.split() for rest in of("COPY"))]


def left_out(path: str) -> bool:
    """Whether .dockerignore keeps a path of the repository from the build; the last line that names it counts."""
    found = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = path.split("/")
        tops = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
        if pattern.startswith("**/"):
            tops, pattern = parts, pattern[3:]
        if any(fnmatch.fnmatchcase(top, pattern) for top in tops):
            found = not line.startswith("!")
    return found


def test_the_linter_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, "--no-color", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there_and_goes_to_the_build():
    for sources, _ in copies():
        for source in sources:
            assert (ROOT / source).exists() and not left_out(source), source
    assert all(left_out(path) for path in (".git/config", ".env", "tests/test_readme.py", "quantlab/__pycache__/x.pyc"))


def test_what_is_installed_are_the_products_requirements_in_the_tested_versions():
    (install,) = [rest for rest in of("RUN") if rest.startswith("pip ")]
    before = instructions().index(("RUN", install))
    copied = {word for name, rest in instructions()[:before] if name == "COPY" for word in rest.split()[:-1]}
    files = set(re.findall(r"-[cr] (\S+)", install))
    assert files == copied == {"requirements.txt", ".ci/constraints.txt"}


def test_nobody_is_root_and_strangers_have_limits(monkeypatch):
    assert of("USER") == ["1000"]
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    app = AppSettings()
    assert app.public and app.host == "0.0.0.0" and of("EXPOSE") == [str(app.port)]
    kept = (app.cache_folder, app.classroom_file, app.quiz_folder, app.adapters_folder, Path(os.environ["HF_HOME"]))
    monkeypatch.undo()
    (volume,) = of("VOLUME")
    outside = [path for path in kept if not str(path).startswith(f"{volume}/")]
    # The tests' own settings name these three.
    assert {path.name for path in outside if path} <= {"checkpoints", "classroom.sqlite", "quiz"}


def test_compose_serves_this_machine_alone_and_waits_for_the_running_answer():
    found = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert set(found["services"]) == {"cpu", "cuda"}
    for service in found["services"].values():
        assert service["ports"] == ["${ADDRESS:-127.0.0.1}:${PORT:-7860}:7860"]
        assert service["environment"]["PORT"] == environment()["PORT"] and service["read_only"]
        # What was told to stop has three seconds more, gradio's own threads five.
        assert int(service["stop_grace_period"].rstrip("s")) > AppSettings().shutdown_seconds + 3 + 5
    build = found["services"]["cuda"]["build"]
    assert set(build["args"]) == {rest.partition("=")[0] for rest in of("ARG")} and (ROOT / build["context"]).is_dir()
    assert found["services"]["cuda"]["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"


@pytest.mark.slow
def test_the_versions_fit_together():
    (install,) = [rest for rest in of("RUN") if rest.startswith("pip ")]
    words = [it for it in install.split()[1:] if it not in ("--no-cache-dir", "--extra-index-url", '"$INDEX"')]
    command = [sys.executable, "-m", "pip", *words, "--dry-run", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2_000:]


@pytest.mark.slow
def test_the_copied_app_starts_is_healthy_and_ends_by_itself(tmp_path):
    for sources, to in copies():
        for source in sources:
            goal = tmp_path / "app" / to / (Path(source).name if to.endswith("/") else "")
            goal.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, goal, ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))
            else:
                shutil.copy(ROOT / source, goal)
    (command,) = (json.loads(rest) for rest in of("CMD"))
    (health,) = (json.loads(rest.partition("CMD ")[2]) for rest in of("HEALTHCHECK"))
    assert command[0] == health[0] == "python"
    more = {name: value.replace("/data", str(tmp_path / "data")) for name, value in environment().items()}
    more |= {"QUANTLAB_HOST": "127.0.0.1", "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
    del more["PORT"]
    with running([sys.executable, *command[1:]], tmp_path / "app", tmp_path / "log", **more) as server:
        port = {"PORT": server.url.rpartition(":")[2].rstrip("/")}
        asked = subprocess.run([sys.executable, *health[1:]], env=os.environ | port, capture_output=True, timeout=60)
        assert asked.returncode == 0, asked.stderr
        assert "Traceback" not in server.said()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert "All answers were given." in server.said()
