"""What lies where: the README's file tree against the disk, the top level, the wheel's packages, the public names."""

import fnmatch
import importlib
import re
import tomllib
from pathlib import Path

import quantlab

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = {
    *("README.md", "ARCHITECTURE.md", "LICENSE", "Makefile", "pyproject.toml", "app.py"),
    *("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CITATION.cff", ".pre-commit-config.yaml"),
    *("Dockerfile", "compose.yaml", ".dockerignore"),
    *("requirements.txt", "requirements-dev.txt", "requirements-gptq.txt"),
    *("quantlab", "assets", "examples", "tests", "docs", ".ci", ".github", ".gitignore", ".gitattributes"),
}


def ignored(name: str) -> bool:
    """Whether git leaves a name alone: `.git` itself, and the plain patterns of .gitignore."""
    patterns = (line.strip("/") for line in (ROOT / ".gitignore").read_text().split("\n") if line[:1] not in ("", "#"))
    return name == ".git" or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def children(folder: Path) -> set[str]:
    return {entry.name + "/" * entry.is_dir() for entry in folder.iterdir() if not ignored(entry.name)}


def tree(readme: str) -> dict[str, set[str]]:
    """Folder -> the names that the README's `## File tree` lists in it. The root is ""; folders end with a slash."""
    block = re.search(r"^## File tree\n.*?^```\w*\n(.*?)^```", readme, re.S | re.M)
    listed: dict[str, set[str]] = {}
    path: list[str] = []
    for prefix, name in re.findall(r"^((?:[│ ] {3})*)[├└]── (\S+)", block[1] if block else "", re.M):
        path[len(prefix) // 4 :] = [name]
        listed.setdefault("".join(path[:-1]), set()).add(name)
    return listed


def test_a_file_tree_is_read():
    block = ("├── app.py   entry", "└── a/   room", "    ├── b/", "    │   └── c.py", "    └── d.py")
    assert tree("\n".join(("# x", "", "## File tree", "", "```", ".", *block, "```", ""))) == {
        "": {"app.py", "a/"},
        "a/": {"b/", "d.py"},
        "a/b/": {"c.py"},
    }
    assert tree("## File tree\nnone") == {}


def test_the_readme_shows_the_tree_on_disk():
    listed = tree((ROOT / "README.md").read_text("utf-8"))
    assert {"", "quantlab/"} <= set(listed), "README.md needs a fenced tree under the heading `## File tree`"
    for folder, names in listed.items():
        wanted = {name for name in children(ROOT / folder) if folder or not name.startswith(".")} - {"__init__.py"}
        assert {name for name in names if not name.startswith(".")} - {"__init__.py"} == wanted, folder or "top level"


def test_the_top_level_holds_only_what_belongs_there():
    assert {name.strip("/") for name in children(ROOT)} <= TOP_LEVEL


def test_the_wheel_holds_every_package():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    sources = [path.relative_to(ROOT) for path in ROOT.glob("quantlab/**/*.py")]
    folders = {".".join(path.parent.parts) for path in sources}
    assert folders == {".".join(path.parent.parts) for path in sources if path.name == "__init__.py"}
    assert set(listed) == folders | {"quantlab.assets", "quantlab.docs"}


def test_the_wheel_holds_every_template(monkeypatch):
    """Asked of setuptools itself, by the project's own settings."""
    from setuptools import Distribution

    monkeypatch.chdir(ROOT)
    project = Distribution()
    project.parse_config_files(["pyproject.toml"])
    build = project.get_command_obj("build_py")
    build.ensure_finalized()
    held = {Path(source, name) for _, source, _, names in build.data_files for name in names}
    templates = {path.relative_to(ROOT) for path in ROOT.glob("quantlab/**/*.html")}
    assert templates and templates <= held and Path("quantlab/py.typed") in held


def test_the_wheel_says_that_it_has_types():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert data["quantlab"] == ["py.typed"] and (ROOT / "quantlab" / "py.typed").is_file()


def test_no_stub_is_written_beside_a_component(tmp_path, monkeypatch):
    """Type checkers read a stub in place of its module, and gradio's are not made anew."""
    (tmp_path / "a_component.py").write_text("import quantlab.ui\nimport gradio\n\nclass Mine(gradio.HTML): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module("a_component").Mine.__name__ == "Mine"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["a_component.py"]


def test_the_public_names_are_there():
    namespace: dict[str, object] = {}
    exec("from quantlab import *", namespace)
    assert set(quantlab.__all__) <= set(namespace) and set(quantlab.__all__) <= set(dir(quantlab))
    assert callable(quantlab.compare) and not hasattr(quantlab, "no_such_name")


def test_the_version_of_a_checkout_is_the_project_s():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert quantlab._SOURCE_VERSION.partition("+")[0] == project["version"]
    assert quantlab.__version__.partition("+")[0] == project["version"]
