"""Visitors who all ask at once: programs with gradio's client, and browsers. Each says what it was told, and when."""

import asyncio
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any, Literal

from gradio_client import Client
from playwright.async_api import Page, async_playwright

Outcome = Literal["answered", "refused", "lost"]
#: What is asked of the page, so small that sixty of it are over in minutes.
PRECISIONS, NEW_TOKENS = ("fp32", "nf4"), 16
#: Nobody waits longer than this for an answer, in seconds: it is lost then.
PATIENCE_S = 1_800.0
_LOOK_S = 0.2
_PLACE = re.compile(r"Place \d+ of \d+|Yours is next|'event': 'waiting', 'number': \d+")
_FULL = re.compile(r"\d+ runs? (?:of yours )?waits? (?:here )?already")


@dataclass
class Heard:
    """One visitor's question. Seconds from the asking; None where it did not come to that."""

    kind: Literal["program", "browser"]
    outcome: Outcome = "lost"
    told_s: float | None = None
    ended_s: float | None = None
    places: int = 0
    words: str = ""
    _last: str = field(default="", repr=False)

    def saw(self, text: str, since: float) -> None:
        """Something was shown: the place, that it has begun, or that it is full."""
        self.told_s = self.told_s if self.told_s is not None else time.perf_counter() - since
        if (full := _FULL.search(text)) and self.outcome != "refused":
            self.outcome, self.words, self.ended_s = "refused", full.group(), time.perf_counter() - since
        place = _PLACE.search(text)
        if place and place.group() != self._last:
            self._last, self.places = place.group(), self.places + 1

    def ended(self, text: str, since: float, answered: bool) -> None:
        self.saw(text, since)
        if self.outcome != "refused":
            self.ended_s = time.perf_counter() - since
            self.outcome, self.words = ("answered", "") if answered else ("lost", text[-300:])


def compare(client: Client, prompt: str) -> Any:
    """A comparison, as programs ask for it."""
    asked = {"model": "demo", "precisions": list(PRECISIONS), "prompt": prompt, "max_new_tokens": NEW_TOKENS}
    return client.submit(**asked, api_name="/compare")


def is_answer(text: str) -> bool:
    return "'event': 'done'" in text


def arrived(url: str, programs: int) -> list[Client]:
    """So many programs that know the page; eight come at once, as its start page is large."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: Client(url, verbose=False, download_files=False), range(programs)))


def ask_as_program(submit: Callable[[], Any], good: Callable[[str], bool], together: Barrier) -> Heard:
    heard = Heard("program")
    together.wait()
    since = time.perf_counter()
    try:
        job, known = submit(), 0
        while not job.done() and time.perf_counter() - since < PATIENCE_S:
            outputs = job.outputs()
            for output in outputs[known:]:
                heard.saw(str(output), since)
            known = len(outputs)
            time.sleep(_LOOK_S)
        text = str(job.result(timeout=1))
        heard.ended(text, since, good(text))
    except Exception as error:
        heard.ended(f"{type(error).__name__}: {error}", since, False)
    return heard


@dataclass(frozen=True)
class Pages:
    """What a browser does on a page: where it types, clicks, reads, and what an answer looks like there."""

    button: str
    said: str
    answered: str
    refused: str = "#problem .fault"


COMPARE = Pages("#compare", "#status", f"document.querySelectorAll('.col-done').length === {len(PRECISIONS)}")
ECHO = Pages("#echo", "#said textarea", "document.querySelector('#said textarea').value.length > 0", "#nothing")


async def ask_as_browsers(url: str, where: Pages, prompts: Sequence[str], ready: Callable[[], Any]) -> list[Heard]:
    """Browsers, each with a window of its own, which all click once everybody is `ready`."""
    if not prompts:
        await asyncio.to_thread(ready)
        return []
    async with async_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        windows = [await (await browser.new_context()).new_page() for _ in prompts]
        for window, prompt in zip(windows, prompts, strict=True):
            await window.goto(url, timeout=120_000)
            await window.wait_for_selector(where.button, timeout=120_000)
            await window.fill("#prompt textarea", prompt)
            if where is COMPARE:
                await _tick(window)
        await asyncio.to_thread(ready)
        found = await asyncio.gather(*(_click(window, where) for window in windows))
        await browser.close()
        return list(found)


async def _tick(window: Page) -> None:
    """The same precisions as the programs, of those that are ticked at first."""
    await window.wait_for_selector("#precisions input:checked", timeout=120_000)
    for name in await window.eval_on_selector_all("#precisions input:checked", "them => them.map(it => it.name)"):
        if name not in PRECISIONS:
            await window.uncheck(f"#precisions input[name={name}]")


async def _click(window: Page, where: Pages) -> Heard:
    heard, since = Heard("browser"), time.perf_counter()
    await window.click(where.button)
    while time.perf_counter() - since < PATIENCE_S:
        over = await window.evaluate(where.answered)
        fault = await window.query_selector(where.refused)
        said = await window.eval_on_selector(where.said, "it => it.value ?? it.innerText")
        if over or fault:
            heard.ended(await fault.inner_text() if fault else said, since, bool(over))
            return heard
        if said.strip():
            heard.saw(said, since)
        await asyncio.sleep(_LOOK_S)
    return heard


@contextmanager
def left(clients: Sequence[Client]) -> Iterator[None]:
    """Programs that go when the block ends."""
    try:
        yield
    finally:
        for client in clients:
            client.close()


def everybody(url: str, where: Pages, programs: int, browsers: int, prompts: Callable[[int], str]) -> list[Heard]:
    """All at once, each with the prompt of its number."""
    together = Barrier(programs + 1, timeout=600)

    def one(number: int, client: Client) -> Heard:
        prompt = prompts(number)
        if where is ECHO:
            return ask_as_program(lambda: client.submit(prompt, api_name="/echo"), prompt.__eq__, together)
        return ask_as_program(lambda: compare(client, prompt), is_answer, together)

    clients = arrived(url, programs)
    with left(clients), ThreadPoolExecutor(programs + 1) as pool:
        asking = [pool.submit(one, number, client) for number, client in enumerate(clients)]
        of_browsers = [prompts(programs + number) for number in range(browsers)]
        seen = pool.submit(asyncio.run, ask_as_browsers(url, where, of_browsers, together.wait))
        return [*(each.result() for each in asking), *seen.result()]
