"""Fair turns: who is next, what whoever waits is told, and that nobody's place outlives him."""

import threading
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlab.errors import Stopped, Unavailable
from quantlab.ui.turns.turns import TOLD_S, TOLD_TOGETHER, Full, LeftQueue, Place, Turns, rounded, words


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def called(turns):
    return [turn for turn in turns if turn.called.is_set()]


def served(turns, entered):
    """The order in which those who entered are called, each leaving when the next is to come."""
    order, left = [], list(entered)
    while left:
        [now] = called(left)
        order.append(now)
        left.remove(now)
        now.leave()
    return order


def test_one_runs_and_the_next_is_called_when_it_leaves():
    turns = Turns()
    first, second = turns.enter("a", "compare"), turns.enter("b", "compare")
    assert first.called.is_set() and not second.called.is_set()
    assert first.place() is None and second.place() == Place(1, 1)
    first.leave()
    assert second.called.is_set() and second.place() is None
    first.leave()
    assert turns.traffic().running == 1, "leaving twice is leaving once"


def test_whoever_asks_for_many_does_not_keep_others_from_their_first():
    turns = Turns(each=5)
    greedy = [turns.enter("greedy", "compare") for _ in range(5)]
    others = [turns.enter(name, "compare") for name in ("b", "c")]
    assert [turn.visitor for turn in served(turns, greedy + others)] == ["greedy", "b", "c", *["greedy"] * 4]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=24))
def test_places_are_the_order_in_which_they_are_called(visitors):
    turns = Turns(limit=24, each=24)
    entered = [turns.enter(visitor, "compare") for visitor in visitors]
    told = sorted((turn for turn in entered if turn.place()), key=lambda turn: turn.place().number)
    assert [turn.place().number for turn in told] == list(range(1, len(entered)))
    assert served(turns, entered)[1:] == told


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=24))
def test_between_two_turns_of_one_visitor_everybody_who_waited_has_had_one(visitors):
    turns = Turns(limit=24, each=24)
    waiting = [turns.enter(visitor, "compare") for visitor in visitors]
    while waiting:
        [now] = called(waiting)
        waiting.remove(now)
        others = {turn.visitor for turn in waiting} - {now.visitor}
        now.leave()
        if again := [turn for turn in waiting if turn.called.is_set() and turn.visitor == now.visitor]:
            assert not others, f"{again[0].visitor} is called twice while {others} wait"


def test_full_is_said_at_once_and_to_whom():
    turns = Turns(limit=3, each=2)
    turns.enter("a", "compare")
    waiting = [turns.enter("a", "compare"), turns.enter("a", "compare")]
    with pytest.raises(Full, match="2 runs of yours wait already"):
        turns.enter("a", "compare")
    turns.enter("b", "compare")
    with pytest.raises(Full, match="3 runs wait here already"):
        turns.enter("c", "compare")
    waiting[0].leave()
    turns.enter("c", "compare")
    traffic = turns.traffic()
    assert (traffic.running, traffic.waiting, traffic.served, traffic.refused, traffic.left) == (1, 3, 1, 2, 1)


def test_the_expected_wait_follows_what_was_measured():
    clock = Clock()
    turns = Turns(clock=clock)
    for kind, seconds in (("compare", 10), ("compare", 20), ("quality", 100)):
        with turns.enter("a", kind):
            clock.now += seconds
    running = turns.enter("a", "compare")
    long, short = turns.enter("b", "quality"), turns.enter("c", "compare")
    assert long.place() == Place(1, 2, 15), "the mean of 10 and 20"
    assert short.place() == Place(2, 2, 120), "that, and a quality run"
    clock.now += 12  # of those measured, 20 alone took so long: 8 are left
    assert long.place().seconds == 8
    clock.now += 60  # longer than any before
    assert long.place() == Place(1, 2, None) and short.place() == Place(2, 2, None), "nobody knows"
    turns.limit = 2
    with pytest.raises(Full, match="Try again in a minute"):
        turns.enter("d", "compare")
    running.leave()
    assert long.called.is_set() and short.place() == Place(1, 1, 100)


def test_what_was_stopped_tells_nothing_of_how_long_such_work_takes():
    clock = Clock()
    turns = Turns(clock=clock)
    for seconds, whole in ((60, True), (1, False)):
        turn = turns.enter("a", "finetune")
        clock.now += seconds
        turn.leave(whole)
    with pytest.raises(Stopped), turns.enter("a", "finetune"):
        raise Stopped
    turns.enter("a", "finetune")
    assert turns.enter("b", "finetune").place().seconds == 60


def test_waits_and_refusals_are_told():
    clock, waits, refusals = Clock(), [], []
    turns = Turns(limit=1, waited=waits.append, refused=lambda: refusals.append(1), clock=clock)
    first, _second = turns.enter("a", "compare"), turns.enter("b", "compare")
    with pytest.raises(Full):
        turns.enter("c", "compare")
    clock.now += 7
    first.leave()
    assert waits == [0, 7] and refusals == [1]


def test_a_kind_that_was_never_measured_is_expected_like_the_others_and_nothing_is_made_up():
    clock = Clock()
    turns = Turns(clock=clock)
    turns.enter("a", "compare")
    assert turns.enter("b", "compare").place() == Place(1, 1, None)
    other = Turns(clock=clock)
    with other.enter("a", "compare"):
        clock.now += 30
    other.enter("a", "claims")
    other.enter("b", "claims")
    assert other.enter("c", "claims").place() == Place(2, 2, 60)


def test_several_at_once_share_the_waiting():
    clock = Clock()
    turns = Turns(at_once=2, clock=clock)
    with turns.enter("a", "compare"):
        clock.now += 10
    running = [turns.enter(name, "compare") for name in "ab"]
    waiting = [turns.enter(name, "compare") for name in "cde"]
    assert called(running) == running
    assert [turn.place().seconds for turn in waiting] == [10, 10, 20]


def test_whoever_waits_is_told_and_then_called():
    turns = Turns()
    first, second = turns.enter("a", "compare"), turns.enter("b", "compare")
    places = second.places(threading.Event())
    assert next(places) == Place(1, 1)
    first.leave()
    assert list(places) == [] and second.called.is_set()


@pytest.mark.parametrize("others", [12, 64])
def test_the_more_wait_the_more_seldom_each_is_told(monkeypatch, others):
    clock = Clock()
    monkeypatch.setattr("quantlab.ui.turns.turns.time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr("quantlab.ui.turns.turns.POLL_S", 0)
    turns = Turns(limit=99, clock=clock)
    with turns.enter("running", "compare"):
        before = [turns.enter(f"other {number}", "compare") for number in range(others)]
        last = turns.enter("last", "compare")

        def one_leaves():
            clock.now += 0.25  # it looks four times a second
            before.pop().leave()
            return not before

        told = []
        with pytest.raises(LeftQueue):
            for place in last.places(threading.Event(), one_leaves):
                told.append((clock.now, place.waiting))
    gaps = [(after - before, waiting) for (before, _), (after, waiting) in pairwise(told)]
    assert gaps and all(gap >= max(TOLD_S, waiting / TOLD_TOGETHER) for gap, waiting in gaps)


@pytest.mark.parametrize("how", ["stop", "gone", "closed"])
def test_whoever_stops_or_leaves_frees_the_place(how):
    turns, stop = Turns(), threading.Event()
    with turns.enter("a", "compare"):
        second, third = turns.enter("b", "compare"), turns.enter("c", "compare")
        assert third.place().number == 2
        with second:
            places = second.places(stop, lambda: how == "gone")
            if how != "gone":
                next(places)
            if how == "closed":
                places.close()
            else:
                stop.set()
                with pytest.raises(LeftQueue):
                    next(places)
        assert third.place() == Place(1, 1) and turns.traffic().left == 1
    assert third.called.is_set() and not second.called.is_set()


def test_many_threads_have_one_turn_each_and_never_two_at_once():
    turns, inside, most = Turns(limit=64, each=64), [], []

    def visit(number):
        with turns.enter(f"visitor {number % 5}", "compare") as turn:
            list(turn.places(threading.Event()))
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1] * 40 and turns.traffic().served == 40 and turns.traffic().waiting == 0


def test_times_are_said_as_people_say_them():
    assert [rounded(it) for it in (0.2, 3.4, 12.4, 43, 94, 250)] == [0, 3, 10, 45, 90, 240]
    assert words(Place(1, 1)) == "Yours is next."
    assert words(Place(1, 4, 0)) == "Yours is next, any moment."
    assert words(Place(3, 7, 40)) == "Place 3 of 7, about 40 s."
    assert words(Place(60, 60, 240)) == "Place 60 of 60, about 4 min."


def test_where_nothing_more_begins_those_who_come_and_those_who_wait_are_told():
    ending = threading.Event()

    def may() -> None:
        if ending.is_set():
            raise Unavailable("This server is about to end.")

    turns = Turns(may=may)
    with turns.enter("first", "run"):
        waits = turns.enter("second", "run")
        places = waits.places(threading.Event())
        assert next(places).number == 1
        ending.set()
        with pytest.raises(Unavailable, match="about to end"):
            next(places)
        with pytest.raises(Unavailable, match="about to end"):
            turns.enter("third", "run")
        assert turns.traffic().waiting == 0 and turns.traffic().running == 1
