"""A sweep's file: what is wrong in it is told by line and field, before anything loads."""

from pathlib import Path

import pytest

from quantlab.errors import BadInput
from quantlab.models import hub
from quantlab.models.hub.errors import OutOfReach
from quantlab.runs.sweep.asked import MAX_BYTES, looked_up, read

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
    ("windows: 2", "windows: two", 8, "windows", "a whole number is needed, and this is the text 'two'"),
    ("windows: 2", "windows: 0", 8, "windows", "0 is too few: at least 1 is needed"),
    ("windows: 2", "windows: true", 8, "windows", "a whole number is needed, and this is true"),
    ("windows: 2", "windows:", 8, "windows", "a whole number is needed, and it is empty"),
    ("windows: 2", "layers: 1", 8, "layers", "true or false is needed, and this is the number 1"),
    ("windows: 2", "device: tpu", 8, "device", "Unknown device 'tpu'"),
    ("windows: 2", "windows: 2\nwindows: 3", 8, "windows", "again on line 9"),
    (
        "models: [demo, smollm2]",
        "models: demo",
        1,
        "models",
        "a list is needed, such as [one, two], and this is the text 'demo'",
    ),
    ("models: [demo, smollm2]", "models: []", 1, "models", "the list is empty, and at least one is needed"),
    ("models: [demo, smollm2]", "models: [demo, ./nowhere]", 1, "models[2]", "There is no folder './nowhere'"),
    ("models: [demo, smollm2]", "models: [demo, shape:Mistrall]", 1, "models[2]", "Mistral-7B-v0.3"),
    ("models: [demo, smollm2]\n", "", 1, "models", "the field is missing"),
    ("  - rtn-4-g64", "  - rtn-5", 4, "precisions[2]", "Unknown precision 'rtn-5'"),
    ("  - rtn-4-g64", "  - 4", 4, "precisions[2]", "a text is needed, and this is the number 4; put quotes around it"),
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


def test_all_that_is_wrong_is_told_at_once_each_with_its_place(tmp_path):
    bad = """\
models: [demo, ./nowhere]
precisions: [fp32, 4, rtn-5]
texts: [english, nosuch.txt]
tasks: [demo_fakts]
windows: two
layer: true
"""
    with pytest.raises(BadInput) as raised:
        read(a_file(tmp_path, bad))
    head, *told = raised.value.what.splitlines()
    assert head == "mine.yaml has 7 faults:"
    assert [it.strip().split(": ")[0] for it in told] == [
        *(
            "line 1, models[2]",
            "line 2, precisions[2]",
            "line 2, precisions[3]",
            "line 3, texts[2]",
            "line 4, tasks[1]",
        ),
        *("line 5, windows", "line 6, layer"),
    ]
    assert "Input should be" not in raised.value.what and "Did you mean demo_facts" in raised.value.what


def test_of_very_many_faults_the_first_are_told(tmp_path):
    names = ", ".join(f"rtn-{i}" for i in range(50, 90))
    with pytest.raises(BadInput) as raised:
        read(a_file(tmp_path, f"models: [demo]\nprecisions: [{names}]\ntexts: [demo]\n"))
    assert raised.value.what.startswith("mine.yaml has 40 faults:") and raised.value.what.endswith("and 20 more")


def test_a_plan_looks_up_what_needs_no_weights(tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    file = a_file(tmp_path, f"models: [demo, '{broken}']\nprecisions: [fp32, '{broken}', owner/name]\ntexts: [demo]\n")
    assert read(file).models == ("demo", str(broken))
    monkeypatch.setattr(hub, "peek", out_of_reach)
    monkeypatch.setattr(hub, "outlined", out_of_reach)
    with pytest.raises(BadInput) as raised:
        looked_up(file)
    assert "line 1, models[2]: " in raised.value.what and "line 2, precisions[2]: " in raised.value.what
    assert raised.value.what.count("config.json") == 2 and "owner/name" not in raised.value.what


def test_what_the_hub_would_have_to_tell_is_left_out_unless_it_is_nearly_a_known_name(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "peek", out_of_reach)
    monkeypatch.setattr(hub, "outlined", out_of_reach)
    asked, left = looked_up(a_file(tmp_path, GOOD.replace("[demo, smollm2]", "[demo, owner/name]")))
    assert asked.models == ("demo", "owner/name")
    assert left == ("owner/name was not looked up. The Hub is out of reach.",)
    with pytest.raises(BadInput, match=r"line 1, models\[2\]: there is no model 'demoo' here") as raised:
        looked_up(a_file(tmp_path, GOOD.replace("[demo, smollm2]", "[demo, demoo]")))
    assert raised.value.advice == "Did you mean demo?"


def out_of_reach(*asked):
    raise OutOfReach("The Hub is out of reach.", "Check the network.")


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
