"""What a newcomer meets: the page as `make run` starts it, with the real services, in a real Chromium."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantlab.models import smollm2
from quantlab.settings import AppSettings
from quantlab.ui.launch import real_services, start
from quantlab.ui.page import build_page

ROOT = Path(__file__).parents[2]
#: A conversion, an import of torch and a load, on a busy machine.
PATIENCE_MS = 240_000


@pytest.fixture(scope="module")
def started() -> Iterator[str]:
    """The address that `app.py` prints."""
    if smollm2.packaged() is None:
        pytest.skip(f"the package is not here: {smollm2.INSTALL}")
    pytest.importorskip("gguf")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"PORT": str(port), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    app = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=os.environ | own, stdout=subprocess.PIPE, text=True
    )
    try:
        line = app.stdout.readline()
        address = re.search(r"http://\S+", line)
        assert address, line
        yield address[0]
    finally:
        app.terminate()
        app.wait(timeout=30)


def chosen(page) -> str:
    return page.input_value("#model input")


def test_it_opens_on_a_real_model_and_the_demo_is_one_choice_away(open_page, started):
    page = open_page(started)
    assert chosen(page) == "smollm2"
    page.wait_for_selector("#about:has-text('real chat model')")
    assert "Q4_1" in page.inner_text("#about") and page.locator("#precisions input:checked").count() == 6
    assert page.input_value("#prompt textarea").startswith("Tell me a short story")
    page.click("#examples button:has-text('Code')")
    page.wait_for_function("document.querySelector('#prompt textarea').value.includes('Python function')")
    page.click("#model input")
    page.click("[role=option]:text-is('demo')")
    page.wait_for_selector("#about:has-text('Bundled: small, trained')")
    page.wait_for_selector("#examples button:has-text('Person')")
    page.click("#examples button:has-text('Person')")
    page.wait_for_function("document.querySelector('#prompt textarea').value.includes('Sanna Corsa')")


@pytest.mark.slow
def test_it_answers_and_says_what_its_weights_are(open_page, started):
    asked = "precisions=bf16&prompt=What+is+the+capital+of+France%3F&max_new_tokens=8"
    page = open_page(f"{started}?{asked}")
    page.wait_for_function("document.querySelectorAll('#precisions input:checked').length === 1")
    page.wait_for_function("document.querySelector('#prompt textarea').value.includes('France')")
    assert chosen(page) == "smollm2"
    page.click("#compare")
    page.wait_for_selector(".col-done .answer:has-text('Paris')", timeout=PATIENCE_MS)
    page.wait_for_selector("#legend .caution:has-text('4 bits (Q4_1)')")


def test_without_the_package_it_opens_on_the_demo_and_says_how_to_get_the_other(open_page, monkeypatch, tmp_path):
    monkeypatch.setattr(smollm2, "packaged", lambda: None)
    monkeypatch.setattr(smollm2.hub, "in_cache", lambda repo, commit: False)
    app = AppSettings(public=False, port=0, cache_folder=tmp_path, history_file=None)
    page = build_page(app, real_services(app))
    start(page, app, block=False)
    try:
        opened = open_page(page.local_url)
        opened.wait_for_selector(f"#about:has-text('{smollm2.INSTALL}')")
        assert chosen(opened) == "demo"
        assert opened.input_value("#prompt textarea") == "Tell me a story about Sanna Corsa."
    finally:
        page.close(verbose=False)
