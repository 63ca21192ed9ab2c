"""The tab Learn in a real Chromium, all six lessons as a student walks them, and what it says to wrong input."""

from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from quantlab.errors import BadInput
from quantlab.records.lessons import STEPS
from quantlab.runs import recorded as runs
from quantlab.settings import AppSettings
from quantlab.teach.catalog import catalog
from quantlab.teach.classroom import Classroom
from quantlab.teach.lessons import observing, reading
from quantlab.teach.lessons.acted import Acted
from quantlab.ui.common.recorded import RecordedJobs
from quantlab.ui.lessons import form, fragments
from quantlab.ui.lessons.handlers import LessonsHandlers
from quantlab.ui.lessons.predicted import predicted
from quantlab.ui.page import build_page
from quantlab.ui.quiz import fragments as quiz_fragments
from tests.fakes import Script, services
from tests.ui.pages import FAST, open_tab, served
from tests.ui.test_looks import WIDE, grave

#: A prediction for each lesson, and the word of its verdict.
PREDICTIONS = {
    1: ("20", "Off"),
    2: ("3", "Right"),
    3: ("3,6 GB", "Off"),
    4: ("grammar", "Off"),
    5: ("90", "Off"),
    6: ("int8 (8 bits)", "Right"),
}
LIVE = (1, 4, 5)


@pytest.fixture
def opened(open_page, url):
    def chosen(address=url, **context):
        page = open_page(address, **context)
        open_tab(page, "Learn")
        page.wait_for_selector("#lesson-predict-text .lesson-text")
        return page

    return chosen


def choose(page, number: int) -> None:
    title = form.titles()[number - 1]
    page.locator("#lesson-chosen label").nth(number - 1).click()
    expect(page.locator("#lesson-head h2")).to_have_text(title)


def predict(page, number: int, value: str) -> None:
    if reading.lesson(number).question.kind == "choice":
        page.locator("#lesson-choice").get_by_label(value, exact=True).check()
    else:
        page.fill("#lesson-number :is(input, textarea)", value)
    page.click("#lesson-go")


def observe(page, button: str = "#lesson-show"):
    page.click(button)
    verdict = page.locator("#lesson-verdict .lesson-verdict")
    expect(verdict).to_be_visible(timeout=30_000)
    return verdict


@pytest.mark.parametrize("number", PREDICTIONS)
def test_a_student_walks_a_lesson(opened, number):
    page, (value, word) = opened(), PREDICTIONS[number]
    choose(page, number)
    expect(page.locator("#lesson-observe-button")).to_be_disabled()
    assert page.locator("#lesson-verdict .lesson-verdict").count() == 0, "nothing is told before the prediction"
    predict(page, number, value)
    expect(page.locator("#lesson-show")).to_be_visible()
    shown = [name for name in (it.name for it in fields(Acted)) if page.locator(f"#lesson-{name}").is_visible()]
    assert shown == [name for name in (it.name for it in fields(Acted)) if name in form.CONTROLS[number]]
    assert page.locator("#lesson-start").is_visible() is (number in LIVE)
    verdict = observe(page)
    expect(verdict).to_contain_text(word)
    expect(verdict.locator("dd").nth(0)).to_contain_text(value.split(" ")[0].replace(",", "."))
    if number in LIVE:
        expect(verdict).to_contain_text("Recorded: ")
    if number == 5:
        expect(verdict).to_contain_text("Found for smollm2")
    expect(page.locator("#lesson-observe-text .lesson-text")).not_to_contain_text("{")
    if number == 6:
        expect(page.locator("#lesson-told table")).to_contain_text("Llama-2-70B")
    else:
        page.wait_for_selector("#panel-lesson .js-plotly-plot")
        page.locator("#panel-lesson input[value=table]").evaluate("input => input.click()")
        expect(page.locator("#panel-lesson .twin").first).to_be_visible()
    page.click("#lesson-on")
    answer = page.locator("#lesson-reflect-text details")
    expect(page.locator("#lesson-reflect-text")).to_contain_text("?")
    expect(answer.locator("p").first).to_be_hidden()
    answer.locator("summary").click()
    expect(answer.locator("p").first).to_be_visible()
    page.click("#lesson-next")
    expect(page.locator("#lesson-head h2")).to_have_text(form.titles()[number % 6])
    expect(page.locator("#lesson-go")).to_be_visible()


@pytest.mark.parametrize("number", LIVE)
def test_a_student_measures_here(opened, number):
    page = opened()
    choose(page, number)
    predict(page, number, PREDICTIONS[number][0])
    if number == 5:
        page.locator("#lesson-model").get_by_label("demo").check()
    else:
        page.fill("#lesson-prompt textarea", "Who is <b>Ada</b>?")
    verdict = observe(page, "#lesson-start")
    expect(verdict).to_contain_text("Recorded: " if number == 4 else "Measured here: ")
    if number == 4:
        expect(page.locator("#lesson-told .lesson-answers > div")).to_have_count(4)
        expect(page.locator("#lesson-told")).to_contain_text("Who is <b>Ada</b>?")
    else:
        expect(verdict).to_contain_text("Fake CPU")


def test_wrong_input_is_said_where_it_was_typed(opened):
    page = opened()
    choose(page, 2)
    fault = page.locator("#lesson-problem .fault")
    for typed, what in (
        ("", "no prediction yet"),
        ("nan", "no number"),
        ("9", "out of range"),
        ("2.5", "no whole number"),
    ):
        predict(page, 2, typed)
        expect(fault).to_contain_text(what)
        expect(page.locator("#lesson-show")).to_be_hidden()
    predict(page, 2, "2")
    page.fill("#lesson-numbers textarea", "one, two")
    page.click("#lesson-show")
    expect(page.locator("#lesson-status .fault")).to_contain_text("'one' is no number")
    page.fill("#lesson-numbers textarea", "1, 2, 3")
    expect(observe(page)).to_contain_text("You said 2. It is 3")
    choose(page, 4)
    page.click("#lesson-go")
    expect(fault).to_contain_text("Choose one of the answers")


def test_a_lesson_that_is_opened_again_begins_anew_and_knows_the_first_prediction(opened):
    page = opened()
    choose(page, 2)
    predict(page, 2, "7")
    expect(observe(page)).not_to_contain_text("first prediction")
    choose(page, 3)
    choose(page, 2)
    assert page.locator("#lesson-verdict .lesson-verdict").count() == 0
    assert page.locator("#lesson-number :is(input, textarea)").input_value() == ""
    predict(page, 2, "3")
    expect(observe(page)).to_contain_text("Your first prediction was 7.")
    open_tab(page, "Compare")
    open_tab(page, "Learn")
    expect(page.locator("#lesson-verdict .lesson-verdict")).to_be_visible()


def test_an_address_opens_a_lesson(open_page, url):
    page = open_page(f"{url}?lesson=4")
    expect(page.locator("#lesson-head h2")).to_have_text("4. What breaks first")
    other = open_page(f"{url}?lesson=9")
    open_tab(other, "Learn")
    expect(other.locator("#lesson-head h2")).to_have_text("1. Why 16 bits at all")


def test_the_teachers_page(opened):
    page = opened()
    page.locator("#lesson-chosen label").last.click()
    expect(page.locator("#lesson-teacher")).to_contain_text("45 minutes")
    expect(page.locator("#lesson-teacher")).to_contain_text("beyond 500 classes or 50.0 MB")
    expect(page.locator("#lesson-go")).to_be_hidden()
    assert grave(page) == []
    choose(page, 1)
    expect(page.locator("#lesson-teacher .lesson-text")).to_have_count(0)


@pytest.fixture(scope="module")
def slow_url():
    with served(Script(**FAST | {"load_s": 20.0})) as address:
        yield address


def test_stop_ends_a_run(opened, slow_url):
    page = opened(slow_url)
    choose(page, 5)
    predict(page, 5, "1")
    page.click("#lesson-start")
    expect(page.locator("#lesson-status .fault")).to_contain_text("Unknown model 'smollm2'")
    page.locator("#lesson-model").get_by_label("demo").check()
    page.click("#lesson-start")
    expect(page.locator("#lesson-status")).to_contain_text("0 of 3 have answered")
    page.click("#lesson-stop")
    expect(page.locator("#lesson-status")).to_contain_text("Stopped")
    expect(page.locator("#lesson-start")).to_be_enabled()
    expect(observe(page)).to_contain_text("Recorded: ")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_seen_by_all_and_on_a_phone(opened, url, theme):
    page = opened(f"{url}?__theme={theme}")
    for number in (2, 6):
        choose(page, number)
        assert grave(page) == []
        predict(page, number, PREDICTIONS[number][0])
        expect(page.locator("#lesson-show")).to_be_visible()
        assert grave(page) == []
        observe(page)
        if number == 2:
            page.wait_for_selector("#panel-lesson .js-plotly-plot")
        page.wait_for_timeout(500)
        assert grave(page) == []
        page.set_viewport_size({"width": 400, "height": 900})
        page.wait_for_timeout(300)
        assert not page.evaluate(WIDE)
        page.click("#lesson-on")
        page.locator("#lesson-reflect-text summary").click()
        assert grave(page) == [] and not page.evaluate(WIDE)
        page.set_viewport_size({"width": 1_440, "height": 900})


def test_a_missing_recorded_result_leaves_the_run_on_this_machine(browser, tmp_path):
    from quantlab.ui.launch import start

    class Without:
        given, runs, request = observing.given, observing.runs, observing.request

        def observe(self, number, acted):
            return observing.observe(number, acted, tmp_path)

        def of_run(self, number, record, acted):
            return observing.of_run(number, record, acted, tmp_path)

    without = Without()
    without.given, without.runs, without.request = observing.given, observing.runs, observing.request
    app = AppSettings(public=False, port=0)
    served_page = build_page(app, replace(services(Script(**FAST)), lessons=without))
    start(served_page, app, block=False)
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(served_page.local_url)
        open_tab(page, "Learn")
        page.wait_for_selector("#lesson-predict-text .lesson-text")
        choose(page, 1)
        predict(page, 1, "1")
        expect(observe(page)).to_contain_text("The recorded result lesson-1 is not here.")
        page.click("#lesson-again")
        page.click("#lesson-start")
        expect(page.locator("#lesson-verdict")).to_contain_text("Measured here: ", timeout=30_000)
    finally:
        context.close()
        served_page.close(verbose=False)


def parts() -> SimpleNamespace:
    """Each component is its own name; the chart fills nothing."""

    def named(prefix, *names, **more):
        return SimpleNamespace(**{name: f"{prefix}.{name}" for name in names}, **more)

    chart = SimpleNamespace(column="chart", head="observe.head", filled=lambda figures, tables: {})
    inputs = named("inputs", *(it.name for it in fields(Acted)))
    return named(
        "", "lesson", "head", "steps", "teacher", "tried", "opened",
        predict=named("predict", "text", "number", "choice", "problem"),
        act=named("act", "text", "show", "start", "stop", "status", inputs=inputs),
        observe=named("observe", "verdict", "text", "told", chart=chart),
        reflect=named("reflect", "text"),
    )  # fmt: skip


@pytest.fixture
def handlers() -> LessonsHandlers:
    return LessonsHandlers(parts(), AppSettings(public=True), services())


BUCKETS = "2. Buckets"
REQUEST = SimpleNamespace(session_hash="one")
VALUES = tuple(getattr(Acted(), it.name) for it in fields(Acted))


def test_what_an_api_client_may_send(handlers):
    said = handlers.open("8. Nothing", {})
    assert "Unknown lesson" in said["predict.problem"] and "predict.text" not in said
    assert "Unknown lesson" in handlers.predict(None, "3", "", {}, None)["predict.problem"]
    assert "No lesson is open" in handlers.predict(form.TEACHER, "3", "", {}, None)["predict.problem"]
    assert "Unknown answer" in handlers.predict("4. What breaks first", "", "poems", {}, None)["predict.problem"]
    for tried in ({}, None, {"lesson-3/gigabytes": (3.0,)}):
        said = handlers.show(BUCKETS, tried, *VALUES)
        assert "There is no prediction yet" in said["act.status"] and "observe.verdict" not in said
    tried = {"lesson-2/bucket": (3.0,)}
    wrong = (*VALUES[:2], "four", *VALUES[3:])
    assert "must be a whole number" in handlers.show(BUCKETS, tried, *wrong)["act.status"]
    assert "observe.verdict" in handlers.show(BUCKETS, tried, *VALUES)


def test_a_run_is_refused_without_a_prediction_and_where_there_is_none(handlers):
    def run(name, tried, *values):
        handlers.begin(REQUEST)
        *_, last = handlers.run(REQUEST, name, tried, *values)
        return last["act.status"]

    speed = form.titles()[4]
    assert "There is no prediction yet" in run(speed, {}, *VALUES)
    assert "This lesson runs no model" in run(BUCKETS, {"lesson-2/bucket": (3.0,)}, *VALUES)
    assert "Unknown model" in run(speed, {"lesson-5/ratio": (1.0,)}, *VALUES[:-2], "/etc", VALUES[-1])
    first = form.titles()[0]
    assert "The prompt is empty" in run(first, {"lesson-1/tokens": (1.0,)}, " ", *VALUES[1:])


def test_what_learners_type_is_kept_nowhere(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(runs, "recorded_compare", lambda history, request, **kept: iter(seen.append(history) or ()))
    file = tmp_path / "history.sqlite"
    assert list(RecordedJobs(AppSettings(public=False, history_file=file)).unkept("asked")) == []
    assert seen == [None] and not file.exists()

    def never(*_given, **_more):
        raise AssertionError("kept in the history")

    fake = services(Script(**FAST))
    apart = LessonsHandlers(parts(), AppSettings(), replace(fake, compare=never, unkept=fake.compare))
    apart.begin(REQUEST)
    *_, last = apart.run(REQUEST, form.titles()[0], {"lesson-1/tokens": (1.0,)}, *VALUES)
    assert "Measured here" in last["observe.verdict"]


def test_a_prediction_passes_one_place_with_its_id():
    lesson = reading.lesson(2)
    found = predicted(lesson.question, "3")
    assert (found.question, found.value) == ("lesson-2/bucket", 3.0)
    with pytest.raises(BadInput, match="no prediction yet"):
        predicted(lesson.question, None)


def test_a_defect_is_no_more_than_a_remark(handlers, caplog):
    def broken(number):
        raise RuntimeError("inside")

    failing = replace(handlers.services, lessons=SimpleNamespace(given=broken, runs=observing.runs))
    said = LessonsHandlers(parts(), AppSettings(), failing).open(BUCKETS, {})["predict.problem"]
    assert "Something went wrong on our side" in said and "inside" not in said and "inside" in caplog.text


def test_markup_in_texts_and_figures_is_shown_and_not_obeyed():
    shown = fragments.text("A <b>{it}</b>", {"it": "<img src=x onerror=alert(1)> *a*"})
    assert "<img" not in shown and "<b>" not in shown and "<em>" not in shown


def test_the_page_has_four_steps_in_their_order():
    page = build_page(AppSettings(public=False), services())
    labels = [it.label for it in page.blocks.values() if it.get_block_name() == "walkthroughstep"]
    assert [label.lower() for label in labels] == list(STEPS)


def test_predictions_come_to_the_board_of_the_class(tmp_path):
    """Each visitor's first one, beside what is true; a class that is gone takes nothing from the lesson."""
    app = AppSettings(public=True, classroom_file=tmp_path / "classroom.sqlite")
    room = Classroom(app.classroom_file, catalog(app))
    code = room.open()
    tab = LessonsHandlers(parts(), app, replace(services(Script(**FAST)), classroom=lambda: room))
    for visitor, guesses in (("first-visitor", ("3", "5")), ("second-visitor", ("-2",))):
        for guess in guesses:
            told = tab.predict(BUCKETS, guess, "", {}, {"visitor": visitor, "code": code})
            again = "Your class counts your first prediction, 3." if guess == "5" else ""
            assert again in told["act.status"] and bool(again) == bool(told["act.status"]) and ".steps" in told
            assert "fault" not in told["act.status"]
    choosing = form.titles()[3]
    tab.predict(choosing, "", reading.lesson(4).question.choices[0], {}, {"visitor": "first-visitor", "code": code})
    board = room.board(code)
    (numbers,), (votes,) = board.predictions, board.votes
    assert (numbers.question, numbers.values) == ("lesson-2/bucket", (-2.0, 3.0))
    assert numbers.asked.truth == observing.observe(2, Acted()).truth.value and (votes.question, votes.total) == (
        "lesson-4/breaks",
        1,
    )
    assert "Lesson 2" in quiz_fragments.board(board)
    gone = tab.predict(BUCKETS, "3", "", {}, {"visitor": "first-visitor", "code": "ZZZZZZ"})
    assert ".steps" in gone and "fault" in gone["act.status"]
    alone = tab.predict(BUCKETS, "3", "", {}, {"visitor": "first-visitor"})
    assert alone["act.status"] == ""


@pytest.mark.parametrize("number", range(1, 7))
def test_the_class_knows_what_each_lesson_asks(number):
    asked = catalog(AppSettings())[reading.lesson(number).question.id]
    truth = observing.observe(number, Acted()).truth
    assert asked.title.startswith(f"Lesson {number}: ") and "{" not in asked.title and asked.place == number
    assert asked.truth == (None if truth.doubt else truth.value)
