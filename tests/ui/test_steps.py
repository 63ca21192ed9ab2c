"""Work in steps: it waits for its turn, says where it stands, and in public ends with its time."""

import threading
from dataclasses import replace
from types import SimpleNamespace

from quantlab.settings import AppSettings
from quantlab.ui.claims.handlers import QUICK, ClaimsHandlers
from quantlab.ui.hosting.work import Work
from quantlab.ui.turns.turns import Turns
from tests.fakes import Script, services

LOCAL, PUBLIC = AppSettings(public=False), AppSettings(public=True, max_seconds=0.3)
PARTS = SimpleNamespace(**{name: name for name in ("start", "stop", "status", "claims", "found")})


def told(handlers, session="one"):
    request = SimpleNamespace(session_hash=session, username=None)
    return [str(it.get("status")) for it in handlers.run(request, "demo", QUICK, {})]


def test_in_public_the_clock_ends_work_in_steps():
    given = services(Script(load_s=20))
    last = told(ClaimsHandlers(PARTS, PUBLIC, given))[-1]
    assert "longer than 0.3 s, the limit of this public page" in last
    with given.turns.enter("next", "claims") as turn:
        list(turn.places(threading.Event()))
        assert turn.called.is_set()
    assert "holds here" in told(ClaimsHandlers(PARTS, LOCAL, services(Script(load_s=0.2))))[-1]


def test_work_that_the_servers_end_cuts_short_says_so():
    work, given = Work(), services(Script(load_s=20))
    handlers = ClaimsHandlers(PARTS, LOCAL, replace(given, claims=work.counted("claims", given.claims)))
    ender = threading.Timer(0.3, work.end, [0])
    ender.start()
    assert "Cut short: this server ends. Ask again in a minute. Stopped." in told(handlers)[-1]
    ender.join()


def test_work_that_waits_says_where_and_full_is_a_problem():
    turns = Turns(limit=1)
    handlers = ClaimsHandlers(PARTS, LOCAL, replace(services(Script(load_s=0.01)), turns=turns))
    with turns.enter("other", "compare"):
        waiting = handlers.run(SimpleNamespace(session_hash="one", username=None), "demo", QUICK, {})
        assert "Yours is next." in next(waiting)["status"]
        assert "1 run waits here already" in told(handlers, "two")[-1]
        handlers.stop(SimpleNamespace(session_hash="one"))
        assert "Left the queue" in list(waiting)[-1]["status"] and turns.traffic().waiting == 0
