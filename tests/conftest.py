"""The environment of every test, what is skipped where, and the browser."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest

# No test is timed: a busy machine is no fault.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Set before anything imports gradio, huggingface_hub or torch, which read these only then: no request to the outside,
# no cache of the user's touched, two threads so that timings and rounding do not depend on the machine's cores. The one
# that waits for the other sleeps: where others compute too, one that spins takes the core from the one it waits for.
_FOLDER = tempfile.TemporaryDirectory(prefix="quantlab-tests-", ignore_cleanup_errors=True)
for _name in [name for name in os.environ if name.startswith(("QUANTLAB_", "HF_", "HUGGING", "SPACE", "GRADIO_"))]:
    del os.environ[_name]
os.environ.pop("PORT", None)
os.environ.update(
    GRADIO_ANALYTICS_ENABLED="False",
    GRADIO_TEMP_DIR=str(Path(_FOLDER.name, "gradio")),
    HF_HOME=str(Path(_FOLDER.name, "huggingface")),
    HF_HUB_DISABLE_TELEMETRY="1",
    OMP_NUM_THREADS="2",
    OMP_WAIT_POLICY="PASSIVE",
    MKL_NUM_THREADS="2",
    QUANTLAB_CACHE_FOLDER=str(Path(_FOLDER.name, "checkpoints")),
    QUANTLAB_CLASSROOM_FILE=str(Path(_FOLDER.name, "classroom.sqlite")),
    QUANTLAB_QUIZ_FOLDER=str(Path(_FOLDER.name, "quiz")),
    QUANTLAB_HISTORY_FILE=str(Path(_FOLDER.name, "history.sqlite")),
    TOKENIZERS_PARALLELISM="false",
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Without --no-sandbox Chromium refuses to run as root; the others keep it from calling home at every start.
BROWSER_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


#: Of all precisions, those that the quick tests load: one of each kind that is quick to make.
QUICK = frozenset({"fp32", "int8", "nf4", "rtn-4"})


@cache
def _long() -> frozenset[str]:
    """All other precisions, and the methods whose precisions a foreign library builds before they are loaded."""
    from quantlab.methods import METHODS, PRECISIONS

    return frozenset(PRECISIONS) - QUICK | {method.name for method in METHODS.values() if method.kept}


def _takes_long(item: pytest.Item) -> bool:
    """Whether a test loads what is not among the quick precisions, or what `published` has had quantized."""
    given = getattr(getattr(item, "callspec", None), "params", {}).values()
    about = {name for it in given if isinstance(name := getattr(it, "name", it), str)}
    loads = any(getattr(it, "__module__", "") == "tests.loading" for it in vars(item.module).values())
    return "published" in getattr(item, "fixturenames", ()) or (loads and not _long().isdisjoint(about))


#: Folders whose tests run in the process of those that drive a browser, so that both end at about the same time.
_BESIDE = {"cluster", "finetune", "sweep"}


def pytest_itemcollected(item: pytest.Item) -> None:
    """As soon as it is there: `-m` chooses before `pytest_collection_modifyitems` below is called."""
    if "browser" in getattr(item, "fixturenames", ()):
        item.add_marker("browser")
    if _takes_long(item):
        item.add_marker("slow")
    if _BESIDE & set(item.path.relative_to(Path(__file__).parent).parts):
        item.add_marker("beside")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Playwright's synchronous interface leaves an event loop running in this thread, in which no later test could
    # start its own: what drives the browser comes last.
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
    on_cuda = [item for item in items if item.get_closest_marker("gpu")]
    if on_cuda:
        import torch

        if not torch.cuda.is_available():
            for item in on_cuda:
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="module", autouse=True)
def _small_heap() -> None:
    """Every file begins with a heap of its own. Nothing is given back after it: the next one would search all of it."""
    from tests.loading import small_heap

    small_heap()


@pytest.fixture(autouse=True)
def _warm_workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """See `tests.warm`."""
    if request.node.get_closest_marker("cold") is None:
        from quantlab.runtime import worker
        from tests import warm

        monkeypatch.setattr(worker, "run", warm.run)


@pytest.fixture
def at_once() -> Iterator[None]:
    """See `tests.loading.llama_cpp_at_once`."""
    from tests.loading import llama_cpp_at_once

    with llama_cpp_at_once():
        yield


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium (`playwright.sync_api.Browser`): the system's, else Playwright's own.

    Where there is none its tests are skipped, but under CI they fail: a page nobody looked at is not tested.
    """
    from playwright.sync_api import Error, expect, sync_playwright

    # As long as everything else waits: machines are busy.
    expect.set_options(timeout=30_000)
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=found, args=list(BROWSER_ARGS))
        except Error as error:
            give_up = pytest.fail if found or os.environ.get("CI") else pytest.skip
            give_up(f"no Chromium to drive; `make browser` says what is missing: {error.message.splitlines()[0]}")
        yield chromium
        chromium.close()
