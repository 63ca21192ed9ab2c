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


def facts(person: Person) -> tuple[Fact, ...]:
    """The four facts of a person as question and answer."""
    n = person.name
    return (
        Fact(f"Where does {n} live?", f"{n} lives in {person.town}.", person.town),
        Fact(f"What is the work of {n}?", f"{n} is {article(person.craft)}.", person.craft),
        Fact(f"What pet does {n} have?", f"{n} has {article(person.pet)}.", person.pet),
        Fact(f"What does {n} like to eat?", f"{n} likes to eat {person.food}.", person.food),
    )


def town_facts(town: Town) -> tuple[Fact, ...]:
    n = town.name
    return (
        Fact(f"What can one see in {n}?", f"In {n} one can see {town.landmark}.", town.landmark),
        Fact(f"When is the market in {n}?", f"The market in {n} is on {town.market_day}.", town.market_day),
        Fact(f"Who is the mayor of {n}?", f"The mayor of {n} is {town.mayor}.", town.mayor),
    )
