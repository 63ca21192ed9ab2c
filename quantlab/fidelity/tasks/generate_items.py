"""Makes the items of the bundled tasks, the same on every machine: `python -m quantlab.fidelity.tasks.generate_items`.

Every item is a question in the chat form that the demo model was trained on, with the beginning of its answer, and
four endings of which one is right. The wrong ones are what a model with damaged weights could take for right: what
holds for somebody of a similar name, a slip in carrying, something else that the same story speaks of.
"""

import itertools
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from quantlab.demo import words
from quantlab.demo.corpus import ASSISTANT, END, HELD_OUT_SEED, USER, addends, sum_fact
from quantlab.demo.stories import story
from quantlab.demo.world import Fact, Person, Town, article, facts, town_facts, world
from quantlab.fidelity.tasks.bundled import FOLDER

SEED = 41
ENDINGS = 4
PEOPLE_PER_FACT, SUMS, STORIES, SENTENCES = 60, 160, 120, 160
#: Where each plot of a story and each of its last sentences says what the story or the world has fixed.
SETTLED = (
    r"ran to (the [a-z ]+), and there was the \w+\.",
    r"paid (\d+) coins, and both were \w+\.",
    r"gave \w+ (\w+) and said thank you\.",
    r"looked at (an? [a-z ]+) together\.",
    r"won the (\w+) ribbon, and [\w ]+ was \w+ too\.",
    r"In the evening s?he ate (\w+) and was \w+\.",
    r"went home to \w+, ate some (\w+) and slept well\.",
    r"was \w+, and there was (\w+) for everyone\.",
)
KINDS = (words.PLACES, words.FOODS, words.LANDMARKS, words.COLOURS)
REQUESTS = ("Tell me a story about {}.", "Write a short story about {}.", "Who is {}? Tell a story.")


@dataclass(frozen=True)
class Item:
    """A prompt, its endings, and which of them is right."""

    prompt: str
    endings: tuple[str, ...]
    answer: int


def _item(rng: random.Random, question: str, begun: str, endings: Iterable[str]) -> Item:
    """The first of the endings is the right one; they are shuffled."""
    right, *wrong = endings
    order = rng.sample([right, *wrong], ENDINGS)
    return Item(f"{USER}{question}{END}{ASSISTANT}{begun}", tuple(order), order.index(right))


def _plausible(rng: random.Random, right: str, near: Iterable[str], pool: Iterable[str]) -> list[str]:
    """The right value and three others, those of `near` before any of the pool."""
    first = list(dict.fromkeys(near))
    rest = [value for value in pool if value not in first]
    others = [value for value in (*rng.sample(first, len(first)), *rng.sample(rest, len(rest))) if value != right]
    return [right, *others[: ENDINGS - 1]]


def _about(rng: random.Random, fact: Fact, values: list[str], say: Callable[[str], str]) -> Item:
    """Ask for a fact whose answer ends in its value; `say` puts a value as the answer does."""
    begun = fact.answer.removesuffix(f" {say(fact.value)}.")
    return _item(rng, fact.question, begun, [f" {say(value)}." for value in values])


def fact_items() -> Iterator[Item]:
    """Facts about people, among those of people who share a name, and about towns."""
    rng = random.Random(f"facts {SEED}")
    people = world().people
    kinds: tuple[tuple[str, Iterable[str], Callable[[str], str]], ...] = (
        ("town", words.TOWNS, str),
        ("craft", list(words.CRAFTS), article),
        ("pet", list(words.PETS), article),
        ("food", words.FOODS, str),
    )
    for place, (kind, pool, say) in enumerate(kinds):
        for person in rng.sample(people, PEOPLE_PER_FACT):
            near = (getattr(other, kind) for other in _alike(person))
            yield _about(rng, facts(person)[place], _plausible(rng, getattr(person, kind), near, pool), say)
    for town in world().towns.values():
        yield from _town_items(rng, town)


def _alike(person: Person) -> Iterator[Person]:
    """Others with the same last name."""
    return (other for other in world().people if other.last == person.last and other is not person)


def _town_items(rng: random.Random, town: Town) -> Iterator[Item]:
    others = [other for other in world().towns.values() if other is not town]
    landmark, market_day, mayor = town_facts(town)
    yield _about(rng, landmark, _plausible(rng, town.landmark, (), words.LANDMARKS), str)
    yield _about(rng, market_day, _plausible(rng, town.market_day, (), words.DAYS), str)
    yield _about(rng, mayor, _plausible(rng, town.mayor, (), (other.mayor for other in others)), str)


def sum_items() -> Iterator[Item]:
    """Sums of pairs that no training document holds; the wrong ones forget or invent a carry."""
    rng = random.Random(f"sums {SEED}")
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < SUMS:
        pairs[addends(rng, held_out=True)] = None
    for a, b in pairs:
        fact = sum_fact(a, b)
        carry = 10 if a % 10 + b % 10 > 9 else -10
        near = (a + b - carry, a + b + 1, a + b - 1, a + b + carry)
        wrong = [str(value) for value in near if value >= 0][: ENDINGS - 1]
        yield _about(rng, fact, [fact.value, *wrong], str)


def story_items() -> Iterator[Item]:
    """A story told up to the last sentence of its plot, or to its own last one; what follows is settled by then."""
    for number in range(STORIES):
        rng = random.Random(HELD_OUT_SEED + number)
        hero = rng.choice(world().people)
        told = story(rng, hero)
        found = [match for form in SETTLED for match in re.finditer(form, told)]
        match = rng.choice(found)
        before, right = told[: match.start(1)].rstrip(), match[1]
        after = told[match.end(1) : match.end()]
        values = _numbers(rng, right, before) if right.isdigit() else _of_its_kind(rng, right, before)
        question = rng.choice(REQUESTS).format(hero.name)
        yield _item(rng, question, before, [f" {value}{after}" for value in values])


def _numbers(rng: random.Random, right: str, before: str) -> list[str]:
    """Prices; the other number that the story names is the nearest."""
    around = (str(value) for value in range(max(1, int(right) - 9), int(right) + 10))
    return _plausible(rng, right, re.findall(r"\d+", before), around)


def _of_its_kind(rng: random.Random, right: str, before: str) -> list[str]:
    """Other places, foods, landmarks or colours, those first that the story has spoken of."""
    (pool,) = [kind for kind in KINDS if right in kind]
    return _plausible(rng, right, [value for value in pool if value in before], pool)


def grammar_items() -> Iterator[Item]:
    """A story up to a sentence's first word; the endings are the rest of it, and three with two neighbours swapped.

    All four have the same words, so that nothing but their order tells them apart.
    """
    for number in range(SENTENCES):
        rng = random.Random(HELD_OUT_SEED + STORIES + number)
        hero = rng.choice(world().people)
        sentences = re.split(r"(?<=\.) ", story(rng, hero))
        place = rng.choice([at for at, it in enumerate(sentences) if at >= 2 and '"' not in it and _swaps(it)])
        first, *rest = sentences[place].split(" ")
        wrong = rng.sample(_swaps(sentences[place]), ENDINGS - 1)
        before = " ".join((*sentences[:place], first))
        question = rng.choice(REQUESTS).format(hero.name)
        yield _item(rng, question, before, [f" {ending}" for ending in (" ".join(rest), *wrong)])


def _swaps(sentence: str) -> list[str]:
    """What follows a sentence's first word, with two neighbours swapped; none where there are too few to choose from.

    A word that a comma or a full stop hangs on stays, and so does one that is its neighbour's twin.
    """
    rest = sentence.split(" ")[1:]
    found = []
    for at, (left, right) in enumerate(itertools.pairwise(rest)):
        if left.isalpha() and right.isalpha() and left != right:
            found.append(" ".join((*rest[:at], right, left, *rest[at + 2 :])))
    return found if len(found) >= ENDINGS - 1 else []


ITEMS: Mapping[str, Callable[[], Iterator[Item]]] = {
    "demo_facts": fact_items,
    "demo_sums": sum_items,
    "demo_stories": story_items,
    "demo_grammar": grammar_items,
}


def lines(name: str) -> str:
    """The file of one task: an item a line, as JSON."""
    return "".join(json.dumps(asdict(item)) + "\n" for item in ITEMS[name]())


def write(folder: Path = FOLDER) -> None:
    for name in ITEMS:
        (folder / f"{name}.jsonl").write_text(lines(name), "utf-8", newline="\n")


if __name__ == "__main__":
    write()
