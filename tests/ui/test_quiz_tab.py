"""The quiz in a browser, a class with thirty visitors at once, and what the handlers refuse."""

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from quantlab.records.asked import FOUR_BITS_ONCE
from quantlab.settings import AppSettings
from quantlab.teach.catalog import catalog
from quantlab.teach.classroom import Asked, Classroom, Limits, store
from quantlab.teach.classroom.board import Board, Predictions
from quantlab.teach.quiz.questions import LETTERS, bundled, question_of
from quantlab.ui.launch import real_services
from quantlab.ui.quiz import fragments as html
from quantlab.ui.quiz import kept as browser
from quantlab.ui.quiz.handlers import QuizHandlers
from quantlab.ui.quiz.jobs import ClassJobs
from tests.fakes import Script, services
from tests.ui.pages import FAST, ask_privately, open_tab, served
from tests.ui.test_looks import WIDE, grave

FIRST = bundled()[0]


@pytest.fixture
def app(tmp_path) -> AppSettings:
    return AppSettings(public=True, classroom_file=tmp_path / "classroom.sqlite")


@pytest.fixture
def class_url(app):
    """A public page with classes. Browsers do not queue for the quiz; what asks here does."""
    limits = {"public": True, "classroom_file": app.classroom_file, "queue_size": 60}
    with served(Script(**FAST), {"classroom": ClassJobs(app)}, **limits) as address:
        yield address


@pytest.fixture
def opened(open_page, class_url):
    def chosen(**context):
        theme = context.pop("theme", "light")
        page = open_page(f"{class_url}?__theme={theme}", **context)
        open_tab(page, "Quiz")
        page.wait_for_selector(".quiz-answer >> nth=0", state="visible")
        return page

    return chosen


def type_code(page, where: str, code: str) -> None:
    page.locator(f"{where} :is(input, textarea)").fill(code)


def vote(page, letter: str) -> None:
    page.locator("#quiz-letter label", has_text=letter).click()
    page.click("#quiz-vote")
    expect(page.locator(".quiz-revealed")).to_be_visible()


def test_a_student_votes_in_a_class_and_the_teacher_s_board_follows(opened):
    teacher, student = opened(), opened()
    teacher.click("#class-teacher > button")
    teacher.click("#class-open")
    code = teacher.locator(".board-code b").inner_text()
    assert re.fullmatch(rf"[{store.ALPHABET}]{{6}}", code)
    expect(teacher.locator("#class-board")).to_contain_text("No answers yet")

    type_code(student, "#quiz-code", code.lower())
    student.click("#quiz-join")
    expect(student.locator("#quiz-joined")).to_contain_text(f"Your votes count in class {code}")
    expect(student.locator("#quiz-question h2")).to_have_text(f"Question 1 of {len(bundled())}")
    expect(student.locator(".quiz-answer .badge")).to_have_count(0)
    vote(student, "A")
    shown = [it.inner_text() for it in student.locator(".quiz-answer header strong").all()]
    assert sorted(shown) == sorted(FIRST.options) and student.locator("#quiz-vote").is_disabled()
    right = shown[0] == FIRST.quantized
    expect(student.locator(".quiz-verdict")).to_contain_text("Right." if right else "Not this one.")
    expect(student.locator(".quiz-revealed")).to_contain_text("First differs from fp32 at token")
    expect(student.locator("#quiz-score")).to_contain_text(f"{int(right)} of 1 right so far; guessing gives 0.50")
    assert grave(student) == []

    expect(teacher.locator("#class-board")).to_contain_text(f"{int(right)} of 1 found {FIRST.quantized}")
    expect(teacher.locator("#class-board")).to_contain_text("1 visitor ")
    assert grave(teacher) == []

    student.click("#quiz-next")
    expect(student.locator("#quiz-question h2")).to_have_text(f"Question 2 of {len(bundled())}")
    expect(student.locator(".quiz-revealed")).to_have_count(0)
    student.reload()
    open_tab(student, "Quiz")
    expect(student.locator("#quiz-question h2")).to_have_text(f"Question 2 of {len(bundled())}")
    expect(student.locator("#quiz-joined")).to_contain_text(code)
    student.click("#quiz-back")
    expect(student.locator(".quiz-revealed")).to_be_visible()
    assert [it.inner_text() for it in student.locator(".quiz-answer header strong").all()] == shown, "not reshuffled"


def test_the_board_is_asked_for_only_while_it_is_in_sight(opened):
    page, asked = opened(), []
    page.on("request", lambda request: asked.append(request.url) if "/run/" in request.url else None)
    page.wait_for_timeout(4_000)
    assert asked == []
    page.click("#class-teacher > button")
    page.click("#class-open")
    page.wait_for_selector(".board")
    with page.expect_request(lambda request: "/run/" in request.url):
        asked.clear()
    open_tab(page, "Compare")
    page.wait_for_timeout(500)
    asked.clear()
    page.wait_for_timeout(4_000)
    assert asked == []


def test_a_code_that_does_not_exist_is_told_and_the_quiz_goes_on(opened):
    page = opened()
    type_code(page, "#quiz-code", "777777")
    page.click("#quiz-join")
    expect(page.locator("#quiz-joined")).to_contain_text("There is no class 777777.")
    expect(page.locator("#quiz-joined")).to_contain_text("No class: your votes stay")
    page.click("#quiz-vote")
    expect(page.locator("#quiz-problem")).to_contain_text("Nothing is chosen.")
    vote(page, "B")
    expect(page.locator("#quiz-problem .fault")).to_have_count(0)
    expect(page.locator("#quiz-joined .fault")).to_have_count(0)


def test_what_is_wrong_with_a_code_is_told_where_it_was_typed(opened):
    page = opened(width=400)
    page.click("#quiz-join")
    fault = page.locator("#quiz-joined .fault")
    expect(fault).to_contain_text("No class code was typed.")
    box, height = fault.bounding_box(), page.viewport_size["height"]
    assert box["y"] + box["height"] < height and not page.evaluate(WIDE), "in sight without scrolling"


def test_on_a_phone_in_the_dark_nothing_scrolls_sideways(opened):
    page = opened(width=400, theme="dark")
    vote(page, "A")
    page.click("#class-teacher > button")
    page.click("#class-open")
    page.wait_for_selector(".board")
    assert not page.evaluate(WIDE) and grave(page) == []


def letter_of(visitor: str, precision: str) -> str:
    return LETTERS[FIRST.order(visitor).index(precision)]


def as_browser(visitor: str, code: str) -> dict:
    return {"visitor": visitor, "code": code, "at": FIRST.key, "votes": {}}


def test_thirty_visitors_at_once_are_all_counted_and_none_twice(class_url, app):
    code, board, *_ = ask_privately(class_url, "class_open")
    assert code in board

    def visit(number: int) -> str:
        visitor = f"visitor-{number:02}"
        letter = letter_of(visitor, FIRST.quantized if number < 21 else "fp32")
        first = ask_privately(class_url, "quiz_vote", letter, as_browser(visitor, code))
        other = "B" if letter == "A" else "A"
        again = ask_privately(class_url, "quiz_vote", other, as_browser(visitor, code))
        assert "quiz-revealed" in first[3] and first[-1] == ""
        assert again[3] == first[3] and again[0]["votes"] == first[0]["votes"], "what was counted is shown"
        return f"your vote for {letter} counts" in again[-1]

    with ThreadPoolExecutor(30) as pool:
        assert all(pool.map(visit, range(30)))
    board, problem = ask_privately(class_url, "class_board", code)
    assert problem == "" and "30 visitors" in board and f"fp32 9, {FIRST.quantized} 21" in board
    assert (
        f"21 of 30 found {FIRST.quantized}; by guessing alone so many, or more, would come about in 2 of 100" in board
    )
    with sqlite3.connect(app.classroom_file) as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (30,)
    connection.close()


PARTS = SimpleNamespace(
    **{name: name for name in ("kept", "code", "joined", "question", "letter", "vote", "score", "problem")},
    **{name: name for name in ("board", "board_code", "board_problem", "made")},
)


def handlers(app: AppSettings, room: Classroom | None = None, **more) -> QuizHandlers:
    made = services()
    return QuizHandlers(PARTS, app, SimpleNamespace(quiz=made.quiz, classroom=more.get("classroom", lambda: room)))


@pytest.fixture
def room(app) -> Classroom:
    return Classroom(app.classroom_file, catalog(app), Limits(visitors=2))


@pytest.mark.parametrize("letter", ["C", "Z", "", None, "nf4", "A" * 100_000, ["A"], 3])
def test_a_vote_for_an_answer_that_does_not_exist_is_refused_and_reveals_nothing(app, room, letter):
    code = room.open()
    updates = handlers(app, room).vote(letter, as_browser("visitor-1", code))
    assert "fault" in updates["problem"] and "quiz-revealed" not in updates["question"]
    assert updates["kept"]["votes"] == {} and room.board(code).visitors == 0


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "nonsense",
        [],
        {"visitor": "x" * 10_000, "code": "A" * 10_000, "at": "nowhere", "votes": {"a": "b"}},
        {"visitor": 7, "code": ["A"], "at": [], "votes": [1]},
        {"visitor": "visitor-1", "code": "<b>", "at": {}, "votes": {FIRST.key: ["fp32"], "quiz/x/which": "nf4"}},
    ],
)
def test_what_a_browser_keeps_is_doubted(app, sent):
    found = browser.read(sent, bundled())
    assert (found.code, found.at, dict(found.votes)) == ("", FIRST.key, {}) and 8 <= len(found.visitor) <= 64
    assert "quiz-answer" in handlers(app).show(sent)["question"]


def test_a_full_class_is_told_and_the_vote_stays_open(app, room):
    code = room.open()
    tab = handlers(app, room)
    for number in (1, 2):
        assert tab.vote("A", as_browser(f"visitor-{number}", code))["problem"] == ""
    updates = tab.vote("A", as_browser("visitor-3", code))
    assert "2 visitors already" in updates["problem"] and updates["kept"]["votes"] == {}


def test_another_class_begins_anew_and_the_same_one_counts_nobody_twice(app, room):
    tab, first, second = handlers(app, room), room.open(), room.open()
    kept = tab.join(first, as_browser("visitor-1", ""))["kept"]
    kept = tab.vote("A", kept)["kept"]
    assert len(tab.join(first, kept)["kept"]["votes"]) == 1, "joined already"
    kept = tab.join(second, kept)["kept"]
    assert (kept["code"], kept["votes"], kept["at"], kept["visitor"]) == (second, {}, FIRST.key, "visitor-1")
    kept = tab.join(first, tab.vote("B", kept)["kept"])["kept"]
    again = tab.vote("B", kept)
    assert "your vote for A counts" in again["problem"] and "another window, or before" in again["problem"]
    precision = FIRST.chosen("A", "visitor-1")
    assert again["kept"]["votes"] == {FIRST.key: precision}, "what was counted is shown, not what was chosen here"
    assert re.search(rf"<strong>{precision}</strong>[^/]*</span>\s*<span[^>]*>your vote", again["question"])
    assert f"{int(precision == FIRST.quantized)} of 1 right" in again["score"]
    twice = tab.vote("B", again["kept"])
    assert "your vote for A counts" in twice["problem"] and "another window" not in twice["problem"]
    assert [room.board(code).votes[0].total for code in (first, second)] == [1, 1]
    over = tab.restart(again["kept"])
    assert over["kept"]["votes"] == {} and over["kept"]["code"] == first and "quiz-revealed" not in over["question"]


def test_teachers_are_told_what_is_kept_and_for_how_long():
    told = " ".join(html.for_teachers(AppSettings(class_codes=1_234, classroom_bytes=20 * 10**6)).split())
    assert "hash of a random number" in told and "No names, addresses, times or texts" in told
    assert "until room is needed: beyond 1,234 classes or 20.0 MB" in told


def test_a_second_window_shows_the_vote_that_counts(opened):
    first, second = (page := opened()), page.context.new_page()
    page.click("#class-teacher > button")
    page.click("#class-open")
    type_code(page, "#quiz-code", page.locator(".board-code b").inner_text())
    page.click("#quiz-join")
    expect(page.locator("#quiz-joined")).to_contain_text("Your votes count")
    second.goto(page.url)
    open_tab(second, "Quiz")
    expect(second.locator("#quiz-joined")).to_contain_text("Your votes count")
    vote(first, "A")
    vote(second, "B")
    expect(second.locator("#quiz-problem")).to_contain_text("your vote for A counts")
    for window in (first, second):
        expect(window.locator(".quiz-answer", has_text="your vote").locator("h3")).to_have_text("A")
    assert first.locator("#quiz-score").inner_text() == second.locator("#quiz-score").inner_text()


def test_join_without_a_code_says_what_to_type_and_leaves_a_class_that_was_joined(app, room):
    tab = handlers(app, room)
    told = tab.join(" ", as_browser("visitor-1", ""))
    assert "No class code was typed" in told["joined"] and "6 letters and digits" in told["joined"]
    code = room.open()
    left = tab.join("", as_browser("visitor-1", code))
    assert f"You have left class {code}" in left["joined"] and left["kept"]["code"] == ""


def test_weights_that_came_rounded_are_said_to_be_where_the_question_is_asked():
    def shown(of: str, *votes: str) -> str:
        question = next(it for it in bundled() if it.comparison.model.name == of)
        kept = browser.Kept("visitor-1", votes=dict.fromkeys((question.key,) if votes else (), question.quantized))
        return html.question(question, 1, 1, kept)

    for asked in (shown("smollm2"), shown("smollm2", "voted")):
        assert FOUR_BITS_ONCE in unescape(asked) and asked.index("Q4_1") < asked.index('class="quiz-answers"')
        assert "rounded once more" in asked
    assert "as it came" in shown("smollm2", "voted") and "not quantized" not in shown("smollm2", "voted")
    assert "not quantized" in shown("demo", "voted") and "once more" not in shown("demo")


def test_a_class_that_is_gone_is_left(app, room):
    updates = handlers(app, room).show(as_browser("visitor-1", "777777"))
    assert "There is no class 777777" in updates["joined"] and updates["kept"]["code"] == updates["code"] == ""


@pytest.mark.parametrize("public", [True, False])
def test_where_the_file_cannot_be_used_a_stranger_is_not_told_where_it_lies(tmp_path, public):
    (tmp_path / "file").write_text("")
    app = AppSettings(public=public, classroom_file=tmp_path / "file" / "classroom.sqlite")
    tab = handlers(app, classroom=ClassJobs(app))
    for updates in (tab.open(), tab.board("ACDEFG")):
        told = updates["board_problem"]
        assert ("cannot be used at the moment" in told, str(tmp_path) in told) == (public, not public)
    updates = tab.vote("A", as_browser("visitor-1", "ACDEFG"))
    assert "fault" in updates["problem"] and updates["kept"]["votes"] == {}
    assert "quiz-revealed" in tab.vote("A", as_browser("visitor-1", ""))["question"], "without a class it goes on"


def test_a_damaged_file_is_set_aside_and_classes_go_on(app):
    app.classroom_file.write_bytes(b"this is no database" * 1_000)
    jobs = ClassJobs(app)
    assert handlers(app, classroom=jobs).open()["board_code"] and "set aside" in jobs().warning


def test_a_page_without_classes_says_so():
    app = AppSettings(classroom_file=None)
    jobs = ClassJobs(AppSettings(classroom_file=""))
    assert jobs() is None
    assert "no classes on this page" in handlers(app, classroom=jobs).open()["board_problem"]


def test_a_comparison_becomes_a_question_at_home_and_in_public_never(tmp_path):
    at_home = AppSettings(quiz_folder=tmp_path / "quiz")
    record = replace(bundled()[1].comparison, prompt="A prompt of my own")
    real = real_services(at_home)
    tab = QuizHandlers(PARTS, at_home, real)
    updates = tab.make(record, as_browser("visitor-1", ""))
    assert "A prompt of my own" in updates["question"] and "Made, with" in updates["made"]
    assert "Nothing has been compared" in tab.make(None, None)["made"]
    public = real_services(AppSettings(public=True, quiz_folder=tmp_path / "quiz"))
    told = QuizHandlers(PARTS, AppSettings(public=True), public).make(record, None)["made"]
    assert "No questions can be made" in told and len(public.quiz()) == len(bundled()) + 1


def test_the_board_shows_how_far_predictions_are_off_and_escapes_what_it_shows():
    asked = Asked("How many <b>bits</b>?", truth=4.5, unit="bits")
    unknown = Asked("How many more?", unit="MB")
    shown = html.board(
        Board(
            "ACDEFG",
            3,
            predictions=(Predictions("a", asked, (2.0, 4.5, 9.5)), Predictions("b", unknown, (1.0, 2.0))),
            gone=2,
        )
    )
    assert "How many &lt;b&gt;bits&lt;/b&gt;? · 3 predictions, the middle one 4.50 bits; it is 4.50 bits" in shown
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th><td class="num">(\d+)</td>', shown))
    assert {name: count for name, count in rows.items() if count != "0"} == {
        "more than 50 % too low": "1",
        "within 10 %": "1",
        "more than 100 % too high": "1",
    }
    assert "the middle one 1.50 MB; it is -" in shown and "2 answers are to questions" in shown


def test_a_prompt_and_an_answer_are_shown_as_text():
    record = bundled()[0].comparison
    runs = tuple(replace(run, text=f"<img src=x>{run.precision}") for run in record.runs)
    question = question_of("own", replace(record, prompt="<script>alert(1)</script>", runs=runs))
    kept = browser.Kept("visitor-1")
    for shown in (html.question(question, 1, 1, kept), html.question(question, 1, 1, kept.voted(question, "fp32"))):
        assert "<script>" not in shown and "<img" not in shown and "&lt;script&gt;" in shown
