"""A folder ready to be pushed to a Hugging Face Space: `python .ci/space.py cpu|gpu|zero FOLDER`.

Front matter, requirements and start are those of the hardware; the package and its assets are copied, tests are not.
Needs Python alone.
"""

import argparse
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What git would hold as it is; everything else goes through large file storage, without which the Hub refuses it.
TEXTS = {"", *".py .html .css .js .md .json .jsonl .jinja .txt .yaml .toml .typed".split()}
#: Of the repository, what the app needs. `docs` holds the definitions that the page shows.
PARTS = ("app.py", "LICENSE", "quantlab", "assets", "docs")
LEFT_OUT = ("__pycache__", "*.pyc", "*.pyi", "screenshot.png")


@dataclass(frozen=True)
class Target:
    """`torch` is what is asked for in place of the line in requirements.txt, `first` and `more` are lines around it."""

    hardware: str
    says: str
    torch: str = ""
    first: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


TARGETS = {
    # The plain wheel of torch brings libraries for CUDA, some gigabytes, which such a Space would only unpack.
    "cpu": Target("cpu-basic", "two processors", first=("--extra-index-url https://download.pytorch.org/whl/cpu",)),
    "gpu": Target("t4-small", "one GPU"),
    # ZeroGPU runs the versions of torch on its own list; 2.9 to 2.11 are on it and suit all that is asked for here.
    "zero": Target("zero-a10g", "ZeroGPU", torch="torch>=2.9,<2.12", more=("spaces>=0.51",)),
}


def requirements(target: Target) -> str:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    wanted = [target.torch or line if line.startswith("torch>") else line for line in lines]
    # What "Sign in with Hugging Face" needs comes with this extra.
    wanted = [re.sub(r"^gradio>", "gradio[oauth]>", line) for line in wanted]
    return "\n".join((*target.first, *wanted, *target.more, ""))


def readme(target: Target, sign_in: bool, organisation: str) -> str:
    """The front matter of the repository's README, as this target needs it, and where the rest is."""
    _, matter, body = (ROOT / "README.md").read_text("utf-8").split("---\n", 2)
    hardware = re.compile(r"^suggested_hardware: .*$", re.M)
    if not hardware.search(matter):
        raise SystemExit("README.md has no suggested_hardware in its front matter.")
    matter = hardware.sub(f"suggested_hardware: {target.hardware}", matter)
    if sign_in or organisation:
        matter += "hf_oauth: true\n"
    if organisation:
        matter += f"hf_oauth_authorized_org: {organisation}\n"
    title, summary = re.findall(r"^(# .+)\n\n((?:.+\n)+)", body, re.M)[0]
    rest = f"This Space runs on {target.says}. docs/measurement.md says what each figure means."
    return f"---\n{matter}---\n{title}\n\n{summary}\n{rest}\n"


def write(name: str, folder: Path, *, sign_in: bool = False, organisation: str = "") -> None:
    """Write the folder anew; a `.git` in it stays. Raises SystemExit where something else lies there."""
    target = TARGETS[name]
    if organisation and not re.fullmatch(r"[\w.-]+", organisation):
        raise SystemExit(f"{organisation!r} is no name of an organisation.")
    _emptied(folder)
    for part in PARTS:
        source, to = ROOT / part, folder / part
        if source.is_dir():
            shutil.copytree(source, to, ignore=shutil.ignore_patterns(*LEFT_OUT))
        else:
            shutil.copy(source, to)
    (folder / "requirements.txt").write_text(requirements(target), "utf-8")
    (folder / "README.md").write_text(readme(target, sign_in, organisation), "utf-8")
    large = sorted({path.suffix for path in folder.rglob("*") if path.is_file() and _is_large(path, folder)})
    lines = (f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in large)
    (folder / ".gitattributes").write_text("".join(lines), "utf-8")


def _is_large(path: Path, folder: Path) -> bool:
    return ".git" not in path.relative_to(folder).parts and path.suffix not in TEXTS


def _emptied(folder: Path) -> None:
    """An empty folder, where nothing lay or what an earlier call wrote."""
    inside = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    ours = {*PARTS, "requirements.txt", "README.md", ".gitattributes"}
    if others := sorted(inside - {".git", *ours}):
        raise SystemExit(f"{folder} holds other things ({', '.join(others)}): name another one.")
    for name in inside & ours:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder.mkdir(parents=True, exist_ok=True)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Write the folder of a Hugging Face Space.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sign-in", action="store_true", help="visitors sign in with Hugging Face")
    parser.add_argument("--organisation", default="", help="only its members; implies --sign-in")
    asked = parser.parse_args(arguments)
    write(asked.target, asked.folder, sign_in=asked.sign_in, organisation=asked.organisation)
    print(f"{asked.folder} is ready: `git init` there or copy it into your Space's clone, then push.")


if __name__ == "__main__":
    main(sys.argv[1:])
