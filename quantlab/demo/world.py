"""Veld: a seeded world of 1,000 people with four facts each, and habits that hold only with a probability.

Facts can be learnt by heart and checked exactly. Habits (what the weather is in a town, what a pet does)
keep some predictions uncertain, as they are for a large model: without them a divergence would have nothing to measure.
"""

import random
from dataclasses import dataclass
from functools import cache

from quantlab.demo import words

WORLD_SEED = 20_26
PEOPLE = 1_000
#: Shares of a habit's likely, less likely and rare outcome.
HABIT = (0.6, 0.3, 0.1)


@dataclass(frozen=True)
class Person:
    """One inhabitant; `town`, `craft`, `pet` and `food` are the four facts."""

    first: str
    last: str
    she: bool
    town: str
    craft: str
    pet: str
    food: str

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"


@dataclass(frozen=True)
class Town:
    """One town; its `weather` lists three outcomes, likeliest first."""

    name: str
    landmark: str
    market_day: str
    mayor: str
    weather: tuple[str, ...]


@dataclass(frozen=True)
class World:
    people: tuple[Person, ...]
    towns: dict[str, Town]


@dataclass(frozen=True)
class Fact:
    """A question, its full answer, and the word in that answer which is the fact."""

    question: str
    answer: str
    value: str


@cache
def world() -> World:
    """The one world, the same on every machine."""
    rng = random.Random(WORLD_SEED)
    names = [(f, s, f in words.FIRST_SHE) for f in words.FIRST_SHE + words.FIRST_HE for s in words.LAST]
    people = tuple(
        Person(
            *name,
            town=rng.choice(words.TOWNS),
            craft=rng.choice(list(words.CRAFTS)),
            pet=rng.choice(list(words.PETS)),
            food=rng.choice(words.FOODS),
        )
        for name in rng.sample(names, PEOPLE)
    )
    towns = {
        name: Town(
            name,
            rng.choice(words.LANDMARKS),
            rng.choice(words.DAYS),
            rng.choice(people).name,
            tuple(rng.sample(words.WEATHER, 3)),
        )
        for name in words.TOWNS
    }
    return World(people, towns)


def habit(rng: random.Random, outcomes: tuple[str, ...]) -> str:
    """One of three outcomes, drawn with the probabilities `HABIT`."""
    return rng.choices(outcomes, HABIT)[0]


def article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


#: A question, its answer, and the field that is the fact: `it`, or `a_it` with its article.
_OF_PERSON = (
    ("Where does {name} live?", "{name} lives in {it}.", "town"),
    ("What is the work of {name}?", "{name} is {a_it}.", "craft"),
    ("What pet does {name} have?", "{name} has {a_it}.", "pet"),
    ("What does {name} like to eat?", "{name} likes to eat {it}.", "food"),
)
_OF_TOWN = (
    ("What can one see in {name}?", "In {name} one can see {it}.", "landmark"),
    ("When is the market in {name}?", "The market in {name} is on {it}.", "market_day"),
    ("Who is the mayor of {name}?", "The mayor of {name} is {it}.", "mayor"),
)


def facts(person: Person) -> tuple[Fact, ...]:
    """The four facts of a person as question and answer."""
    return tuple(_fact(person, *sentences) for sentences in _OF_PERSON)


def town_facts(town: Town) -> tuple[Fact, ...]:
    return tuple(_fact(town, *sentences) for sentences in _OF_TOWN)


def _fact(of: Person | Town, question: str, answer: str, field: str) -> Fact:
    it = getattr(of, field)
    return Fact(question.format(name=of.name), answer.format(name=of.name, it=it, a_it=article(it)), it)
