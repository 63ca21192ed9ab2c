"""Words that first-time users stumbled over, those in their place, and figures that seem to contradict."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab.records import Divergence, Peak
from quantlab.records.events import QualityDone, QualityStarted
from quantlab.reporting import advice
from quantlab.reporting.charts import difference
from quantlab.reporting.html import html as report
from quantlab.runs.generate import _repacking_note
from quantlab.runtime.kv_cache import RESERVED_DETAIL
from quantlab.settings import AppSettings
from quantlab.ui.compare import figures
from quantlab.ui.page import build_page
from quantlab.ui.quality import fragments, table
from quantlab.ui.quality.view import QualityView, fold
from tests.examples import example_comparison, example_run
from tests.fakes import Script, services
from tests.quality_examples import fidelity, quality

ROOT = Path(__file__).parents[2]
OLD = (
    *("Where it parts from", "arts from the reference", "changed what it keeps", "Lies on", "Load was"),
    *("narrow the errors down", "What the text does not hold", "By the scatter of its windows", "There is more of it"),
    *("told apart or not", "other top token", "rounded otherwise, which", "Another one to set beside"),
)


def test_no_old_word_is_left_where_a_user_reads():
    files = [*ROOT.glob("quantlab/**/*.py"), *ROOT.glob("quantlab/**/*.html"), *ROOT.glob("assets/lessons/*.md")]
    said = re.compile("|".join(map(re.escape, OLD)))
    comments = re.compile(r'^\s*(#|""").*$', re.MULTILINE)
    found = [(file.name, said.findall(comments.sub("", file.read_text("utf-8")))) for file in files]
    assert len(files) > 200 and [it for it in found if it[1]] == []


@pytest.fixture(scope="module")
def page() -> str:
    """Every label, remark and text that the page begins with."""
    made = build_page(AppSettings(public=False), services(Script(0, 0)))
    props = [component["props"] for component in made.get_config_file()["components"]]
    return "\n".join(str(it.get(name) or "") for it in props for name in ("label", "info", "value", "placeholder"))


@pytest.mark.parametrize(
    "words",
    [
        "More windows give smaller errors but take longer. Short texts are read to their end.",
        "Compare with another run",
        "every version reads the same text",
        "a different likeliest token",
    ],
)
def test_the_page_begins_with_the_better_words(page, words):
    assert words in page


def test_the_report_and_the_charts_say_first_differs_and_likeliest():
    comparison = example_comparison()
    assert "First differs from the reference at token" in report(comparison)
    names = {trace.name for trace in difference.figure(comparison).data}
    assert {"different likeliest token", "first difference"} <= names


def test_repacked_weights_and_devices_are_said_plainly():
    assert _repacking_note(116_400_000, 113_100_000) == (
        "After the first run the library repacked the weights: 116 MB -> 113 MB",
    )
    assert _repacking_note(3_400_000, 3_400_100) == () == _repacking_note(9_999, 9_999)
    assert _repacking_note(9_999, 9_998) != ()
    run = example_run("nf4", "fp32", 20)
    told = {row.name: row.value for row in figures.details(run, run.load)}
    assert told["Device"] == "cpu" and told["Loaded by"] == "reading what was quantized before"


def test_the_recommendation_says_what_it_is_sure_of():
    record = quality(runs={"nf4": {"fidelity": fidelity(0.04)}})
    found = advice.advise(replace(record, text=replace(record.text, windows=2, scored=510)), 0.05)
    said = fragments.advice(found)
    assert "With 95 % confidence it is below" in said and "Which differences are real?" in said
    assert "The text is longer: raise the number of windows" in said
    assert "differs only by rounding" in said


# Figures that seem to contradict have a note.


def told(run, *, greedy: bool = True) -> str:
    return " ".join(figures.remarks(run, run.load, greedy))


def test_bits_of_the_whole_model_have_those_of_the_layers_beside_them():
    run = example_run("nf4", "fp32", 20)
    wide = replace(run.load, bits_per_weight=6.92, bits_per_quantized_weight=4.5)
    rows = {row.name: row for row in figures.headline(run, wide, "fp32")}
    assert rows["Bits per weight"].value == "6.92 (layers 4.50)"
    assert "embeddings and norms stay wider" in rows["Bits per weight"].exact
    near = replace(wide, bits_per_weight=4.6)
    assert {row.name: row for row in figures.headline(run, near, "fp32")}["Bits per weight"].value == "4.60"
    record = quality(errors={}, runs={"nf4": {"load": wide}})
    view = fold(QualityView(), QualityStarted(("fp32", "nf4"), "fp32", record.text, record.model), 0.0)
    shown = table.render(fold(view, QualityDone(record), 1.0))
    assert "of the whole model: embeddings and norms stay wider" in shown and "nf4 4.50" in shown


def test_a_peak_below_the_weights_says_why():
    run = example_run("nf4", "fp32", 20)
    load = replace(run.load, stored_bytes=116_400_000, running_bytes=113_100_000)
    low = replace(run, load=load, peak=Peak(resident=115_000_000))
    assert "Its peak is below what the weights take when stored: while they run they take 113 MB." in told(low)
    spread = replace(low, load=replace(load, running_bytes=116_400_000))
    assert "not all of them lay in this memory at one time" in told(spread)
    assert "peak is below" not in told(replace(low, peak=Peak(resident=120_000_000)))


def test_a_dot_before_the_first_difference_says_why():
    run = example_run("nf4", "fp32", 40)
    differ = tuple(replace(it, same_top=place not in (12, 23, 36)) for place, it in enumerate(run.differences))
    parted = replace(run, differences=differ, first_divergence=Divergence(36, (), ()))
    assert "At tokens 12 and 23 its likeliest token differs already when it reads" in told(parted)
    assert "differs already" not in told(parted, greedy=False)
    assert "differs already" not in told(replace(parted, first_divergence=Divergence(12, (), ())))


def test_an_interval_that_looks_sure_and_is_not_says_why():
    two = {"windows": 2, "spread": 0.2}
    record = quality(
        errors={}, runs={"nf4": {"fidelity": fidelity(0.05, **two)}, "nf4-dq": {"fidelity": fidelity(0.055, **two)}}
    )
    found = advice.advise(record, 0.1)
    said = next(pair.sentence for pair in found.pairs if {pair.closer, pair.farther} == {"nf4", "nf4-dq"})
    assert "cannot be told apart" in said and "of so few only a difference above 12.7 times its error counts" in said


def test_a_cache_that_is_reserved_says_why_it_is_larger():
    run = replace(example_run("nf4", "fp32", 20), kv_cache_bytes=1_500_000)
    kept = {RESERVED_DETAIL: "reserved at once, for a multiple of 256 tokens"}
    said = told(replace(run, load=replace(run.load, details=kept)))
    assert "Its KV cache of 1.50 MB is reserved at once, for a multiple of 256 tokens." in said
    assert "KV cache" not in told(run)


#: What stands on the page alone.
_OF_THE_PAGE = re.compile(
    r"\b((?:un)?tick(?:s|ed)?|under settings|tabs?|box(?:es)?|buttons?|press|click|slider|menu|dropdown|the rail)\b",
    re.I,
)
#: Rooms of the page from which errors go to programs too.
_FOR_PROGRAMS = ("api", "turns", "hosting", "form.py", "runner.py", "typed.py")
_ERRORS = {
    "BadInput",
    "ModelError",
    "Unavailable",
    "OutOfMemory",
    "Broken",
    "QuantlabError",
    "Full",
    "Problem",
    "Ended",
}


def errors_told() -> list[tuple[str, str]]:
    """File and words of every error that the command line or a program can be told."""
    found = []
    for file in ROOT.glob("quantlab/**/*.py"):
        parts = file.relative_to(ROOT / "quantlab").parts
        if parts[0] == "ui" and not set(parts) & set(_FOR_PROGRAMS):
            continue
        for call in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", getattr(call.func, "attr", "")) in _ERRORS:
                words = [
                    it.value for it in ast.walk(call) if isinstance(it, ast.Constant) and isinstance(it.value, str)
                ]
                found.append(("/".join(parts), " ".join(words)))
    return found


def test_an_error_that_a_program_or_a_terminal_can_be_told_says_nothing_of_the_page_s_controls():
    told = errors_told()
    assert len(told) > 400 and [it for it in told if _OF_THE_PAGE.search(it[1])] == []
