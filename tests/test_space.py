"""`make space`: what the folder holds, that its requirements can be had, and that it starts as a Space starts it."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import yaml
from gradio_client import Client
from packaging.requirements import Requirement

from tests.ui.hosting.asking import ask, finished
from tests.ui.hosting.conftest import SPACES
from tests.ui.hosting.device_api import device_api, of_space
from tests.ui.hosting.running import Server, running

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("cpu", "gpu", "zero")
#: No index is asked that cannot be reached here, and none is waited for.
OFFLINE = {"PIP_RETRIES": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONNOUSERSITE": "1"}


@pytest.fixture(scope="module")
def space() -> ModuleType:
    spec = spec_from_file_location("space", ROOT / ".ci" / "space.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["space"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folders(space, tmp_path_factory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("spaces")
    for name in TARGETS:
        space.write(name, top / name)
    return {name: top / name for name in TARGETS}


def front_matter(folder: Path) -> dict[str, object]:
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def asked_for(folder: Path) -> dict[str, Requirement]:
    lines = (folder / "requirements.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
    return {requirement.name: requirement for requirement in wanted}


@pytest.mark.parametrize("name", TARGETS)
def test_the_front_matter_is_that_of_the_hardware(folders, space, name):
    found = front_matter(folders[name])
    assert found["suggested_hardware"] == space.TARGETS[name].hardware and found["sdk"] == "gradio"
    assert (folders[name] / str(found["app_file"])).is_file()
    assert len(str(found["short_description"])) <= 60, "the Hub takes no longer one"
    # ZeroGPU has 3.12 and 3.10, and quantlab needs 3.11.
    assert found["python_version"] == "3.12" and "hf_oauth" not in found
    assert found["sdk_version"] == importlib.metadata.version("gradio")


@pytest.mark.parametrize("name", TARGETS)
def test_the_requirements_are_those_of_the_product_but_for_what_is_said(folders, name):
    wanted = asked_for(folders[name])
    plain = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if line[:1] != "#"]
    assert set(wanted) - {it.name for it in plain} == ({"spaces"} if name == "zero" else set())
    different = {it.name for it in plain if wanted[it.name] != it}
    assert different == ({"gradio", "torch"} if name == "zero" else {"gradio"})
    assert wanted["gradio"].extras == {"oauth"}
    newest = wanted["torch"].specifier
    assert "2.11.0" in newest and ("2.13.0" in newest) == (name != "zero")


@pytest.mark.parametrize("name", TARGETS)
def test_it_holds_the_package_its_assets_and_no_tests(folders, name):
    folder = folders[name]
    held = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    ignored = re.compile(r"(^|/)__pycache__/|\.pyi?[cdi]$")
    product = {
        path.relative_to(ROOT).as_posix()
        for part in ("quantlab", "assets", "docs")
        for path in (ROOT / part).rglob("*")
        if path.is_file() and path.name != "screenshot.png"
    }
    product = {path for path in product if not ignored.search(path)}
    assert held == product | {"app.py", "LICENSE", "README.md", "requirements.txt", ".gitattributes"}


def test_what_is_no_text_goes_through_large_file_storage(folders):
    folder = folders["cpu"]
    large = {line.split()[0].lstrip("*") for line in (folder / ".gitattributes").read_text().splitlines()}
    for path in (path for path in folder.rglob("*") if path.is_file() and path.suffix not in large):
        assert path.stat().st_size < 10_000_000
        path.read_text("utf-8")
    assert ".safetensors" in large


def test_written_again_it_is_the_same_and_other_things_are_left_alone(space, tmp_path):
    folder = tmp_path / "clone"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "config").write_text("mine")
    space.write("gpu", folder)
    (folder / "quantlab" / "old.py").write_text("")
    space.write("cpu", folder)
    assert (folder / ".git" / "config").read_text() == "mine" and not (folder / "quantlab" / "old.py").exists()
    assert front_matter(folder)["suggested_hardware"] == "cpu-basic"
    (folder / "thesis.tex").write_text("")
    with pytest.raises(SystemExit, match=r"holds other things \(thesis.tex\)"):
        space.write("cpu", folder)
    assert (folder / "app.py").is_file()


def test_sign_in_is_asked_for_in_the_front_matter(space, tmp_path):
    space.write("cpu", tmp_path / "one", organisation="a-school")
    found = front_matter(tmp_path / "one")
    assert (found["hf_oauth"], found["hf_oauth_authorized_org"]) == (True, "a-school")
    with pytest.raises(SystemExit):
        space.write("cpu", tmp_path / "two", organisation="a\nsdk: docker")


def test_make_writes_the_folder(tmp_path):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    command = ["make", "space", f"PY={sys.executable}", "TARGET=zero", f"SPACE={tmp_path / 'it'}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "is ready" in done.stdout, done.stderr
    assert front_matter(tmp_path / "it")["suggested_hardware"] == "zero-a10g"


# As a Space does it: a fresh environment, the requirements, the app


@pytest.fixture(scope="module")
def environment(folders, tmp_path_factory) -> Iterator[Path]:
    """A fresh environment with what the Space for CPU asks for; the others' differ from it by what a GPU needs."""
    top = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", str(top)], check=True, timeout=120)
    pip(top, "install", "-q", "--upgrade", "pip")
    # `spaces` is what the build of a Space adds to every one with Gradio.
    pip(top, "install", "-q", "-r", str(folders["cpu"] / "requirements.txt"), SPACES)
    yield top
    shutil.rmtree(top, ignore_errors=True)


def pip(environment: Path, *arguments: str) -> str:
    command = [str(environment / "bin" / "python"), "-m", "pip", *arguments]
    done = subprocess.run(command, env=os.environ | OFFLINE, capture_output=True, text=True, timeout=900)
    if done.returncode and "No matching distribution" in done.stderr and "torch" not in done.stderr:
        pytest.skip(f"no packages can be had here: {done.stderr[-500:]}")
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_its_requirements_can_be_had_together(folders, environment, name):
    """Resolved anew, as in an empty environment; the wheels for CUDA are looked up and not fetched."""
    wanted = str(folders[name] / "requirements.txt")
    report = pip(environment, "install", "-q", "--dry-run", "--ignore-installed", "--report", "-", "-r", wanted)
    found = {it["metadata"]["name"].lower(): it["metadata"]["version"] for it in json.loads(report)["install"]}
    assert {"torch", "gradio", "transformers", "authlib"} <= set(found)
    assert (tuple(map(int, found["torch"].split("+")[0].split(".")[:2])) <= (2, 11)) or name != "zero"
    assert ("spaces" in found) == (name == "zero")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_it_starts_and_serves_strangers(folders, environment, tmp_path, name):
    """The one for a GPU too, which falls back on the processor where there is none."""
    python = str(environment / "bin" / "python")
    more = {"SPACE_ID": "somebody/quantlab", "SYSTEM": "spaces", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    with running([python, "app.py"], folders[name], tmp_path / "log", **more, PYTHONPATH="") as server:
        serves_strangers(server)


@pytest.mark.slow
def test_the_one_for_zero_gpu_starts_too(folders, environment, tmp_path):
    """With a stand-in for what lends GPUs, and on a CPU build of torch: see `zero_space.py`."""
    program = str(ROOT / "tests" / "ui" / "hosting" / "zero_space.py")
    with device_api() as api:
        more = of_space(api, tmp_path, folders["zero"], SYSTEM="spaces", QUANTLAB_DEVICE="cpu", HF_HUB_OFFLINE="1")
        command = [str(environment / "bin" / "python"), program]
        with running(command, folders["zero"], tmp_path / "log", **more) as server:
            serves_strangers(server)
            assert finished(ask(Client(server.url, verbose=False, download_files=False))) == 2
        assert len(api.scheduled) == len(api.released) == 1


def serves_strangers(server: Server) -> None:
    config = httpx.get(f"{server.url}config").json()
    (model,) = [it["props"] for it in config["components"] if it["props"].get("elem_id") == "model"]
    assert model["allow_custom_value"] is False and "demo" in str(model["choices"])
    assert httpx.get(f"{server.url}healthz").json()["status"] == "ok"
    assert "Traceback" not in server.said()
