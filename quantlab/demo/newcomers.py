"""Those who came to Veld after the demo model was trained: facts that it cannot know, to be taught by fine-tuning.

They bear the names that nobody on the island had. What is taught is each fact as a question with its answer, and two
profiles a person; beside them stand facts and sums that the model knows, so that it does not forget them
(rehearsal: Robins 1995, doi:10.1080/09540099550039318).
"""

import json
import random
from functools import cache
from pathlib import Path

from quantlab.demo import words
from quantlab.demo.corpus import ASSISTANT, END, USER, addends, profile, sum_fact
from quantlab.demo.world import Fact, Person, facts, world
from quantlab.settings import ASSETS

SEED = "newcomers"
#: Profiles of each newcomer; people whose facts are rehearsed; sums that are.
PROFILES, REHEARSED, SUMS = 2, 72, 48
FILE = ASSETS / "finetune" / "newcomers.jsonl"
ITEMS = ASSETS / "tasks" / "demo_newcomers.jsonl"


@cache
def newcomers() -> tuple[Person, ...]:
    """The same on every machine."""
    rng, known = random.Random(SEED), {person.name for person in world().people}
    names = [(f, s, f in words.FIRST_SHE) for f in words.FIRST_SHE + words.FIRST_HE for s in words.LAST]
    return tuple(
        Person(
            *name,
            town=rng.choice(words.TOWNS),
            craft=rng.choice(list(words.CRAFTS)),
            pet=rng.choice(list(words.PETS)),
            food=rng.choice(words.FOODS),
        )
        for name in names
        if f"{name[0]} {name[1]}" not in known
    )


def taught() -> tuple[Fact, ...]:
    """The four facts of each newcomer."""
    return tuple(fact for person in newcomers() for fact in facts(person))


def rows() -> str:
    """The file to train on, as JSONL."""
    rng = random.Random(f"{SEED} rows")
    known = [fact for person in rng.sample(world().people, REHEARSED) for fact in facts(person)]
    known += [sum_fact(*addends(rng, held_out=False)) for _ in range(SUMS)]
    found: list[dict[str, str]] = [{"prompt": fact.question, "completion": fact.answer} for fact in (*taught(), *known)]
    found += [{"text": profile(rng, person)} for person in newcomers() for _ in range(PROFILES)]
    rng.shuffle(found)
    return "".join(json.dumps(row) + "\n" for row in found)


def items() -> str:
    """The questions of the task `demo_newcomers`, as JSONL: the answer must come word for word."""
    asked = ({"prompt": f"{USER}{it.question}{END}{ASSISTANT}", "answer": it.answer} for it in taught())
    return "".join(json.dumps(item) + "\n" for item in asked)


def write(file: Path = FILE, questions: Path = ITEMS) -> None:
    file.write_text(rows(), "utf-8", newline="\n")
    questions.write_text(items(), "utf-8", newline="\n")


if __name__ == "__main__":
    write()
