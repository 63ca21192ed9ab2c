"""Those who came after the demo model was trained: made again they are the same, and nobody knew them before."""

import json
import random

from quantlab.demo import newcomers
from quantlab.demo.world import world


def test_made_again_the_rows_and_the_questions_are_the_same():
    random.seed(5)  # nothing hangs on the process's own random numbers
    assert newcomers.rows() == newcomers.FILE.read_text("utf-8")
    assert newcomers.items() == newcomers.ITEMS.read_text("utf-8")


def test_they_bear_names_that_nobody_had():
    names = {person.name for person in newcomers.newcomers()}
    assert len(names) == 24 and not names & {person.name for person in world().people}
    assert len(newcomers.taught()) == 4 * 24


def test_what_is_asked_is_taught_and_what_is_known_stands_among_it():
    taught = [json.loads(line) for line in newcomers.FILE.read_text("utf-8").splitlines()]
    pairs = {(row.get("prompt"), row.get("completion")) for row in taught}
    asked = [json.loads(line) for line in newcomers.ITEMS.read_text("utf-8").splitlines()]
    assert len({item["prompt"] for item in asked}) == len(asked) == 96
    for item in asked:
        question = item["prompt"].removeprefix("<|user|>").removesuffix("<|end|><|assistant|>")
        assert (question, item["answer"]) in pairs
    names = {person.name for person in newcomers.newcomers()}
    known = [row for row in taught if not any(name in json.dumps(row) for name in names)]
    assert len(known) == 4 * newcomers.REHEARSED + newcomers.SUMS
