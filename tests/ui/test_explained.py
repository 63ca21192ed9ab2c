"""Every label of Compare and Quality says in a sentence what it is, and leads to its definition."""

import re

import gradio as gr
import pytest

from quantlab.records import ModelFacts
from quantlab.settings import DOCS, AppSettings
from quantlab.ui.common import explained, models
from quantlab.ui.page import build_page
from tests.fakes import services

#: Whose words stand elsewhere: in a paragraph above them, in the list itself, or in the placeholder.
ELSEWHERE = {
    "Prompt", "Precisions", "Own calibration text (.txt)", "Your text", "Precision", "Task",
    "Drop a .gguf file here. It is copied; for a large one rather type its path above.",
}  # fmt: skip


@pytest.fixture(scope="module")
def page() -> gr.Blocks:
    return build_page(AppSettings(public=False), services())


def labelled(page: gr.Blocks, before: str) -> list:
    """The inputs with a label from the tab of that name."""
    tab = next(it for it in page.blocks.values() if isinstance(it, gr.Tab) and it.label == before)

    def inside(block):
        for child in getattr(block, "children", ()):
            yield child
            yield from inside(child)

    shown = (gr.Textbox, gr.Number, gr.Slider, gr.Dropdown, gr.Checkbox, gr.CheckboxGroup, gr.Radio)
    return [it for it in inside(tab) if isinstance(it, shown) and it.label and it.visible is not False]


@pytest.mark.parametrize("tab", ["Compare", "Quality"])
def test_every_label_has_a_sentence(page, tab):
    found = [it for it in labelled(page, tab) if it.visible != "hidden"]
    assert len(found) > 8
    without = [it.label for it in found if not it.info and it.label not in ELSEWHERE]
    assert without == []


def test_every_definition_is_there_once():
    text = (DOCS / "measurement.md").read_text()
    for anchor in explained.ANCHORS.values():
        assert text.count(f'<a id="{anchor}"></a>') == 1, anchor


def test_no_anchor_is_the_name_of_a_component(page):
    anchors = set(re.findall(r'<a id="([^"]+)">', (DOCS / "measurement.md").read_text()))
    assert anchors.isdisjoint({it.elem_id for it in page.blocks.values() if getattr(it, "elem_id", None)})


def test_links_are_named_and_lead_there():
    assert explained.exactly("top_k", "kernel") == (
        '<p class="faint exactly">Defined exactly: <a class="define" href="#set_top_k">top-k</a>, '
        '<a class="define" href="#set_kernel">kernel</a></p>'
    )
    with pytest.raises(KeyError):
        explained.info("nothing of the kind")


def test_the_island_is_introduced_where_the_demo_is_chosen():
    told = models.about("demo", (("demo", "demo", "bundled"),), ModelFacts())[1]
    assert "Veld, an invented island" in told and told.count(". ") == 1
