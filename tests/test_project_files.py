"""What the files for contributors say: links lead somewhere, targets exist, figures are those of the code."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from quantlab.methods import plugins
from quantlab.ui import launch, page

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
WORKFLOWS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(".github/workflows/*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.M))


def read(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def anchors(document: str) -> set[str]:
    """As GitHub makes them of headings, and those that are set by hand."""
    headings = re.findall(r"^#+ (.+)$", document, re.M)
    made = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a (?:id|name)="([^"]+)"', document))


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_to_files_and_headings(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", read(path)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = (ROOT / path).parent / name if name else ROOT / path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text("utf-8")), target


@pytest.mark.parametrize("path", [*DOCUMENTS, *WORKFLOWS, ".github/pull_request_template.md"])
def test_targets_of_make_exist(path):
    typed = re.findall(r"(?:`|^(?:.*\brun: )?)make ((?:[a-z][a-z0-9-]* ?)+)", read(path), re.M)
    assert {target for each in typed for target in each.split()} <= TARGETS


@pytest.mark.parametrize("path", ["CONTRIBUTING.md", "SECURITY.md"])
def test_paths_that_are_named_exist(path):
    named = re.findall(r"[` ]((?:quantlab|tests|docs|\.ci)/[\w./-]+)", read(path))
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert named


def test_workflows_call_the_targets_on_every_python():
    checks = yaml.safe_load(read(".github/workflows/checks.yml"))["jobs"]
    runs = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in checks.items()}
    assert runs == {"lint": ["make lint"], "test": ["make test"]}
    pythons = checks["test"]["strategy"]["matrix"]["python"]
    assert f">={pythons[0]}" == PROJECT["requires-python"] and pythons == ["3.11", "3.12", "3.13", "3.14"]


def test_the_issue_form_asks_for_what_is_needed_and_its_command_runs(capsys):
    fields = {it["id"]: it["attributes"] for it in yaml.safe_load(read(".github/ISSUE_TEMPLATE/bug.yml"))["body"][1:]}
    assert {"what", "model", "precisions", "hardware", "versions"} <= set(fields)
    python, option, program = shlex.split(fields["versions"]["value"])
    assert (python, option) == (".venv/bin/python", "-c")
    exec(program, {})
    assert "'torch': '" in capsys.readouterr().out


def test_every_commit_is_read_by_the_ruff_of_the_environment():
    (local,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert [hook["entry"] for hook in local["hooks"]] == [".venv/bin/ruff check", ".venv/bin/ruff format"]


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["title"] == PROJECT["name"] and citation["authors"]


def test_the_changelog_begins_with_what_is_not_released():
    headings = re.findall(r"^## (.+)$", read("CHANGELOG.md"), re.M)
    assert headings[0] == "Unreleased"


def test_the_example_of_a_package_names_the_group_and_the_method_of_the_readme():
    (example,) = re.findall(r"```toml\n(.*?)```", read("CONTRIBUTING.md"), re.S)
    package = tomllib.loads(example)
    (entry,) = package["project"]["entry-points"][plugins.GROUP].values()
    module, _, name = entry.partition(":")
    assert [module] == package["tool"]["setuptools"]["py-modules"] and f"\n{name} = Float8()" in read("README.md")


def test_the_bounds_of_public_mode_are_those_that_are_promised():
    promised = re.sub(r"\s+", " ", read("SECURITY.md"))
    each, together = (f"{size / 1e6:.0f} MB" for size in (launch.PUBLIC_UPLOAD_BYTES, launch.PUBLIC_UPLOADS_BYTES))
    assert f"({each} each, {together} and {launch.PUBLIC_UPLOADS} files together, for half an hour)" in promised
    assert f"sessions kept in memory ({launch.PUBLIC_SESSIONS})" in promised
    assert page.PUBLIC_UPLOADS_KEPT[1] == 30 * 60


@pytest.mark.slow
def test_what_takes_long_is_left_out_of_the_quick_tests_by_itself():
    (chosen,) = re.findall(r"^check:.*\n.*pytest.* -m '([^']+)'", read("Makefile"), re.M)
    by_fixture = ("tests/ui/test_page.py", "tests/methods/test_stored_kernels.py", "tests/test_cuda.py")
    by_parameter = "tests/methods/test_contract.py"
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", chosen]
    done = subprocess.run([*command, *by_fixture, by_parameter], cwd=ROOT, capture_output=True, text=True, timeout=300)
    left = [line for line in done.stdout.splitlines() if "::" in line]
    assert {line.partition("::")[0] for line in left} == {by_parameter}, done.stderr
    assert any("[nf4]" in line for line in left) and not any("[gptq-4" in line or "[q4_k_m" in line for line in left)
