"""Whatever is sent to a handler: it answers, or refuses in words; it never breaks, and tells no path of this machine.

Each is asked `EXAMPLES` times; `MANY_INPUTS=1000` asks it a thousand times.
"""

import asyncio
import inspect
import os
import traceback
from pathlib import Path

import gradio as gr
import pytest
from gradio.components.api_component import Api
from gradio.exceptions import Error
from gradio.state_holder import SessionState
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quantlab
from quantlab.errors import QuantlabError
from quantlab.settings import AppSettings
from quantlab.ui.page import build_page
from tests.fakes import Script, services

EXAMPLES = int(os.environ.get("MANY_INPUTS", "15"))
ROOM = str(Path(quantlab.__file__).parent)
#: What a page says of what nobody foresaw.
DEFECTS = ("on our side", "A defect, not your doing")
_FILE = {"meta": {"_type": "gradio.FileData"}, "orig_name": "x.txt", "size": 3}

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=40),
    st.sampled_from(["", " ", "\x00", "\ud800", "-1", "nan", "Infinity", "1e999", "../../etc/passwd", "/etc/passwd"]),
    st.sampled_from(["<script>alert(1)</script>", "{{7*7}}", "'; drop table runs; --", "demo::", "rtn-3"]),
    st.sampled_from(["fp32+kv-", "nf4-dq+x", "openai:http://127.0.0.1:1/v1#m", "q4_k_m+kv-q8_0", "a" * 5_000]),
)  # fmt: skip
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
files = st.sampled_from(["/etc/passwd", "../secret.txt", "", "nothing", "https://127.0.0.1/x", "\x00"]).map(
    lambda path: _FILE | {"path": path}
)


def _page(public: bool) -> gr.Blocks:
    return build_page(AppSettings(public=public, port=0), services(Script(load_s=0, gap_s=0)))


PAGES = {"public": _page(True), "local": _page(False)}
HANDLERS = [
    pytest.param(page, number, id=f"{name}-{block.fn.__qualname__}-{number}")
    for name, page in PAGES.items()
    for number, block in page.fns.items()
    # Without inputs there is nothing to vary; the page's other tests press those buttons.
    if block.fn is not None and any(not isinstance(it, gr.State) for it in block.inputs)
]


#: What a program has to name.
NEEDED = {"model": "demo", "precisions": ["fp32", "nf4"], "prompt": "Hello", "precision": "nf4"}


def _usual(component, name: str) -> object:
    """What the page itself sends while nothing was typed, or what a program has to."""
    if isinstance(component, Api) and component.value is None:
        return NEEDED.get(name)
    value = component.value if not callable(getattr(component, "value", None)) else None
    return value.model_dump() if hasattr(value, "model_dump") else value


def _inputs(block) -> st.SearchStrategy[list]:
    """Mostly as the page sends them: where every field is junk, the first refusal hides what the others would do."""
    named = [name for name in inspect.signature(block.fn).parameters if name != "request"]
    names = [*named, *[""] * len(block.inputs)]
    usual = [_usual(*each) for each in zip(block.inputs, names, strict=False)]
    return st.tuples(
        *(
            st.one_of(st.just(one), st.just(one), junk, files if isinstance(it, gr.File) else scalars)
            for it, one in zip(block.inputs, usual, strict=True)
        )
    ).map(list)


async def _call(page: gr.Blocks, number: int, inputs: list, state: SessionState) -> list:
    """All that the handler gives, as it goes over the wire."""
    block, given_back, iterator = page.fns[number], [], None
    request = gr.Request(username=None, session_hash="s", client={"host": "1.2.3.4"}, headers={}, query_params={})
    while True:
        told = await page.process_api(
            block, inputs, state, request=request, iterator=iterator, session_hash="s", in_event_listener=True
        )
        given_back.append(told["data"])
        iterator = told.get("iterator")
        if not told.get("is_generating"):
            return given_back


def _ours(error: BaseException) -> bool:
    """Whether it arose in a line of quantlab's, and not in gradio, which reads what was sent before any handler."""
    return any(frame.filename.startswith(ROOM) for frame in traceback.extract_tb(error.__traceback__))


@pytest.mark.slow
@pytest.mark.parametrize(("page", "number"), HANDLERS)
def test_no_input_breaks_a_handler(page, number):
    answered, state = [], SessionState(page)

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(_inputs(page.fns[number]))
    def run(inputs):
        try:
            told = asyncio.run(_call(page, number, inputs, state))
        except (Error, QuantlabError) as error:
            said = str(error)
            assert "Traceback" not in said and ROOM not in said
            return
        except Exception as error:
            if _ours(error):
                raise
            return
        answered.append(inputs)
        said = repr(told)
        assert ROOM not in said and not any(it in said for it in DEFECTS)

    run()
    assert answered  # else nothing came as far as a handler
