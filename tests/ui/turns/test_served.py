"""A page that many programs ask at once: nobody is lost or waits unknowing, and whoever hangs up frees his place."""

import time
from concurrent.futures import ThreadPoolExecutor, wait

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from quantlab.ui.turns.turns import Turns
from tests.fakes import Script
from tests.ui.pages import served

GOOD = {"model": "demo", "precisions": ["fp32", "nf4"], "prompt": "Who is Mira?", "max_new_tokens": 64}
#: Long enough that others come meanwhile.
SLOW = {"load_s": 0.05, "gap_s": 0.05}


def client(address) -> Client:
    return Client(address, verbose=False, download_files=False)


def submit(asking: Client, **changes):
    return asking.submit(**{**GOOD, **changes}, api_name="/compare")


def answer(job, seconds=60) -> str:
    return str(job.result(seconds))


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
            found = list(pool.map(lambda one: answer(submit(one)), visitors))
        assert all("Mira Toll" in each and "'event': 'done'" in each for each in found)
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
        with pytest.raises(AppError, match="1 run waits here already, and no more are taken now"):
            answer(submit(third), 10)
        assert time.monotonic() - begun < 5 and not running.done()
        assert "Mira Toll" in answer(running) and "Mira Toll" in answer(waiting)


def test_one_program_that_asks_for_many_keeps_nobody_from_a_turn(turns):
    with served(Script(0.02, 0.005), {"turns": turns}, public=True) as address:
        greedy, other = client(address), client(address)
        theirs = [submit(greedy) for _ in range(5)]
        until(lambda: turns.traffic().refused == 2, "of five, two more than one runs and two wait are taken in")
        assert "Mira Toll" in answer(submit(other))
        wait(theirs, 60)
        refused = [str(it.exception()) for it in theirs if it.exception() is not None]
        assert len(refused) == 2 and all("2 runs of yours wait already" in each for each in refused)


def test_a_program_is_told_its_place(turns):
    with served(Script(**SLOW), {"turns": turns}, public=True) as address:
        running, waiting = submit(client(address)), client(address)
        until(lambda: turns.traffic().running == 1, "the first does not run")
        told = submit(waiting)
        until(lambda: told.outputs() and told.outputs()[0]["event"] == "waiting", "no place is told")
        assert told.outputs()[0] | {"seconds": None} == {"event": "waiting", "number": 1, "waiting": 1, "seconds": None}
        assert "Mira Toll" in answer(told) and running.done()


class Caller:
    """A program without gradio's client: it reads the stream of its run, and hangs up by closing it."""

    def __init__(self, address):
        self._http = httpx.Client(timeout=30)
        asked = self._http.post(f"{address}gradio_api/call/v2/compare", json=GOOD).raise_for_status()
        url = f"{address}gradio_api/call/v2/compare/{asked.json()['event_id']}"
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
        assert "Mira Toll" in answer(submit(client(address), precisions=["fp32"], max_new_tokens=8))
