"""Pages in a real Chromium, on the fake services."""

from collections.abc import Callable, Iterator

import pytest

from quantlab.history import History
from tests.fakes import Script
from tests.ui.pages import FAST, compare, served


@pytest.fixture(scope="module")
def script() -> Script:
    return Script(**FAST)


@pytest.fixture(scope="module")
def url(script) -> Iterator[str]:
    with served(script) as address:
        yield address


@pytest.fixture
def history(tmp_path) -> History:
    return History(tmp_path / "history.sqlite")


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """Opens pages in contexts of their own and closes them; the console must stay free of errors."""
    contexts, errors = [], []

    def opened(address: str, width: int = 1_440, **context):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **context))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#precisions input:checked", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    # A page that outlives its server asks it in vain for what draws its charts.
    assert [error for error in errors if "Failed to fetch dynamically imported module" not in error] == []


@pytest.fixture(scope="module")
def compared(browser, url) -> Iterator:
    """A page with a finished comparison, for tests that only look. `asked` holds every address it requested."""
    context = browser.new_context(viewport={"width": 1_440, "height": 900})
    page = context.new_page()
    page.asked = []
    context.on("request", lambda request: page.asked.append(request.url))
    page.goto(url)
    page.wait_for_selector("#precisions input:checked", state="attached")
    compare(page)
    page.wait_for_timeout(500)
    yield page
    context.close()
