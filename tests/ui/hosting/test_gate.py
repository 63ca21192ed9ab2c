"""Health, metrics, the access log and the rates, of a page that is served."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from gradio_client import Client
from prometheus_client.parser import text_string_to_metric_families

import quantlab
from quantlab.errors import BadInput
from quantlab.settings import AppSettings
from quantlab.ui import launch
from quantlab.ui.hosting.rate import RunRate
from quantlab.ui.hosting.visitors import Visitors
from quantlab.ui.hosting.work import Work
from tests.fakes import Script, services
from tests.ui.hosting.asking import ask, finished
from tests.ui.pages import served

SECRET = "my grandmother's recipe"


@contextmanager
def rated(rate: str, **more: object) -> Iterator[str]:
    """A page whose comparisons are counted against a rate."""
    visitors = Visitors(behind_proxy=bool(more.get("space")))
    work = Work(may=RunRate(rate, visitors).check)
    with served(Script(0, 0), {"compare": work.counted("compare", services(Script(0, 0)).compare)}, **more) as url:
        yield url


def asked(url: str, **headers: str) -> str:
    return ask(Client(url, headers=headers, verbose=False, download_files=False))


def test_health_and_metrics_are_told_beside_the_page():
    with served(Script(0, 0)) as url:
        health = httpx.get(f"{url}healthz")
        assert health.status_code == 200 and health.headers["cache-control"] == "no-store"
        assert health.json() == {"status": "ok", "running": 0, "version": quantlab.__version__}
        answer = httpx.get(f"{url}metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        names = {family.name for family in text_string_to_metric_families(answer.text)}
    asked_for = {"runs", "running", "wait_seconds", "loads", "evictions", "column_errors", "held_bytes", "refused"}
    assert {f"quantlab_{name}" for name in asked_for} <= names


def test_metrics_can_be_turned_off():
    with served(Script(0, 0), metrics=False) as url:
        assert httpx.get(f"{url}metrics").status_code == 404 and httpx.get(f"{url}healthz").status_code == 200


def test_the_access_log_says_who_asked_for_what_and_no_texts(caplog, monkeypatch):
    access = logging.getLogger("quantlab.access")
    monkeypatch.setattr(access, "propagate", True)
    with served(Script(0, 0), public=True) as url, caplog.at_level(logging.INFO, "quantlab.access"):
        monkeypatch.setattr(access, "propagate", True)
        ask(Client(url, verbose=False, download_files=False), prompt=SECRET)
        httpx.get(url, params={"prompt": SECRET})
        httpx.get(f"{url}gradio_api/file=/tmp/{SECRET}.txt")
        httpx.get(f"{url}gradio_api/file/{SECRET}")
        httpx.get(f"{url}%1b]2;title")
        httpx.get(f"{url}healthz")
    lines = [record.getMessage() for record in caplog.records if record.name == "quantlab.access"]
    assert any("POST /gradio_api/queue/join 200" in line for line in lines) or any("/call/" in line for line in lines)
    assert not any(word in line for line in lines for word in ("grandmother", "recipe", "healthz", "\x1b", "?"))
    visitors = {line.split()[0] for line in lines}
    assert len(visitors) == 1 and "127" not in visitors.pop()


def test_at_home_nothing_is_logged(caplog):
    with served(Script(0, 0)) as url, caplog.at_level(logging.INFO):
        httpx.get(url)
    assert not [record for record in caplog.records if record.name == "quantlab.access"]


def test_a_visitor_has_a_rate_and_is_told_when_to_come_back():
    with rated("2/minute") as url:
        assert [finished(asked(url)) for _ in range(2)] == [2, 2]
        refused = asked(url)
        assert "That was too often for one visitor." in refused
        (seconds,) = re.findall(r"Try again in (\d+) s", refused)
        assert 1 <= int(seconds) <= 60


def test_of_a_space_each_visitor_behind_its_proxy_has_his_own_rate():
    with rated("1/minute", space="somebody/quantlab") as url:
        first, second = ({"x-forwarded-for": address} for address in ("1.2.3.4", "1.2.3.5"))
        assert all(finished(asked(url, **it)) for it in (first, second))
        # What a visitor writes before the address that the proxy saw makes him nobody else.
        assert "too often" in asked(url, **{"x-forwarded-for": "6.6.6.6, 1.2.3.4"})


def test_elsewhere_what_a_visitor_says_of_his_address_counts_for_nothing():
    scope = {"client": ("10.0.0.1", 5), "headers": [(b"x-forwarded-for", b"6.6.6.6")]}
    at_home, other = Visitors(behind_proxy=False), Visitors(behind_proxy=True)
    assert at_home.of(scope) == at_home.of({**scope, "headers": []})
    assert other.of(scope) != other.of({**scope, "headers": []}) and other.of(scope) != at_home.of(scope)


def test_a_network_of_version_6_is_one_visitor():
    visitors = Visitors(behind_proxy=False)
    one, two, else_where = (
        visitors.of({"client": (address, 1), "headers": []})
        for address in ("2001:db8:1:2:3::4", "2001:db8:1:2::9", "2001:db8:1:3::9")
    )
    assert one == two != else_where


@pytest.mark.parametrize("rate", ["often", "0.5/s", "x/minute"])
def test_a_rate_that_is_none_is_refused_at_the_start(rate):
    with pytest.raises(BadInput, match="QUANTLAB_RATE_LIMIT"):
        launch.serve(AppSettings(public=False, port=0, rate_limit=rate))
