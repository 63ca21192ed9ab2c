"""What lessons 2 and 3 show of the learner's own choice, in a real Chromium."""

import pytest
from playwright.sync_api import expect

from tests.ui.pages import open_tab
from tests.ui.test_lessons_tab import choose, observe, predict


@pytest.fixture
def opened(open_page, url):
    def chosen(**context):
        page = open_page(url, **context)
        open_tab(page, "Learn")
        page.wait_for_selector("#lesson-predict-text .lesson-text")
        return page

    return chosen


def test_the_legend_of_lesson_3_is_whole_on_a_phone(opened):
    page = opened(width=400)
    choose(page, 3)
    predict(page, 3, "3.6")
    observe(page)
    legend = page.locator("#panel-lesson .js-plotly-plot .legend")
    expect(legend.locator(".traces")).to_have_count(9)
    box = legend.locator(".bg").bounding_box()
    inside = [it.bounding_box() for it in legend.locator(".traces").all()]
    assert float(legend.locator(".scrollbar").get_attribute("height")) == 0, "nothing of it has to be scrolled to"
    assert all(box["y"] <= it["y"] and it["y"] + it["height"] <= box["y"] + box["height"] + 1 for it in inside)
    assert len({round(it["x"]) for it in inside}) == 2, "two in a line"
    expect(page.locator("#lesson-told")).to_contain_text("Yours: The weights of Mistral-7B")


def test_zeros_are_told_and_their_buckets_are_one(opened):
    page = opened()
    choose(page, 2)
    predict(page, 2, "2")
    page.fill("#lesson-numbers :is(input, textarea)", "0, 0, 0")
    observe(page)
    expect(page.locator("#lesson-told")).to_contain_text("the scale is 0 too")
    expect(page.locator("#panel-lesson .textpoint")).to_have_text("−7 to 7")
