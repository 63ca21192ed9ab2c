"""Pictures of the real page: `python -m tests.ui.screenshot [OUT_DIR] [--all]`.

Makes assets/screenshot.png, the one in the README: light, a finished comparison of SmolLM2. With --all also light,
dark, 400 pixels wide, mid-run, a quality run and an error card, each as a whole page, into OUT_DIR (default:
screenshots). Needs SmolLM2 and a Chromium. Nothing is kept in the history, so that nothing is replayed.
"""

import argparse
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from quantlab.settings import ASSETS, AppSettings, app_settings
from quantlab.ui.launch import real_services, start
from quantlab.ui.page import build_page
from tests.conftest import BROWSER_ARGS, BROWSERS

#: Of these fp32 does not fit a small budget, as long as nothing is in the cache yet.
TOO_LARGE = "?model=demo&precisions=fp32,bf16,nf4,fp4&reference=bf16"
WIDTH, HEIGHT = 1_440, 1_760
PATIENCE_MS = 600_000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", nargs="?", type=Path, default=Path("screenshots"))
    arguments.add_argument("--all", action="store_true", help="also the whole pages, into OUT_DIR")
    given = arguments.parse_args()
    with sync_playwright() as playwright, served() as url:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=found, args=list(BROWSER_ARGS))
        if given.all:
            given.out.mkdir(parents=True, exist_ok=True)
            whole_pages(browser, url, given.out)
        first_charts(finished(opened(browser, url)), ASSETS / "screenshot.png")
        browser.close()


def whole_pages(browser: Browser, url: str, out: Path) -> None:
    def keep(page: Page, name: str) -> None:
        page.screenshot(path=out / f"{name}.png", full_page=True)
        page.context.close()

    with a_budget(6_000_000):
        keep(finished(opened(browser, url + TOO_LARGE)), "error-card")
    keep(opened(browser, url), "first")
    keep(finished(opened(browser, url)), "light")
    keep(finished(opened(browser, url + "?__theme=dark")), "dark")
    keep(finished(opened(browser, url, width=400)), "phone")
    keep(half_way(opened(browser, url)), "mid-run")
    keep(measured(opened(browser, url)), "quality")
    keep(measured(opened(browser, url + "?__theme=dark", width=400)), "quality-phone")


@contextmanager
def served() -> Iterator[str]:
    app = AppSettings(public=False, port=0, history_file=None)
    page = build_page(app, real_services(app))
    start(page, app, block=False)
    try:
        yield page.local_url
    finally:
        page.close(verbose=False)


@contextmanager
def a_budget(size: int) -> Iterator[None]:
    """So little memory for variants that the first one does not fit, which gives a true error card."""
    os.environ["QUANTLAB_MEMORY_BUDGET"] = str(size)
    app_settings.cache_clear()
    try:
        yield
    finally:
        del os.environ["QUANTLAB_MEMORY_BUDGET"]
        app_settings.cache_clear()


def opened(browser: Browser, url: str, width: int = WIDTH) -> Page:
    page = browser.new_context(viewport={"width": width, "height": HEIGHT}).new_page()
    page.goto(url)
    page.wait_for_selector("#precisions input:checked")
    page.wait_for_timeout(500)
    return page


def finished(page: Page) -> Page:
    page.click("#compare")
    page.wait_for_selector("#panel-time .js-plotly-plot", state="attached", timeout=PATIENCE_MS)
    page.wait_for_timeout(2_500)
    page.mouse.move(2, 2)
    return page


def measured(page: Page) -> Page:
    """A short quality run."""
    page.click("[role=tab]:has-text('Quality')")
    page.fill("#quality-windows input[type=number]", "2")
    page.click("#measure")
    page.wait_for_selector("#quality-advised", timeout=PATIENCE_MS)
    page.wait_for_timeout(2_500)
    return page


def first_charts(page: Page, file: Path) -> None:
    """The page from its top to the end of the memory chart."""
    chart = page.locator("#panel-memory").bounding_box()
    whole = {"x": 0, "y": 0, "width": WIDTH, "height": round(chart["y"] + chart["height"]) + 12}
    page.screenshot(path=file, full_page=True, clip=whole)


def half_way(page: Page) -> Page:
    """While the fourth variant writes."""
    page.click("#compare")
    page.wait_for_function("document.querySelectorAll('.col-done').length >= 3", timeout=PATIENCE_MS)
    page.wait_for_selector(".col-writing", timeout=PATIENCE_MS)
    page.wait_for_timeout(150)
    return page


if __name__ == "__main__":
    main()
