import random
import re
from itertools import islice

from quantlab.demo import corpus, world
from quantlab.demo.making.train import DOCUMENTS_PER_STEP, STEPS


def test_the_world_has_a_thousand_people_with_four_facts_each():
    people = world.world().people
    assert len(people) == len({p.name for p in people}) == 1_000
    assert sum(len(world.facts(p)) for p in people) == 4_000
    assert all(fact.value in fact.answer for p in people for fact in world.facts(p))


def test_documents_follow_from_their_seed():
    assert [corpus.document(s) for s in range(50)] == list(islice(corpus.documents(), 50))
    assert len({corpus.document(s) for s in range(200)}) > 190


def test_held_out_documents_are_none_of_the_training():
    """A step reads `DOCUMENTS_PER_STEP` seeds from its own first one; the last one's must stay below."""
    assert STEPS * DOCUMENTS_PER_STEP <= corpus.HELD_OUT_SEED
    assert corpus.held_out_documents(2)[1] == corpus.document(corpus.HELD_OUT_SEED + 1)


def test_no_training_document_holds_a_held_out_sum():
    sums = re.compile(r"(\d+) \+ (\d+) = (\d+)")
    found = [tuple(map(int, m)) for s in range(3_000) for m in sums.findall(corpus.document(s))]
    assert len(found) > 1_000
    assert all(a + b == c for a, b, c in found)
    assert not any((3 * a + 5 * b) % 16 == corpus.HELD_OUT_SUM for a, b, _ in found)
    rng = random.Random(0)
    assert all((3 * a + 5 * b) % 16 == corpus.HELD_OUT_SUM for a, b in (corpus.addends(rng, True) for _ in range(100)))


def test_habits_hold_with_their_probabilities():
    rng = random.Random(1)
    drawn = [world.habit(rng, ("often", "at times", "rarely")) for _ in range(5_000)]
    for outcome, share in zip(("often", "at times", "rarely"), world.HABIT, strict=True):
        assert abs(drawn.count(outcome) / 5_000 - share) < 0.03


def test_stories_agree_with_the_facts_of_their_hero():
    from quantlab.demo.stories import story

    for seed, hero in enumerate(world.world().people[:100]):
        text = story(random.Random(seed), hero)
        assert hero.first in text and "{" not in text
        assert hero.town in text
