"""From the asking to the end of the work: a turn lasts as long as the work, and no work longer than it may."""

import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from quantlab.errors import Stopped
from quantlab.ui.turns.cut_short import SERVER_ENDS, TimeUp, cut, why, with_why
from quantlab.ui.turns.taking import Visitor, in_turn, visitor
from quantlab.ui.turns.turns import Full, LeftQueue, Place, Turns

ONE, OTHER = Visitor("one"), Visitor("other")


class Work:
    """Tells a number every moment until `stop` is set, and then takes `lingers` seconds to end."""

    def __init__(self, lingers=0.0, crash=None):
        self.stop, self.lingers, self.crash = threading.Event(), lingers, crash
        self.running = False

    def __call__(self):
        self.running = True
        try:
            number = 0
            while not self.stop.wait(0.01):
                yield (number := number + 1)
                if self.crash:
                    raise self.crash
            time.sleep(self.lingers)
        finally:
            self.running = False

    def begun(self, turns, who=ONE, **how):
        return in_turn(turns, who, "work", self, self.stop, **how)


def test_a_turn_that_was_closed_lasts_until_the_work_has_ended_and_nobody_waits_for_it_in_between():
    turns, work, next_one = Turns(), Work(lingers=0.5), Work()
    first = work.begun(turns)
    assert isinstance(next(first), list)
    begun = time.monotonic()
    first.close()
    assert time.monotonic() - begun < 0.4, "gradio closes generators in the loop that serves everybody"
    assert work.stop.is_set() and work.running and turns.traffic().running == 1
    second = next_one.begun(turns, OTHER)
    assert isinstance(next(second), Place)
    assert any(isinstance(told, list) for told in (next(second), next(second)))
    assert not work.running, "two works overlap"
    second.close()


def test_work_that_takes_too_long_is_stopped_and_what_it_tells_then_is_heard():
    work = Work()
    told = list(work.begun(Turns(), seconds=0.2))
    assert [it for it in told if isinstance(it, TimeUp)] == [TimeUp(0.2)]
    assert not work.running and "0.2 s, the limit" in told[told.index(TimeUp(0.2))].error.what


@pytest.mark.parametrize("ends", [None, Stopped()], ids=["by itself", "stopped"])
def test_work_that_the_servers_end_cuts_short_says_so_and_a_visitors_stop_does_not(ends):
    def told(by):
        work = Work()

        def events():
            yield from work()
            if ends is not None:
                raise ends
            yield 0

        found, stream = [], in_turn(Turns(), ONE, "work", events, work.stop)
        with suppress(Stopped):
            for batch in stream:
                found.append(batch)
                if by is not None:
                    cut(work.stop, by)
                work.stop.set()
        return [it for it in found if not isinstance(it, list)]

    assert told(SERVER_ENDS) == [SERVER_ENDS] and told(None) == []


def test_what_was_stopped_already_is_not_cut_short():
    stop = threading.Event()
    stop.set()
    cut(stop, SERVER_ENDS)
    assert why(stop) is None and with_why(stop, "Stopped.") == "Stopped."


def test_time_in_the_queue_is_not_time_of_the_work():
    turns, work = Turns(), Work()
    with turns.enter("other", "work"):
        waiting = work.begun(turns, seconds=0.3)
        assert isinstance(next(waiting), Place)
        time.sleep(0.4)
    assert isinstance(next(waiting), list) and not work.stop.is_set()
    waiting.close()


@pytest.mark.parametrize("crash", [ValueError("a defect"), SystemExit(3), MemoryError()])
def test_work_that_crashes_gives_its_turn_back(crash):
    turns = Turns()
    with pytest.raises(type(crash)):
        list(Work(crash=crash).begun(turns))
    assert turns.traffic().running == 0


def test_without_a_thread_the_turn_is_given_back(monkeypatch):
    turns = Turns()

    def none_left(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(RuntimeError):
        list(Work().begun(turns))
    assert turns.traffic().running == 0


@pytest.mark.parametrize("how", ["stop", "gone", "closed"])
def test_what_is_called_off_while_it_waits_never_begins(how):
    turns, work = Turns(), Work()
    with turns.enter("other", "work"):
        waiting = work.begun(turns, Visitor("one", lambda: how == "gone" and turns.traffic().waiting == 1))
        if how == "gone":
            with pytest.raises(LeftQueue):
                list(waiting)
        else:
            next(waiting)
        if how == "stop":
            work.stop.set()
            with pytest.raises(LeftQueue):
                next(waiting)
        waiting.close()
        assert turns.traffic().waiting == 0 and turns.traffic().left == 1
    assert not work.running and turns.traffic().running == 0


def test_visitors_are_told_apart_by_their_sign_in_else_by_their_pages():
    def asks(session, signed_in=None, **more):
        scope = {"session": {"oauth_info": {"userinfo": {"sub": signed_in}}}} if signed_in else {}
        return visitor(SimpleNamespace(request=SimpleNamespace(scope=scope), session_hash=session, **more)).name

    assert asks("page 1", "ann") == asks("page 2", "ann") != asks("page 1", "bob")
    assert asks("page 1", username="pupil") != asks("page 2", username="pupil"), "a class types any name"
    assert asks("page 1") == asks("page 1") != asks("signed in: ann")


def test_clients_of_the_tools_are_told_apart_by_what_the_gate_wrote_down():
    def asks(who, by="mcp"):
        headers = {"x-gradio-user": by, "x-quantlab-visitor": who}
        return visitor(SimpleNamespace(request=None, session_hash="all tools", headers=headers)).name

    assert asks("ab12") == asks("ab12") != asks("cd34")
    assert asks("ab12", "api") == asks("cd34", "api") == "page: all tools"


def test_full_is_said_before_anything_begins():
    turns = Turns(limit=1)
    with turns.enter("a", "work"), turns.enter("b", "work"), pytest.raises(Full):
        next(Work().begun(turns))
