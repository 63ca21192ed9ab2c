"""Questions of recorded comparisons: which can be asked, how they are shuffled, and the bundled ones."""

import json
from collections import Counter
from dataclasses import replace
from statistics import mean

import pytest

from quantlab.errors import BadInput
from quantlab.export import to_json
from quantlab.records import Comparison
from quantlab.teach.quiz import making, questions
from quantlab.teach.quiz.questions import LETTERS, Question, bundled, candidates, question_of, read
from tests.examples import example_comparison


def compared(*precisions: str, **texts: str) -> Comparison:
    """A comparison of which each answer is its precision's name, unless `texts` says otherwise."""
    made = example_comparison(precisions, errors={}, stopped=None)
    named = {name.replace("_", "-"): text for name, text in texts.items()}
    return replace(made, runs=tuple(replace(run, text=named.get(run.precision, run.precision)) for run in made.runs))


def test_only_answers_that_differ_from_all_unquantized_ones_can_be_found():
    made = compared("fp32", "bf16", "int8", "nf4", "rtn-2", bf16="other", int8="fp32", nf4=" other ", rtn_2="noise")
    assert candidates(made) == ("rtn-2",)
    stopped = replace(made, runs=tuple(replace(run, stopped=True) for run in made.runs))
    assert candidates(stopped) == ()


@pytest.mark.parametrize(
    "made",
    [
        compared("fp32", "bf16"),
        compared("fp32", "nf4", "rtn-2"),
        compared("fp32", "nf4", nf4="fp32"),
        compared("fp32", "nf4", nf4=" "),
        compared("nf4"),
    ],
)
def test_what_is_no_question_is_refused(made):
    with pytest.raises(BadInput, match="no question"):
        question_of("it", made)


def test_each_visitor_has_an_order_that_stays_and_all_orders_come_up():
    question = question_of("it", compared("fp32", "bf16", "nf4"))
    assert question.order("visitor-1") == question.order("visitor-1")
    orders = Counter(question.order(f"visitor-{number}") for number in range(600))
    assert len(orders) == 6 and min(orders.values()) > 60
    other = replace(question, id="other")
    assert any(question.order(f"v{n}") != other.order(f"v{n}") for n in range(20)), (
        "the order tells nothing of the next"
    )


def test_a_letter_stands_for_an_answer_and_no_other_text_does():
    question = question_of("it", compared("fp32", "nf4"))
    assert {question.chosen(letter, "visitor-1") for letter in "AB"} == {"fp32", "nf4"}
    for letter in ("C", "", "AB", "a", "nf4", "A" * 10_000):
        with pytest.raises(BadInput, match="no such answer"):
            question.chosen(letter, "visitor-1")


def test_classes_know_a_question_by_its_precisions():
    found = question_of("it", compared("fp32", "nf4"))
    asked = questions.asked_in((found,))("quiz/it/which")
    assert asked.choices == ("fp32", "nf4") and (asked.truth, asked.precision, asked.place) == ("nf4", "nf4", 1)
    assert asked.title == f"1. {found.comparison.prompt} ({found.comparison.model.name})"
    assert questions.asked_in((found,))("quiz/other/which") is None


def test_the_bundled_questions_are_whole():
    found = bundled()
    assert 20 <= len(found) == len({(it.comparison.model.name, it.comparison.prompt) for it in found})
    asked = Counter(it.quantized for it in found)
    assert {"nf4", "rtn-3", "rtn-2", "q4_k_m", "q2_k"} <= set(asked) and {len(it.options) for it in found} == {2, 3}
    assert {it.comparison.model.name for it in found} == {"demo", "smollm2"}
    for it in found:
        assert it.id.endswith(it.quantized) and it.comparison.run(it.quantized).first_divergence
        assert it.comparison.machine.cpu and it.comparison.versions
    assert sum(file.stat().st_size for file in questions.FOLDER.iterdir()) < 500_000


def test_questions_come_in_the_same_mixed_order_for_everybody():
    found = bundled()
    assert found == read(questions.FOLDER)
    models = [it.comparison.model.name for it in found]
    assert models != sorted(models) and models != sorted(models, reverse=True)


def test_a_file_that_is_no_question_is_refused_by_name(tmp_path):
    (tmp_path / "bad.json").write_text(to_json(compared("fp32", "bf16")))
    with pytest.raises(BadInput, match="bad is no question"):
        read(tmp_path)


def test_making_gives_each_prompt_one_question_and_precisions_take_turns(tmp_path):
    able = ("fp32", "bf16", "int8", "nf4", "rtn-4", "rtn-3", "rtn-2")
    runs = compared(*able, bf16="fp32", int8="fp32").runs
    spare = tuple(replace(runs[-1], precision=name, text="fp32") for name in ("q4_k_m", "q2_k"))
    made = [replace(compared(*able), prompt=f"prompt {number}", runs=(*runs, *spare)) for number in range(9)]
    same = replace(made[0], prompt="alike", runs=tuple(replace(run, text="fp32") for run in made[0].runs))
    making.write(tmp_path, "demo", [*made, same])
    found = read(tmp_path)
    assert Counter(it.quantized for it in found) == {"nf4": 3, "rtn-4": 2, "rtn-3": 2, "rtn-2": 2}
    assert all(it.options == ("fp32", it.quantized) for it in found), "bf16 said what fp32 said"
    told = (tmp_path / "demo.md").read_text()
    assert "| `int8` | 10 of 10 |" in told and "| `nf4` | 1 of 10 |" in told and "Fake" not in told
    (one,) = {it.id for it in found if it.comparison.prompt == "prompt 0"}
    record, kept = made[0].run("nf4"), read(tmp_path)[[it.id for it in found].index(one)].comparison.run("nf4")
    assert replace(kept, differences=()) == replace(record, differences=())
    assert [it.kld for it in kept.differences] == pytest.approx([it.kld for it in record.differences], rel=1e-4)
    making.write(tmp_path, "demo", made[:1])
    assert [it.comparison.prompt for it in read(tmp_path)] == ["prompt 0"], "earlier questions of the model go"


def test_an_earlier_reveal_gives_no_later_answer_away():
    """Were two questions of one prompt, the reference's answer would be known from the first."""
    answers = Counter((it.comparison.model.name, it.comparison.run("fp32").text) for it in bundled())
    assert max(answers.values()) == 1


def test_what_is_written_is_read_by_the_export(tmp_path):
    file = next(questions.FOLDER.glob("demo-*.json"))
    assert json.loads(file.read_text())["schema"].startswith("quantlab") and isinstance(
        read(questions.FOLDER)[0], Question
    )
    assert len(LETTERS) >= max(len(it.options) for it in bundled())


def test_the_first_questions_cannot_be_told_by_a_ruined_answer():
    found = bundled()
    klds = [mean([it.kld for it in question.comparison.run(question.quantized).differences]) for question in found]
    at = next(place for place, kld in enumerate(klds) if kld >= 0.5)
    assert at >= 10 and all(kld < 0.5 for kld in klds[:at]) and all(kld >= 0.5 for kld in klds[at:])
    assert {it.quantized for it in found[at:]} >= {"rtn-2"} and found[0].quantized != "rtn-2"
