"""llama.cpp's own programs, built once of the source that llama-cpp-python was built of, with the same options.

They run with the libraries of the installed llama-cpp-python, so that both sides compute with the very same code.
"""

import importlib.util
import os
import subprocess
import zipfile
from functools import cache
from pathlib import Path, PurePosixPath
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
INSIDE = PurePosixPath("llama_cpp/lib")


@cache
def llama_wheel() -> ModuleType:
    """The script of `make gguf`, which knows source, options and cache."""
    spec = importlib.util.spec_from_file_location("llama_wheel", ROOT / ".ci" / "llama_wheel.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def libraries() -> Path:
    """The folder of the installed llama-cpp-python's libraries."""
    return Path(importlib.util.find_spec("llama_cpp").origin).parent / "lib"


@cache
def folder() -> Path:
    """Where the programs lie, beside the wheel that they were built in. Leaves the program where that fails."""
    wheel = llama_wheel().wheel_of_tools(llama_wheel().requirements()[0])
    unpacked = wheel.parent / "unpacked"
    if not unpacked.is_dir():
        unpack(wheel, unpacked)
    return unpacked


def unpack(wheel: Path, into: Path) -> None:
    """The programs and the library that they share, in a folder that is there only when it is whole."""
    aside = into.with_name(f".{into.name}-{os.getpid()}")
    aside.mkdir()
    with zipfile.ZipFile(wheel) as opened:
        for name in map(PurePosixPath, opened.namelist()):
            if name.parent == INSIDE:
                (aside / name.name).write_bytes(opened.read(str(name)))
                (aside / name.name).chmod(0o755)
    aside.rename(into)


def run(program: str, *arguments: object) -> str:
    """What it writes to standard output. Raises RuntimeError with the end of what it complained of."""
    called = [str(folder() / program), *map(str, arguments)]
    found = os.pathsep.join(map(str, (libraries(), folder())))
    environment = os.environ | {"LD_LIBRARY_PATH": found, "DYLD_LIBRARY_PATH": found}
    ran = subprocess.run(called, env=environment, capture_output=True, text=True, errors="replace")
    if ran.returncode:
        raise RuntimeError(f"{program} ended with {ran.returncode}: {(ran.stderr or ran.stdout)[-2000:]}")
    return ran.stdout
