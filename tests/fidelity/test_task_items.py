"""The bundled questions: made again they are the same, one ending is right, and none is there twice."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from quantlab.demo import words
from quantlab.demo.corpus import HELD_OUT_SEED, HELD_OUT_SUM
from quantlab.demo.stories import story
from quantlab.demo.world import facts, town_facts, world
from quantlab.errors import BadInput, Unavailable
from quantlab.fidelity import tasks
from quantlab.fidelity.tasks import generate_items, names
from quantlab.fidelity.tasks.bundled import FOLDER

ROOT = Path(__file__).resolve().parents[2]
#: Those with four endings; the newcomers of another test are asked for a whole answer.
NAMES = [task.name for task in tasks.task_names() if task.name != "demo_newcomers"]


def items(name: str) -> list[dict]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_made_again_the_items_are_the_same(name):
    random.seed(5)  # nothing hangs on the process's own random numbers
    assert generate_items.lines(name) == (FOLDER / f"{name}.jsonl").read_text("utf-8")


def test_there_are_enough_and_every_task_has_its_file():
    assert set(NAMES) == set(generate_items.ITEMS)
    assert {task.name for task in tasks.task_names()} == {path.stem for path in FOLDER.glob("*.yaml")}
    assert sum(len(items(name)) for name in NAMES) >= 500
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 250_000


@pytest.mark.parametrize("name", NAMES)
def test_every_item_has_four_endings_and_no_prompt_comes_twice(name):
    found = items(name)
    assert len({item["prompt"] for item in found}) == len(found)
    for item in found:
        assert len(set(item["endings"])) == 4 and 0 <= item["answer"] < 4
        assert all(ending.startswith(" ") and ending.endswith(".") for ending in item["endings"])
        assert re.fullmatch(r"<\|user\|>[^<]+<\|end\|><\|assistant\|>[^<]+[^< ]", item["prompt"])
    # The right one stands nowhere in particular.
    places = [item["answer"] for item in found]
    assert all(0.15 < places.count(place) / len(places) < 0.35 for place in range(4))


def test_endings_of_grammar_have_the_same_words_and_the_right_one_is_the_story_s():
    stories = {}
    for item in items("demo_grammar"):
        right = item["endings"][item["answer"]].split()
        begun = item["prompt"].rpartition("<|assistant|>")[2]
        for ending in item["endings"]:
            said = ending.split()
            assert sorted(said) == sorted(right)
            places = [at for at, (one, other) in enumerate(zip(said, right, strict=True)) if one != other]
            assert said == right or (len(places) == 2 and places[1] == places[0] + 1)
        stories[begun] = " ".join(right)
    told = [
        story(rng, rng.choice(world().people))
        for rng in map(random.Random, range(HELD_OUT_SEED + 120, HELD_OUT_SEED + 280))
    ]
    assert all(any(f"{begun} {ending}" in each for each in told) for begun, ending in stories.items())


def test_the_right_ending_of_a_fact_is_the_world_s_and_the_others_are_not():
    told = {fact.question: fact for person in world().people for fact in facts(person)}
    told |= {fact.question: fact for town in world().towns.values() for fact in town_facts(town)}
    for item in items("demo_facts"):
        question, begun = re.fullmatch(r"<\|user\|>(.+)<\|end\|><\|assistant\|>(.+)", item["prompt"]).groups()
        said = [begun + ending for ending in item["endings"]]
        assert [answer == told[question].answer for answer in said].index(True) == item["answer"]
        assert said.count(told[question].answer) == 1


def test_sums_are_right_and_were_never_shown():
    for item in items("demo_sums"):
        a, b = map(int, re.search(r"(\d+) \+ (\d+) =$", item["prompt"]).groups())
        assert (3 * a + 5 * b) % 16 == HELD_OUT_SUM
        values = [int(ending.strip(" .")) for ending in item["endings"]]
        assert values[item["answer"]] == a + b and min(values) >= 0


def test_a_story_settles_its_ending():
    """What is right was said before, or is a fact of a person in the story; and all plots come up."""
    people = {person.name: person for person in world().people}
    forms = []
    for item in items("demo_stories"):
        told = item["prompt"].partition("<|assistant|>")[2]
        right = item["endings"][item["answer"]]
        (form,) = [
            form for form in generate_items.SETTLED if re.search(form, told + right) and re.search(form, told) is None
        ]
        value = re.search(form, told + right)[1]
        forms.append(form)
        foods = {person.food for name, person in people.items() if name in item["prompt"]}
        assert value in foods if value in words.FOODS else re.search(rf"\b{value}\b", told)
    assert set(forms) == set(generate_items.SETTLED)


# Names


def test_bundled_tasks_have_a_sentence_each():
    assert all(task.about.endswith(".") and len(task.about) > 20 for task in tasks.task_names())


def test_known_names_pass_and_the_harness_s_own_too():
    tasks.check([])
    tasks.check(NAMES)
    tasks.check(["hellaswag", "mmlu", "gsm8k", "demo_sums", "ai2_arc", "arc_easy"])


def test_an_unknown_name_is_told_with_its_neighbours():
    with pytest.raises(BadInput, match="Did you mean demo_facts") as told:
        tasks.check(["demo_fact"])
    assert "'demo_fact'" in str(told.value) and len(str(told.value)) < 300
    with pytest.raises(BadInput, match="hellaswag"):
        tasks.check(["demo_sums", "helaswag"])
    with pytest.raises(BadInput, match="come with quantlab: demo_facts, demo_sums, demo_stories"):
        tasks.check(["zzzzqqqq"])
    with pytest.raises(BadInput, match="more than once: demo_facts"):
        tasks.check(["demo_facts", "demo_facts"])


def test_where_only_the_bundled_ones_are_allowed_no_other_is_known():
    tasks.check(NAMES, bundled_only=True)
    with pytest.raises(BadInput, match="Unknown task 'hellaswag'"):
        tasks.check(["hellaswag"], bundled_only=True)


def test_without_the_harness_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda _: None)
    for asked in (["demo_facts"], ["hellaswag"]):
        with pytest.raises(Unavailable, match=f"pip install {names.PACKAGE}"):
            tasks.check(asked)


def test_checking_imports_nothing_heavy():
    program = """
import sys
from quantlab.fidelity import tasks
tasks.check(["demo_facts", "hellaswag"])
print(*({"torch", "transformers", "datasets", "lm_eval"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


@pytest.mark.slow
def test_the_names_are_those_of_the_harness_s_own_index():
    from lm_eval.tasks import TaskManager

    known, every = names.harness_names(), set(TaskManager().all_tasks)
    assert every <= known and len(known - every) < 10


def test_the_version_is_the_one_that_is_asked_for():
    import importlib.metadata
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert names.PACKAGE in extras["eval"]
    assert importlib.metadata.version("lm-eval") in Requirement(names.PACKAGE).specifier
