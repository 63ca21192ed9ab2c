"""A sweep's file: what is wrong in it is told by line and field, before anything loads."""

from pathlib import Path

import pytest

from quantlab.errors import BadInput
from quantlab.runs.sweep.asked import MAX_BYTES, read

GOOD = """\
models: [demo, smollm2]
precisions:
  - fp32
  - rtn-4-g64
texts: [demo, english]
tasks: [demo_facts]
prompts: ["Who is Ada?"]
windows: 2
"""


def a_file(tmp_path: Path, content: str | bytes) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_a_good_file_is_read(tmp_path):
    found = read(a_file(tmp_path, GOOD))
    assert found.models == ("demo", "smollm2") and found.precisions == ("fp32", "rtn-4-g64")
    assert (found.texts, found.tasks, found.prompts) == (("demo", "english"), ("demo_facts",), ("Who is Ada?",))
    assert (found.windows, found.layers, found.device) == (2, False, "auto")


#: What is put in place of what, and the line and the words that the error has.
FAULTS = (
    ("windows: 2", "windwos: 2", 8, "windwos", "Did you mean windows?"),
    ("windows: 2", "windows: two", 8, "windows", "valid integer"),
    ("windows: 2", "windows: 0", 8, "windows", "greater than or equal to 1"),
    ("windows: 2", "windows: true", 8, "windows", "valid integer"),
    ("windows: 2", "windows: 2\nwindows: 3", 8, "windows", "again on line 9"),
    ("models: [demo, smollm2]", "models: demo", 1, "models", "valid list"),
    ("models: [demo, smollm2]", "models: []", 1, "models", "at least 1 item"),
    ("models: [demo, smollm2]", "models: [demo, ./nowhere]", 1, "models[2]", "no model './nowhere'"),
    ("models: [demo, smollm2]\n", "", 1, "models", "required"),
    ("  - rtn-4-g64", "  - rtn-5", 4, "precisions[2]", "Unknown precision 'rtn-5'"),
    ("  - rtn-4-g64", "  - 4", 4, "precisions[2]", "valid string"),
    ("  - rtn-4-g64", "  - fp32", 4, "precisions[2]", "is there twice"),
    ("  - rtn-4-g64", "  - ''", 4, "precisions[2]", "is empty"),
    ("texts: [demo, english]", "texts: [demo, nosuch.txt]", 5, "texts[2]", "cannot be read"),
    ("tasks: [demo_facts]", "tasks: [demo_fakts]", 6, "tasks[1]", "Did you mean demo_facts"),
    ("tasks: [demo_facts]", "reference: nf4", 6, "reference", "not among the precisions"),
    ("texts: [demo, english]", "layers: false", 6, "tasks", "beside a text"),
)


@pytest.mark.parametrize(("good", "bad", "line", "field", "told"), FAULTS, ids=[fault[1][:30] for fault in FAULTS])
def test_a_fault_is_told_by_its_line_and_field(tmp_path, good, bad, line, field, told):
    assert good in GOOD
    with pytest.raises(BadInput) as raised:
        read(a_file(tmp_path, GOOD.replace(good, bad)))
    assert raised.value.what.startswith(f"mine.yaml, line {line}, {field}: "), raised.value.what
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("- demo", "line 1, the file: a sweep is made of fields"),
        ("models: [demo\nprecisions: [", "line 2: this is no YAML"),
        ("a: &a [x]\nmodels: *a", "line 2: references"),
        (b"models: [\xff]", "not UTF-8: byte 9"),
        ("models: [demo]\x00", "is no YAML"),
        ("? [a, b]\n: c", "Unknown field"),
        ("[" * 500, "line 1: lists within lists"),
        (" " * (MAX_BYTES + 1), "larger than 1 MB"),
    ],
)
def test_what_is_no_sweep_at_all_is_refused(tmp_path, content, told):
    with pytest.raises(BadInput, match=r"mine\.yaml") as raised:
        read(a_file(tmp_path, content))
    assert told in str(raised.value)


def test_more_cells_than_could_ever_be_measured_are_refused(tmp_path):
    prompts = "".join(f"  - prompt {i}\n" for i in range(40_000))
    with pytest.raises(BadInput, match="160,008 cells"):
        read(a_file(tmp_path, GOOD.replace('prompts: ["Who is Ada?"]', f"prompts:\n{prompts}")))
