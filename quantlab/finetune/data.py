"""Rows to train on, from JSONL or CSV: texts, prompts with their completions, conversations."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantlab.errors import BadInput
from quantlab.records import units

#: The largest file that is read, in bytes.
LONGEST = 50 * 10**6
_LINE_END = re.compile(r"\r\n|\n|\r")
#: What may stand between the two cells of a row.
_BETWEEN = (",", ";", "\t")
ROLES = ("system", "user", "assistant")
_FORMS = 'Each line is an object such as {"text": ..}, {"prompt": .., "completion": ..} or {"messages": [..]}.'


@dataclass(frozen=True)
class Turn:
    """One part of a row. `role` is empty for text that no chat template is laid around; `trained`: a loss is taken of
    it."""

    role: str
    text: str
    trained: bool


@dataclass(frozen=True)
class Row:
    """One row of the file, which began at `line`."""

    line: int
    turns: tuple[Turn, ...]


def digest(path: Path) -> str:
    """Of the whole file, by which it is known again. Raises BadInput where it cannot be read."""
    return _digest(_bytes(path))


def rows(path: Path, expected: str | None = None) -> tuple[Row, ...]:
    """All rows of a `.jsonl` or `.csv` file. Raises BadInput naming the file and the line that is not as it must be;
    also where the file's digest is not the `expected` one."""
    read = _bytes(path)
    if expected is not None and _digest(read) != expected:
        raise BadInput(f"{path.name} changed while it was read.", "Start again when nothing writes to it any more.")
    content = _text_of(read, path.name)
    found = tuple(_csv(content, path.name) if path.suffix.lower() == ".csv" else _jsonl(content, path.name))
    if len(found) < 2:
        raise BadInput(
            f"{path.name} holds {'one row' if found else 'no rows'}.",
            "At least two are needed: one to train on, one to see whether something was learnt.",
        )
    if not any(turn.trained for row in found for turn in row.turns):
        raise BadInput(f"{path.name} holds nothing that an answer could be learnt from.", _FORMS)
    return found


def _digest(read: bytes) -> str:
    return hashlib.sha256(read).hexdigest()


def _text_of(read: bytes, name: str) -> str:
    try:
        return read.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = read.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{name} is no text in UTF-8: line {line:,} cannot be read.",
            "Save the file as UTF-8 (in Excel: CSV UTF-8).",
        ) from None


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LONGEST:
            raise BadInput(
                f"{path.name} holds {size / 1e6:,.0f} MB; at most {LONGEST / 1e6:.0f} MB are read.",
                "Choose a part of it: adapters learn from some thousand rows.",
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"{str(path)[:200]!r} cannot be read: {why}.", "Give the path of a JSONL or CSV file.") from None


def _jsonl(content: str, name: str) -> Iterator[Row]:
    # `splitlines` would part a line at marks that a text within JSON may hold.
    for at, line in enumerate(_LINE_END.split(content), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except json.JSONDecodeError as error:  # its own words name the line once more, which is always 1 here
            if at == 1 and line.strip() == "[":
                raise _one_list(name) from None
            raise BadInput(f"{name}, line {at} is no JSON: {error.msg}, at character {error.colno}.", _FORMS) from None
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{name}, line {at} is no JSON: {error}.", _FORMS) from None
        if at == 1 and isinstance(data, list):
            raise _one_list(name)
        yield _row(data, at, name)


def _one_list(name: str) -> BadInput:
    return BadInput(f"{name} is one list of JSON.", f"Write its rows without the brackets around them. {_FORMS}")


@dataclass(frozen=True)
class _Table:
    """Rows of cells with their lines, by one sign between cells; and what is wrong with the line behind the last."""

    rows: tuple[tuple[int, list[str]], ...]
    wrong: BadInput | None


def _csv(content: str, name: str) -> Iterator[Row]:
    """Two columns: prompt and completion; a first line that says so is left out. Between them stands whichever of the
    signs parts all rows in two: spreadsheets of many countries write a semicolon."""
    tables = [_table(content, name, sign) for sign in _BETWEEN]
    found = next((it for it in tables if it.wrong is None), None) or max(tables, key=lambda it: len(it.rows))
    if found.wrong is not None:
        raise found.wrong
    for at, (line, cells) in enumerate(found.rows):
        if at == 0 and [cell.strip().lower() for cell in cells] == ["prompt", "completion"]:
            continue
        yield _row(dict(zip(("prompt", "completion"), cells, strict=True)), line, name)


def _table(content: str, name: str, sign: str) -> _Table:
    csv.field_size_limit(LONGEST)  # Python's own would refuse long texts
    reader = csv.reader(io.StringIO(content, newline=""), strict=True, delimiter=sign)
    found: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != 2:
                said = BadInput(
                    f"{name}, line {reader.line_num} has {units.counted(len(cells), 'column')}.",
                    "Two are needed: prompt, completion. A cell with a comma or a line break in it stands in quotes.",
                )
                return _Table(tuple(found), said)
            found.append((reader.line_num, cells))
    except csv.Error as error:
        said = BadInput(
            f"{name}, line {reader.line_num} is no CSV: {error}.",
            "A quote within a cell in quotes is written twice; each cell that opens a quote closes it.",
        )
        return _Table(tuple(found), said)
    return _Table(tuple(found), None)


def _row(data: Any, line: int, name: str) -> Row:
    keys = set(data) if isinstance(data, Mapping) else set()
    if keys == {"text"}:
        return Row(line, (Turn("", _text(data, "text", line, name), True),))
    if keys == {"prompt", "completion"}:
        asked, answer = (_text(data, key, line, name) for key in ("prompt", "completion"))
        return Row(line, (Turn("user", asked, False), Turn("assistant", answer, True)))
    if keys == {"messages"}:
        return Row(line, tuple(_turns(data["messages"], line, name)))
    held = f"holds {', '.join(sorted(map(str, keys)))[:100]}" if keys else "is no object with fields"
    raise BadInput(f"{name}, line {line} {held}.", _FORMS)


def _turns(messages: Any, line: int, name: str) -> Iterator[Turn]:
    if not isinstance(messages, list) or not messages:
        raise BadInput(f"{name}, line {line}: messages is no list with something in it.", _FORMS)
    for message in messages:
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in ROLES:
            raise BadInput(
                f"{name}, line {line}: a message has the role {str(role)[:40]!r}.", f"Choose from: {', '.join(ROLES)}."
            )
        yield Turn(role, _text(message, "content", line, name), role == "assistant")
    if role != "assistant":
        raise BadInput(f"{name}, line {line} ends without an answer.", "The last message must be the assistant's.")


def _text(data: Mapping[str, Any], key: str, line: int, name: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"{name}, line {line}: {key} is no text with something in it.", _FORMS)
    if any("\ud800" <= it <= "\udfff" for it in value):
        raise BadInput(f"{name}, line {line}: {key} holds half of a character.", "Write the file anew, in UTF-8.")
    return value
