"""Install the extra `gguf`. llama-cpp-python comes as source only: built once on a machine, its wheel is kept.

    python .ci/llama_wheel.py                                  into the environment of that python
    CMAKE_ARGS=-DGGML_CUDA=ON python .ci/llama_wheel.py        with options of llama.cpp's besides

The wheel serves every Python 3. It is kept under the cache folder of the XDG base directory specification, in a folder
named after all that decides what is in it: version, build options, system and C library.
"""

import hashlib
import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "llama-cpp-python"
OPTIONS = (
    # Instructions of x86-64-v3 at most, not all that this very machine has: a kept wheel may see another one.
    "-DGGML_NATIVE=OFF",
    # Pictures and sound: a third of the build, and nothing here uses it.
    "-DLLAVA_BUILD=OFF",
    # Else every library is in the wheel twice, the second time in a folder `lib` beside all packages.
    *("-DCMAKE_INSTALL_LIBDIR=llama_cpp/lib", "-DCMAKE_INSTALL_BINDIR=llama_cpp/lib"),
    "-DCMAKE_INSTALL_INCLUDEDIR=llama_cpp/include",
)
#: Read by CMake after project(). The library of llama.cpp's own programs is the longest to compile and is not bound by
#: Python; the build forces its option on in CMake's cache, where an ordinary variable goes before.
INCLUDED = "set(LLAMA_BUILD_COMMON OFF)\n"
#: llama.cpp's own programs that `make peers` measures beside, and the same for a wheel of nothing but them: they run
#: with the libraries of the other.
TOOLS = ("llama-perplexity", "llama-bench")
INCLUDED_TOOLS = f"""\
set(LLAMA_BUILD_TOOLS ON)
set(LLAMA_BUILD_SERVER OFF)
set(LLAMA_OPENSSL OFF)
set(CMAKE_INSTALL_RPATH $ORIGIN)
cmake_language(DEFER CALL install TARGETS {" ".join(f"{it} {it}-impl" for it in TOOLS)} llama-common
  DESTINATION llama_cpp/lib COMPONENT tools)
"""
NO_COMPILER = """\
GGUF needs llama-cpp-python, which is built here from its source, and there is no C++ compiler.
Install one (on Debian and Ubuntu: apt-get install build-essential; on macOS: xcode-select --install), then call
make gguf again. CMake and Ninja are fetched where they are missing."""


def requirements() -> list[str]:
    """What the extra `gguf` asks for, llama-cpp-python first."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["gguf"]
    return sorted(listed, key=lambda line: not line.startswith(PACKAGE))


def options() -> str:
    """The options of the build: those above, then the user's `CMAKE_ARGS`, which win."""
    return " ".join([*OPTIONS, os.environ.get("CMAKE_ARGS", "")]).strip()


def kept_in(version: str, included: str = INCLUDED) -> Path:
    """The folder of the wheel that this version, these options and this system give."""
    system = (sysconfig.get_platform(), *platform.libc_ver())
    decides = "\n".join([options(), included, *system])
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(decides.encode()).hexdigest()[:16]
    return caches / "quantlab" / "wheels" / f"{PACKAGE}-{version}-{key}"


def pip(*arguments: str, **environment: str) -> None:
    """Run pip. Leaves the program with pip's exit status if it fails: pip has said why."""
    run = subprocess.run([sys.executable, "-m", "pip", *arguments], env=os.environ | environment)  # noqa: S603 - pip
    if run.returncode:
        sys.exit(run.returncode)


def build(requirement: str, folder: Path, included: str, settings: Sequence[str]) -> None:
    """Build the wheel aside and rename it into the folder, so that half a wheel is never taken for a whole one.

    pip's own cache is left out: it does not look at the options.
    """
    if not any(map(shutil.which, [*shlex.split(os.environ.get("CXX", ""))[:1], "c++", "g++", "clang++"])):
        sys.exit(NO_COMPILER)
    print(f"Building {requirement} from its source: 5 to 15 minutes, once. The wheel is kept in {folder}", flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as aside:
        read = Path(aside, "included.cmake")
        read.write_text(included)
        pip(
            *("wheel", requirement, "--no-deps", "--no-cache-dir", "--no-binary", PACKAGE, "--wheel-dir", aside),
            *(f"--config-settings={setting}" for setting in settings),
            CMAKE_ARGS=f"{options()} {shlex.quote(f'-DCMAKE_PROJECT_llama_cpp_INCLUDE={read}')}",
            CMAKE_BUILD_PARALLEL_LEVEL=os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1)),
        )
        (built,) = Path(aside).glob("*.whl")
        folder.mkdir(exist_ok=True)
        built.rename(folder / built.name)


def wheel(requirement: str, included: str = INCLUDED, settings: Sequence[str] = ()) -> Path:
    """The kept wheel of a requirement `name==version`, built now if there is none. Two at once build it once.

    `settings` are the build backend's, scikit-build-core's.
    """
    from filelock import FileLock

    folder = kept_in(requirement.partition("==")[2], included)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not any(folder.glob("*.whl")):
            build(requirement, folder, included, settings)
    return next(folder.glob("*.whl"))


def wheel_of_tools(requirement: str) -> Path:
    """A wheel of the same source, built with the same options, whose folder `llama_cpp/lib` holds `TOOLS`."""
    return wheel(requirement, INCLUDED_TOOLS, (f"build.targets={';'.join(TOOLS)}", "install.components=tools"))


def installed(requirement: str) -> bool:
    name, _, version = requirement.partition("==")
    return any(found.version == version for found in importlib.metadata.distributions(name=name))


def main() -> None:
    pinned, *others = requirements()
    # One that is there already is good, wherever it came from, unless options were asked for.
    if os.environ.get("CMAKE_ARGS") or not installed(pinned):
        pip("install", "--no-deps", "--force-reinstall", str(wheel(pinned)))
    pip("install", pinned, *others)


if __name__ == "__main__":
    main()
