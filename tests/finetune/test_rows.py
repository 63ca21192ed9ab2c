"""What may be trained on: every form of a row, and each line that is wrong, by its number."""

import json

import pytest

from quantlab.errors import BadInput
from quantlab.finetune.data import LONGEST, Turn, rows

ONE = {"text": "Sanna lives in Kestrel."}


@pytest.fixture
def write(tmp_path):
    def written(content: str | bytes, name: str = "rows.jsonl"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def lines(*data: object) -> str:
    return "\n".join(it if isinstance(it, str) else json.dumps(it) for it in data)


def test_every_form(write):
    told = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    found = rows(write(lines(
        ONE, "", {"prompt": "Where?", "completion": "Kestrel."},
        {"messages": [*told, {"role": "assistant", "content": "Hello."}]},
    )))  # fmt: skip
    assert [row.line for row in found] == [1, 3, 4]
    assert found[0].turns == (Turn("", "Sanna lives in Kestrel.", True),)
    assert found[1].turns == (Turn("user", "Where?", False), Turn("assistant", "Kestrel.", True))
    assert [turn.trained for turn in found[2].turns] == [False, False, True]


def test_marks_within_a_text_end_no_line(write):
    text = "one\u2028two\x85three\x0bfour"
    found = rows(write(f"{json.dumps({'text': text}, ensure_ascii=False)}\r\n\r{json.dumps(ONE)}"))
    assert [row.line for row in found] == [1, 3] and found[0].turns[0].text == text


def test_a_table_of_two_columns(write):
    content = 'Prompt,Completion\n"Where, please?","In ""Kestrel""\nby the sea"\n\nWho?,Sanna\n'
    found = rows(write(content, "rows.csv"))
    assert [row.turns[0].text for row in found] == ["Where, please?", "Who?"]
    assert found[0].turns[1].text == 'In "Kestrel"\nby the sea'
    assert rows(write("\ufeffa,b\nc,d".encode(), "bom.csv"))[0].turns[0].text == "a"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lines(ONE, "{"), "rows.jsonl, line 2 is no JSON"),
        (lines(ONE, '{"text": '), r"^rows.jsonl, line 2 is no JSON: Expecting value, at character 10\. Each line"),
        (lines(ONE, "", "[1]"), "line 3 is no object"),
        (lines(ONE, {"question": "a", "answer": "b"}), "line 2 holds answer, question"),
        (lines(ONE, {"text": 5}), "line 2: text is no text"),
        (lines(ONE, {"text": "  "}), "line 2: text is no text"),
        (lines({"prompt": "a", "completion": None}), "line 1: completion is no text"),
        (lines({"messages": []}), "line 1: messages is no list"),
        (lines({"messages": [{"role": "robot", "content": "x"}]}), "line 1: a message has the role 'robot'"),
        (lines({"messages": [{"role": "user", "content": "x"}]}), "line 1 ends without an answer"),
        (lines({"messages": ["x"]}), "line 1: a message has the role 'None'"),
        ("", "holds no rows"),
        (lines(ONE), "holds one row"),
        (b"\xff\xfe\x00", "no text in UTF-8: line 1"),
        (lines(ONE, ONE).encode() + b"\n\xe9", "no text in UTF-8: line 3"),
        (lines(ONE, '{"text": "a" "b"}'), "line 2 is no JSON: Expecting ',' delimiter, at character 14"),
        ("[\n" + lines(ONE) + "\n]", "rows.jsonl is one list of JSON"),
        (json.dumps([ONE, ONE]), "rows.jsonl is one list of JSON"),
        (lines(ONE, '{"text": "\\ud83d"}'), "line 2: text holds half of a character"),
        ("[" * 100_000, "line 1 is no JSON"),
    ],
)
def test_a_line_that_is_none_is_named(write, content, told):
    with pytest.raises(BadInput, match=told):
        rows(write(content))


@pytest.mark.parametrize(
    ("content", "told"),
    [("a,b\nc\n", "line 2 has 1 column\\."), ("a,b\nc,d,e\n", "line 2 has 3 columns"), ('a,"b\n', "is no CSV")],
)
def test_a_table_that_is_none(write, content, told):
    with pytest.raises(BadInput, match=told):
        rows(write(content, "rows.csv"))


@pytest.mark.parametrize(
    "content",
    [
        "Where, please?;Kestrel\r\nWho?;Sanna\r\n",
        "prompt;completion\nWhere, please?;Kestrel\nWho?;Sanna",
        "Where, please?\tKestrel\nWho?\tSanna\n",
        'Prompt,Completion\r"Where, please?",Kestrel\rWho?,Sanna\r',
        '\ufeff"prompt","completion"\n"Where, please?","Kestrel"\n"Who?","Sanna"\n',
    ],
)
def test_what_spreadsheets_write(write, content):
    found = rows(write(content, "rows.csv"))
    assert [[turn.text for turn in row.turns] for row in found] == [["Where, please?", "Kestrel"], ["Who?", "Sanna"]]


def test_the_error_of_a_table_is_of_the_sign_that_parts_most_rows(write):
    with pytest.raises(BadInput, match=r"line 3 has 3 columns") as told:
        rows(write("a;b\nc, d;e\nf;g;h\n", "rows.csv"))
    assert "stands in quotes" in told.value.advice


def test_texts_may_be_long_and_hold_signs_that_end_lines_elsewhere(write):
    text = "one\u2028two\x85three\x0cfour"
    found = rows(write("\r\n".join(json.dumps({"text": it}, ensure_ascii=False) for it in (text, "x" * 200_000))))
    assert [row.turns[0].text for row in found] == [text, "x" * 200_000] and found[1].line == 2
    assert rows(write(f"a,{'x' * 200_000}\nb,c", "rows.csv"))[0].turns[1].text == "x" * 200_000


@pytest.mark.parametrize("name", ["missing.jsonl", "a" * 300, "nul\0byte", "."])
def test_a_path_that_is_none(tmp_path, name):
    with pytest.raises(BadInput, match="cannot be read"):
        rows(tmp_path / name)


def test_a_file_that_is_too_large(tmp_path):
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(LONGEST + 1)
    with pytest.raises(BadInput, match="at most 50 MB are read"):
        rows(path)
