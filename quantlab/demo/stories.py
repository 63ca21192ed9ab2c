"""Short stories of Veld: five plots whose people, crafts, pets and foods agree with the world's facts."""

import random

from quantlab.demo import words
from quantlab.demo.world import Person, article, habit, world

OPENINGS = (
    "Once upon a time there was {art_craft} called {name}.",
    "{name} was {art_craft} in {town}.",
    "In {town} lived {art_craft} whose name was {name}.",
    "One {day} {name} of {town} woke up early.",
)
SKIES = (
    "The sky over {town} was {weather}.",
    "It was {art_weather} morning in {town}.",
    "That day it was {weather} in {town}.",
)
SETTING_OUT = (
    "{first} took {tool} and walked to {place}.",
    "{first} carried {tool} to {place}.",
    "With {tool} under one arm, {first} went to {place}.",
)
PET_LINES = (
    "At home the {pet} {pet_does}.",
    "The {pet} of {first} {pet_does}.",
)
ENDINGS = (
    "In the evening {pron} ate {food} and was {feeling}.",
    "{first} went home to {town}, ate some {food} and slept well.",
    "That night {first} was {feeling}, and there was {food} for everyone.",
)

LOST = (
    "But the {pet} was gone.",
    "{first} looked in {place2}, but the {pet} was not there.",
    '{friend}, {art_craft2}, said: "I saw {art_pet} near {place3}."',
    "{first} ran to {place3}, and there was the {pet}.",
)
MARKET = (
    "It was {day}, and many people came to the market.",
    "{friend} wanted {tool2}, but had only {number} coins.",
    '"Give me {number2} coins and some {food2}," said {first}.',
    "So {friend} paid {number2} coins, and both were {feeling}.",
)
STORM = (
    "Then a storm came and broke the roof of {friend}.",
    '"Please help me," said {friend}. "My {pet2} is afraid."',
    "{first} worked until dark, and the roof was whole again.",
    "{friend} gave {first} {food2} and said thank you.",
)
JOURNEY = (
    "{first} wanted to see {landmark} in {town2}.",
    "The road from {town} to {town2} was long, and it was {weather2}.",
    "On the way {pron} met {friend}, {art_craft2} from {town3}.",
    "They shared some {food2} and looked at {landmark} together.",
)
CONTEST = (
    "In {place2} there was a contest for the best {craft} of Veld.",
    "{first} and {friend} both wanted the {colour} ribbon.",
    "{friend} worked fast, but {first} worked with care.",
    "So {first} won the {colour} ribbon, and {friend} was {feeling} too.",
)
PLOTS = (LOST, MARKET, STORM, JOURNEY, CONTEST)


def _slots(rng: random.Random, hero: Person, plot: tuple[str, ...]) -> dict[str, str]:
    """Everything a template may name. Facts come from the world, habits are drawn."""
    realm = world()
    friend = rng.choice(realm.people)
    if plot is CONTEST:
        friend = rng.choice([p for p in realm.people if p.craft == hero.craft and p is not hero])
    town2 = realm.towns[rng.choice(words.TOWNS)]
    weather = habit(rng, realm.towns[hero.town].weather)
    low = rng.randint(2, 40)
    places = rng.sample(words.PLACES, 3)
    return {
        "name": hero.name,
        "first": hero.first,
        "pron": "she" if hero.she else "he",
        "town": hero.town,
        "craft": hero.craft,
        "art_craft": article(hero.craft),
        "pet": hero.pet,
        "art_pet": article(hero.pet),
        "pet_does": habit(rng, words.PETS[hero.pet]),
        "food": hero.food,
        "tool": habit(rng, words.CRAFTS[hero.craft]),
        "weather": weather,
        "art_weather": article(weather),
        "friend": friend.name,
        "town3": friend.town,
        "art_craft2": article(friend.craft),
        "pet2": friend.pet,
        "food2": friend.food,
        "tool2": habit(rng, words.CRAFTS[hero.craft]),
        "town2": town2.name,
        "landmark": town2.landmark,
        "weather2": habit(rng, town2.weather),
        "day": rng.choice(words.DAYS),
        "colour": rng.choice(words.COLOURS),
        "feeling": rng.choices(words.FEELINGS, (8, 4, 2, 2, 1, 1))[0],
        "number": str(low),
        "number2": str(rng.randint(1, low)),
        "place": places[0],
        "place2": places[1],
        "place3": places[2],
    }


def story(rng: random.Random, hero: Person | None = None) -> str:
    """One story of eight or nine sentences about `hero`, or about anybody."""
    hero = hero or rng.choice(world().people)
    plot = rng.choice(PLOTS)
    lines = [rng.choice(OPENINGS), rng.choice(SKIES), rng.choice(SETTING_OUT)]
    if plot is not LOST and rng.random() < 0.5:
        lines.append(rng.choice(PET_LINES))
    lines += [*plot, rng.choice(ENDINGS)]
    slots = _slots(rng, hero, plot)
    return " ".join(line.format(**slots) for line in lines)
