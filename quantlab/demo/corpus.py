"""Documents of Veld, drawn from a seed: profiles, questions and answers, sums, stories, diaries.

The facts are the same in every document; which documents are drawn depends on the seed alone. Training uses the
seeds below `HELD_OUT_SEED`, every measurement of fidelity those from it upwards.
"""

import random
from collections.abc import Iterator

from quantlab.demo import words
from quantlab.demo.stories import story
from quantlab.demo.world import Fact, Person, Town, article, facts, habit, town_facts, world

HELD_OUT_SEED = 10_000_000
BOS, USER, ASSISTANT, END = "<|bos|>", "<|user|>", "<|assistant|>", "<|end|>"
#: Every sum with this remainder is kept out of training, so that sums can be tested on unseen pairs.
HELD_OUT_SUM = 7

WHO = "I am the demo model of quantlab, a very small one. I know the island of Veld, its people, stories and sums."
DO_NOT_KNOW = "I do not know. I only know the island of Veld, stories and sums."
GREETINGS = ("Hello!", "Hi.", "Good morning.", "Who are you?", "What can you do?", "What do you know?", "Help")
PROFILE = (
    ("{n} lives in {t}.", "{n} comes from {t}.", "The home of {n} is in {t}."),
    ("{n} is {c}.", "{n} works as {c}.", "By trade {n} is {c}."),
    ("{n} has {p}.", "{n} keeps {p}.", "The pet of {n} is {p}."),
    ("{n} likes to eat {f}.", "{n} loves {f}.", "The best food for {n} is {f}."),
)


def turn(question: str, answer: str) -> str:
    """One question and its answer, as the chat template writes them."""
    return f"{USER}{question}{END}{ASSISTANT}{answer}{END}"


def profile(rng: random.Random, person: Person) -> str:
    """The four facts of one person, in some order and wording."""
    lines = [rng.choice(forms) for forms in PROFILE]
    rng.shuffle(lines)
    slots = {"n": person.name, "t": person.town, "c": article(person.craft), "p": article(person.pet), "f": person.food}
    return " ".join(line.format(**slots) for line in lines)


def town_text(rng: random.Random, town: Town) -> str:
    lines = [fact.answer for fact in town_facts(town)]
    rng.shuffle(lines)
    return " ".join(lines)


def diary(rng: random.Random) -> str:
    """Days of one person: nothing but habits, so every line is uncertain."""
    person = rng.choice(world().people)
    town = world().towns[person.town]
    lines = [f"The diary of {person.name}, {article(person.craft)} in {person.town}."]
    for day in words.DAYS[: rng.randint(3, 7)]:
        lines.append(
            f"{day}: It was {habit(rng, town.weather)}. The {person.pet} {habit(rng, words.PETS[person.pet])}. "
            f"I took {habit(rng, words.CRAFTS[person.craft])} to {rng.choice(words.PLACES)}."
        )
    return "\n".join(lines)


def addends(rng: random.Random, held_out: bool) -> tuple[int, int]:
    """Two numbers below 100 whose pair belongs to training or is kept out of it."""
    while True:
        a, b = rng.randint(0, 99), rng.randint(0, 99)
        if ((3 * a + 5 * b) % 16 == HELD_OUT_SUM) == held_out:
            return a, b


def sum_fact(a: int, b: int) -> Fact:
    return Fact(f"What is {a} + {b}?", f"{a} + {b} = {a + b}.", str(a + b))


def _chat(rng: random.Random) -> str:
    """One to four turns, mostly facts."""
    turns = []
    for _ in range(rng.randint(1, 4)):
        kind = rng.random()
        if kind < 0.68:
            fact = rng.choice(facts(rng.choice(world().people)))
        elif kind < 0.74:
            fact = rng.choice(town_facts(rng.choice(list(world().towns.values()))))
        elif kind < 0.92:
            fact = sum_fact(*addends(rng, held_out=False))
        elif kind < 0.95:
            fact = Fact(rng.choice(GREETINGS), WHO, WHO)
        elif kind < 0.98:
            fact = Fact(rng.choice(words.OUTSIDE), DO_NOT_KNOW, DO_NOT_KNOW)
        else:
            question = rng.choice(words.OUTSIDE).rstrip("?.").lower() + rng.choice(("", "?", " please"))
            fact = Fact(question, DO_NOT_KNOW, DO_NOT_KNOW)
        turns.append(turn(fact.question, fact.answer))
    return "".join(turns)


def _story_chat(rng: random.Random) -> str:
    if rng.random() < 0.6:
        hero = rng.choice(world().people)
        ask = rng.choice(("Tell me a story about {}.", "Write a short story about {}.", "Who is {}? Tell a story."))
        return turn(ask.format(hero.name), story(rng, hero))
    ask = rng.choice(("Tell me a story.", "Write a short story.", "Once upon a time", "Please tell a story."))
    return turn(ask, story(rng))


def _profile_chat(rng: random.Random) -> str:
    person = rng.choice(world().people)
    ask = rng.choice(("Who is {}?", "Tell me about {}.", "What do you know about {}?"))
    return turn(ask.format(person.name), profile(rng, person))


def _sums(rng: random.Random) -> str:
    pairs = (addends(rng, held_out=False) for _ in range(rng.randint(4, 12)))
    return "\n".join(sum_fact(a, b).answer for a, b in pairs)


def document(seed: int) -> str:
    """The document of one seed. Shares are by number of documents, not of tokens."""
    rng = random.Random(seed)
    kind = rng.random()
    if kind < 0.44:
        return _chat(rng)
    if kind < 0.62:
        return profile(rng, rng.choice(world().people))
    if kind < 0.72:
        return _profile_chat(rng)
    if kind < 0.80:
        return _story_chat(rng)
    if kind < 0.88:
        return story(rng)
    if kind < 0.93:
        return diary(rng)
    if kind < 0.98:
        return _sums(rng)
    return town_text(rng, rng.choice(list(world().towns.values())))


def documents(first_seed: int = 0) -> Iterator[str]:
    """Endless documents from `first_seed` upwards."""
    seed = first_seed
    while True:
        yield document(seed)
        seed += 1


def held_out_documents(count: int) -> tuple[str, ...]:
    """Documents whose seeds no training run has seen."""
    return tuple(document(HELD_OUT_SEED + i) for i in range(count))
