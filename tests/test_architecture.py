"""ARCHITECTURE.md, held against the sources: who imports whom, what may be heavy, how large things are.

Every rule takes a path and a source and returns what is wrong with it, so that each is also shown to bite on a small
offending source. Imports are read from the syntax tree, those inside functions included.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = sorted(p.relative_to(ROOT).as_posix() for p in [ROOT / "app.py", *ROOT.glob("quantlab/**/*.py")])
EVERYTHING = PRODUCT + sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("tests/**/*.py"))

#: The rooms from the ground up; each may import those above it in this list and itself. "api" is quantlab/__init__.py.
PURE_DEMO = ("demo.words", "demo.world", "demo.stories", "demo.corpus")
LEVELS = (
    ("errors", "shown"),
    ("records", "settings"),
    ("runtime",),
    ("measure",),
    ("export",),
    PURE_DEMO,
    ("models",),
    ("methods",),
    ("checkpoints", "fidelity"),
    ("history",),
    ("runs.estimates",),
    ("reporting.text",),
    ("reporting.charts",),
    ("runs", "reporting"),
    ("runs.cluster", "runs.sweep", "runs.notebook", "finetune"),
    ("teach.plan",),
    ("teach",),
    ("demo",),
    ("api",),
    ("ui", "cli.render"),
    ("cli",),
    ("app",),
)
HEIGHT = {room: height for height, rooms in enumerate(LEVELS) for room in rooms}
#: Charts are pure: records in, Figure out.
CHARTS_MAY = ("records", "errors", "reporting.text", "reporting.charts")
CHARTS_MAY_MODULES = ("quantlab.measure.statistics", "quantlab.measure.trust", "quantlab.fidelity.summary")
PURE_DEMO_READERS = ("fidelity", "ui", "methods", "demo", *PURE_DEMO)
CONFINED = {
    "gradio": ("quantlab/ui/", "app.py"),
    "ray": ("quantlab/runs/cluster/",),
    "spaces": ("quantlab/ui/", "app.py"),
    "plotly": ("quantlab/reporting/charts/",),
}
HEAVY = ("torch", "transformers", "accelerate", "bitsandbytes", "huggingface_hub")
LIGHT_ROOMS = (
    *("api", "records", "errors", "settings", "export", "history", "runs.estimates"),
    *("reporting", "reporting.text", "reporting.charts", "teach.plan", "ui", "cli.render", "cli", "app"),
)
#: What every installation has. Any other package that a method imports is that method's own, and may be missing.
CORE = ("torch", "transformers", "accelerate", "safetensors", "numpy", "httpx", *sys.stdlib_module_names)
METHOD_MODULE = {
    "bitsandbytes": "quantlab/methods/bitsandbytes",
    "gptqmodel": "quantlab/methods/",
    "llama_cpp": "quantlab/methods/gguf/",
    "gguf": "quantlab/methods/gguf/",
    "torchao": "quantlab/methods/torchao",
    "compressed_tensors": "quantlab/methods/",
    "hqq": "quantlab/methods/",
    "lm_eval": "quantlab/fidelity/tasks/",
    "evaluate": "quantlab/fidelity/tasks/",
}
#: Where HTML is made of templates, and the packages that escape it by hand.
TEMPLATES = "quantlab/reporting/templates.py"
ESCAPING = ("html", "markupsafe")
#: A tag that ends, or one with attributes. Charts have Plotly's own few tags, see `escaped` in reporting/text.py.
MARKUP = re.compile(r"</\w+>|<\w+ [\w-]+=")
FILE_LINES, FUNCTION_LINES = 400, 60


class Import(NamedTuple):
    """`module` is the full name, `from a import b` gives `a.b`. `at_import`: it runs when the file is imported."""

    module: str
    line: int
    at_import: bool
    for_types: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]


def room_of(module: str) -> str | None:
    """The room of a module of the product, the nearest that LEVELS names; None for what is outside the product."""
    if module == "app":
        return "app"
    parts = module.split(".")
    if parts[0] != "quantlab":
        return None
    for length in range(len(parts), 1, -1):
        if (room := ".".join(parts[1:length])) in HEIGHT:
            return room
    return "api"


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(path: str, source: str) -> list[Import]:
    package = module_of(path).split(".")[: None if path.endswith("__init__.py") else -1]

    def names(node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                base = package[: len(package) - node.level + 1] if node.level else []
                yield from (".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                if node.args and isinstance(node.args[0], ast.Constant):
                    yield str(node.args[0].value)

    def walk(node: ast.AST, at_import: bool, for_types: bool) -> Iterator[Import]:
        yield from (Import(name, node.lineno, at_import and not for_types, for_types) for name in names(node))
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_import and not inside, for_types or (types and child in node.body))

    return list(walk(ast.parse(source), True, False))


def imports_only_downwards(path: str, source: str) -> Iterator[str]:
    room = room_of(module_of(path))
    if room == "api" and path != "quantlab/__init__.py":
        yield f"{path} belongs to no room: put it into one, or name its room in LEVELS and in ARCHITECTURE.md"
        return
    for it in imports(path, source):
        other = room_of(it.module)
        if other is None or other == room or it.module == "quantlab.__version__":
            continue
        if HEIGHT[other] >= HEIGHT[room] and not {room, other} <= {*PURE_DEMO}:
            yield f"{path}:{it.line} {room} imports {other}, which does not lie below it"


def charts_and_demo_stay_apart(path: str, source: str) -> Iterator[str]:
    room = room_of(module_of(path))
    for it in imports(path, source):
        other = room_of(it.module)
        charts_allow = other in CHARTS_MAY or it.module.startswith(CHARTS_MAY_MODULES)
        if room == "reporting.charts" and other is not None and not charts_allow:
            yield f"{path}:{it.line} charts are pure and do not import {it.module}"
        if other == "demo" and room != "demo":
            yield f"{path}:{it.line} the making of the demo model is imported by nobody ({it.module})"
        if other in PURE_DEMO and room not in PURE_DEMO_READERS:
            yield f"{path}:{it.line} {room} has no business with {it.module}"
        if room in PURE_DEMO and other is None and it.package not in sys.stdlib_module_names:
            yield f"{path}:{it.line} the demo's world is plain Python and does not import {it.module}"


def packages_stay_in_their_room(path: str, source: str) -> Iterator[str]:
    for it in imports(path, source):
        if it.package in CONFINED and not path.startswith(CONFINED[it.package]):
            yield f"{path}:{it.line} {it.package} belongs to {' and '.join(CONFINED[it.package])}"
        if not path.startswith(METHOD_MODULE.get(it.package, "")):
            yield f"{path}:{it.line} {it.package} belongs to {METHOD_MODULE[it.package]}"
        if path.startswith("quantlab/methods/") and it.at_import and it.package not in ("quantlab", *CORE):
            yield f"{path}:{it.line} {it.package} may be missing: import it inside the function that needs it"


def markup_is_written_in_templates(path: str, source: str) -> Iterator[str]:
    """Jinja escapes what is put into a template. Who escapes by hand forgets it once."""
    if path == TEMPLATES:
        return
    for it in imports(path, source):
        if it.package in ESCAPING or it.module == "xml.sax.saxutils.escape":
            yield f"{path}:{it.line} {it.module}: HTML is written in templates, see {TEMPLATES}"
    pieces = () if path.startswith("quantlab/reporting/charts/") else ast.walk(ast.parse(source))
    for node in pieces:
        if isinstance(node, ast.JoinedStr) and any(MARKUP.search(it.value) for it in node.values if _is_text(it)):
            yield f"{path}:{node.lineno} markup with values in it: HTML is written in templates, see {TEMPLATES}"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def light_rooms_start_light(path: str, source: str) -> Iterator[str]:
    if room_of(module_of(path)) in LIGHT_ROOMS:
        for it in imports(path, source):
            if it.at_import and it.package in HEAVY:
                yield f"{path}:{it.line} {it.package} is heavy: import it inside the function that needs it"


def nothing_is_large(path: str, source: str) -> Iterator[str]:
    if (lines := len(source.splitlines())) > FILE_LINES:
        yield f"{path} has {lines} lines, more than {FILE_LINES}: it holds two things"
    for node in ast.walk(ast.parse(source)):
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if function and (length := node.end_lineno - node.lineno + 1) > FUNCTION_LINES:
            yield f"{path}:{node.lineno} {node.name} has {length} lines, more than {FUNCTION_LINES}"


def cycle(sources: Mapping[str, str]) -> list[str]:
    """Modules of which each imports one before it, in a ring; none where there is no ring. `sources` goes by path.

    Imports for types and those inside functions count: two modules that need each other are one thing in two files.
    """
    modules = {module_of(path) for path in sources}

    def nearest(name: str) -> str:
        """The module that a name leads to: `from a import b` may mean the module a.b, or what a calls b."""
        while name and name not in modules:
            name = name.rpartition(".")[0]
        return name

    graph = {module_of(path): {nearest(it.module) for it in imports(path, sources[path])} for path in sources}
    try:
        TopologicalSorter({module: needed - {module, ""} for module, needed in graph.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def rooms_are_listed(document: str, entries: Collection[str], others: Collection[str] = ()) -> Iterator[str]:
    """Rows of ARCHITECTURE.md's tables begin with a name in backticks, or several: `runs/`, `errors.py`.

    `entries` are the names in quantlab/, folders with a slash; `others` what a row may also be about.
    """
    cells = re.findall(r"^\| ([^|]*)\|", document, re.M)
    listed = {name.removeprefix("quantlab/") for cell in cells for name in re.findall(r"`([^`]+(?:/|\.py))`", cell)}
    yield from (f"ARCHITECTURE.md has no row for quantlab/{name}" for name in sorted(set(entries) - listed))
    tops = {name: re.match(r"[^/]*/?", name)[0] for name in listed}
    gone = (name for name, top in tops.items() if top not in {*entries, *others})
    yield from (f"ARCHITECTURE.md has a row for {name}, which is not there" for name in sorted(gone))


Rule = Callable[[str, str], Iterator[str]]
RULES = (
    imports_only_downwards,
    charts_and_demo_stay_apart,
    packages_stay_in_their_room,
    markup_is_written_in_templates,
    light_rooms_start_light,
    nothing_is_large,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_sources_keep_the_rule(rule: Rule):
    paths = EVERYTHING if rule is nothing_is_large else PRODUCT
    assert [fault for path in paths for fault in rule(path, (ROOT / path).read_text("utf-8"))] == []


UP, APART, ROOM, HTML, LIGHT, LARGE = RULES
OFFENDERS = (
    (UP, "quantlab/errors.py", "from quantlab import records"),
    (UP, "quantlab/models/hub.py", "def f():\n    from quantlab.methods import METHODS"),
    (UP, "quantlab/models/hub.py", "def f():\n    from ..runs.compare import compare"),
    (UP, "quantlab/runtime/decode.py", "from quantlab.measure import memory"),
    (UP, "quantlab/methods/none.py", "import quantlab.runs.compare"),
    (UP, "quantlab/methods/none.py", "import importlib\nimportlib.import_module('quantlab.ui.page')"),
    (UP, "quantlab/runtime/decode.py", "from quantlab import compare"),
    (UP, "quantlab/extras/more.py", ""),
    (UP, "quantlab/ui/page.py", "if TYPE_CHECKING:\n    from quantlab.cli import main"),
    (UP, "quantlab/fidelity/texts.py", "from quantlab.demo.making.train import main"),
    (APART, "quantlab/reporting/charts/memory.py", "from quantlab.engine import cache"),
    (APART, "quantlab/reporting/charts/memory.py", "from quantlab.measure import time"),
    (APART, "quantlab/cli/compare.py", "from quantlab.demo import train"),
    (APART, "quantlab/runtime/decode.py", "from quantlab.demo import world"),
    (APART, "quantlab/demo/world.py", "def f():\n    import torch"),
    (ROOM, "quantlab/cli/compare.py", "def f():\n    import gradio as gr"),
    (ROOM, "quantlab/ui/page.py", "from plotly import graph_objects"),
    (ROOM, "quantlab/methods/bitsandbytes.py", "import bitsandbytes as bnb"),
    (ROOM, "quantlab/measure/memory.py", "def f():\n    from bitsandbytes.nn import Linear4bit"),
    (ROOM, "quantlab/methods/dense.py", "def f():\n    import bitsandbytes"),
    (ROOM, "quantlab/methods/gptq.py", "from gptqmodel import GPTQModel"),
    (ROOM, "quantlab/runs/quality.py", "def f():\n    import lm_eval"),
    (HTML, "quantlab/ui/page.py", "from html import escape"),
    (HTML, "quantlab/ui/page.py", "def f():\n    import html"),
    (HTML, "quantlab/ui/page.py", "from markupsafe import Markup"),
    (HTML, "quantlab/cli/lists.py", "from xml.sax.saxutils import escape"),
    (HTML, "quantlab/ui/page.py", "x = f'<p>{y}</p>'"),
    (HTML, "quantlab/ui/page.py", "x = f'<td class=\"num\">{y}'"),
    (LIGHT, "quantlab/__init__.py", "import torch"),
    (
        LIGHT,
        "quantlab/runs/estimates.py",
        "try:\n    from transformers import AutoConfig\nexcept ImportError:\n    pass",
    ),
    (LIGHT, "quantlab/ui/page.py", "class Page:\n    import huggingface_hub"),
    (LARGE, "tests/fakes.py", "x = 1\n" * 401),
    (LARGE, "quantlab/runtime/decode.py", "def f():\n" + "    x = 1\n" * 60),
)
INNOCENT = (
    (UP, "quantlab/fidelity/texts.py", "from quantlab.demo.corpus import documents"),
    (UP, "quantlab/demo/corpus.py", "from quantlab.demo import words"),
    (UP, "quantlab/cli/compare.py", "from quantlab import compare\nfrom quantlab.ui.launch import serve"),
    (UP, "quantlab/measure/versions.py", "from quantlab import __version__"),
    (APART, "quantlab/reporting/charts/latency.py", "from quantlab.measure.statistics import median"),
    (APART, "quantlab/ui/examples.py", "from quantlab.demo.world import world"),
    (ROOM, "quantlab/methods/bitsandbytes.py", "def load():\n    import bitsandbytes as bnb"),
    (LIGHT, "quantlab/runs/estimates.py", "if TYPE_CHECKING:\n    import torch\ndef f():\n    import torch"),
    (HTML, "quantlab/reporting/templates.py", "from markupsafe import Markup"),
    (HTML, "quantlab/cli/lists.py", "from rich.markup import escape\nimport re\nre.escape('x')\nf'<{x}> and a < b'"),
    (HTML, "quantlab/reporting/charts/memory.py", "x = f'<b>{y}</b><br>{z}'"),
    (HTML, "quantlab/ui/page.py", "x = '<p>nothing is put in</p>'"),
    (LIGHT, "quantlab/runtime/session.py", "import torch"),
    (LARGE, "quantlab/runtime/decode.py", "def f():\n" + "    x = 1\n" * 59),
)


@pytest.mark.parametrize(("rule", "path", "source"), OFFENDERS)
def test_the_rule_bites(rule: Rule, path: str, source: str):
    assert list(rule(path, source)) != []


@pytest.mark.parametrize(("rule", "path", "source"), INNOCENT)
def test_the_rule_lets_pass(rule: Rule, path: str, source: str):
    assert list(rule(path, source)) == []


def test_no_modules_import_each_other_in_a_ring():
    assert cycle({path: (ROOT / path).read_text("utf-8") for path in PRODUCT}) == []


@pytest.mark.parametrize(
    "back",
    [
        "from quantlab import a",
        "from quantlab.a import name",
        "from . import a",
        "import quantlab.a as other",
        "def f():\n    from quantlab.a import name",
        "if TYPE_CHECKING:\n    from quantlab.a import Name",
        "import importlib\nimportlib.import_module('quantlab.a')",
    ],
)
def test_a_ring_is_found(back: str):
    sources = {"quantlab/a.py": "from quantlab.b.inner import c", "quantlab/b/__init__.py": "", "quantlab/c.py": back}
    assert cycle({**sources, "quantlab/b/inner.py": "import os\nfrom quantlab import c"})[1:] != []
    assert cycle({**sources, "quantlab/b/inner.py": "import os\nfrom quantlab.b import c"}) == []


def test_every_room_has_its_row():
    def names(folder: Path) -> set[str]:
        found = (it for it in folder.iterdir() if it.name not in ("__init__.py", "__pycache__"))
        return {it.name + "/" * it.is_dir() for it in found if it.is_dir() or it.suffix == ".py"}

    document = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    assert list(rooms_are_listed(document, names(ROOT / "quantlab"), names(ROOT))) == []


def test_a_room_without_a_row_is_found_and_a_row_without_a_room():
    table = "| room | holds |\n|---|---|\n| `runs/` | not `ui/` |\n| `cli/`, `errors.py` | `x.py` |\n| word | `y/` |\n"
    assert list(rooms_are_listed(table, {"runs/", "cli/", "errors.py"})) == []
    assert list(rooms_are_listed(table, {"runs/", "cli/", "errors.py", "ui/"})) == [
        "ARCHITECTURE.md has no row for quantlab/ui/"
    ]
    (gone,) = rooms_are_listed(table + "| `engine/disk.py` | |\n", {"runs/", "cli/", "errors.py"})
    assert "engine/disk.py" in gone
    assert list(rooms_are_listed(table + "| `app.py` | |\n", {"runs/", "cli/", "errors.py"}, {"app.py"})) == []


@pytest.mark.slow
def test_the_front_imports_no_torch():
    walk = """
import importlib, pkgutil, sys, quantlab
assert not {"torch", "gradio"} & set(sys.modules), "import quantlab is not light"
for room in ("ui", "reporting", "export", "history", "teach.plan"):
    package = importlib.import_module(f"quantlab.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"quantlab.{room}."):
        importlib.import_module(module.name)
for module in ("cli", "cli.render", "runs.estimates", "records", "errors", "settings"):
    importlib.import_module(f"quantlab.{module}")
print(*({"torch", "transformers", "accelerate", "bitsandbytes"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", walk], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
