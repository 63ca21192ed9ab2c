"""A page that many programs ask at once: nobody is lost or waits unknowing, and whoever hangs up frees his place."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from gradio_client import Client

from quantlab.ui.compare.form import FIELDS, Choice
from quantlab.ui.turns.turns import Turns
from tests.fakes import Script
from tests.ui.pages import served

GOOD = Choice(precisions=("fp32", "nf4"), prompt="Who is Mira?")
#: Long enough that others come meanwhile.
SLOW = {"load_s": 0.05, "gap_s": 0.05}


def arguments(**changes):
    values = {**GOOD.__dict__, **changes}
    return [list(v) if isinstance(v, tuple) else v for v in (values[name] for name in FIELDS)]


def client(address) -> Client:
    return Client(address, verbose=False, download_files=False)


def submit(asking: Client, **changes):
    return asking.submit(*arguments(**changes), api_name="/compare")


def until(true, what, seconds=10.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture
def turns() -> Turns:
    return Turns(limit=40, each=2)


def test_of_many_at_once_each_has_an_answer(turns):
    script = Script(0, 0.002)
    with served(script, {"turns": turns}, public=True, queue_size=40) as address:
        visitors = [client(address) for _ in range(12)]
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda one: str(submit(one).result(60)), visitors))
        assert all("Mira Toll" in each and "col-done" in each for each in found)
        assert turns.traffic().served == 12 == len(script.stops) and turns.traffic().waiting == 0


def test_full_is_told_at_once_to_a_program_and_the_others_have_their_answers(turns):
    turns.limit = 1
    with served(Script(**SLOW), {"turns": turns}, public=True) as address:
        first, second, third = (client(address) for _ in range(3))
        running = submit(first)
        until(lambda: turns.traffic().running == 1, "the first does not run")
        waiting = submit(second)
        until(lambda: turns.traffic().waiting == 1, "the second does not wait")
        begun = time.monotonic()
        refused = str(submit(third).result(10))
        assert "1 run waits here already, and no more are taken now." in refused and "Mira Toll" not in refused
        assert time.monotonic() - begun < 5 and not running.done()
        assert "Mira Toll" in str(running.result(60)) and "Mira Toll" in str(waiting.result(60))


def test_one_program_that_asks_for_many_keeps_nobody_from_a_turn(turns):
    with served(Script(0.02, 0.005), {"turns": turns}, public=True) as address:
        greedy, other = client(address), client(address)
        theirs = [submit(greedy) for _ in range(5)]
        until(lambda: turns.traffic().refused == 2, "of five, two more than one runs and two wait are taken in")
        one = submit(other)
        assert "Mira Toll" in str(one.result(60))
        found = [str(it.result(60)) for it in theirs]
        assert sum("Mira Toll" in each for each in found) == 3
        assert sum("2 runs of yours wait already" in each for each in found) == 2


def test_a_program_is_told_its_place(turns):
    with served(Script(**SLOW), {"turns": turns}, public=True) as address:
        running, waiting = submit(client(address)), client(address)
        until(lambda: turns.traffic().running == 1, "the first does not run")
        told = submit(waiting)
        until(lambda: "Yours is next." in str(told.outputs()), "no place is told")
        assert "Mira Toll" in str(told.result(60)) and running.done()


class Caller:
    """A program without gradio's client: it reads the stream of its run, and hangs up by closing it."""

    def __init__(self, address):
        self._http = httpx.Client(timeout=30)
        asked = self._http.post(f"{address}gradio_api/call/compare", json={"data": arguments()}).raise_for_status()
        url = f"{address}gradio_api/call/compare/{asked.json()['event_id']}"
        self._stream = self._http.send(self._http.build_request("GET", url), stream=True)

    def leave(self):
        self._stream.close()
        self._http.close()


class Submitter:
    """A program with it, which cancels."""

    def __init__(self, address):
        self._job = submit(client(address))

    def leave(self):
        self._job.cancel()


@pytest.mark.parametrize("program", [Caller, Submitter])
def test_a_program_that_leaves_frees_its_place_and_the_machine(turns, program):
    script = Script(load_s=0.05, gap_s=0.2)
    with served(script, {"turns": turns}, public=True) as address:
        running = program(address)
        until(lambda: script.running == 1, "it does not run")
        waiting = program(address)
        until(lambda: turns.traffic().waiting == 1, "the second does not wait")
        for leaving, freed in ((waiting, "waiting"), (running, "running")):
            leaving.leave()
            begun = time.monotonic()
            until(lambda freed=freed: getattr(turns.traffic(), freed) == 0, f"one is still {freed}")
            assert time.monotonic() - begun < 2.5, "a busy machine may take more than one second"
        assert turns.traffic().left == 1 and len(script.stops) == 1
        assert "Mira Toll" in str(submit(client(address), precisions=["fp32"], max_new_tokens=8).result(60))
