"""A sweep goes on where it was: after a stop, a kill -9, a model that is not there, a cell that fails."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from quantlab import cli, models
from quantlab.cli.render.sweep import Board
from quantlab.errors import BadInput
from quantlab.methods import PRECISIONS, refusal
from quantlab.records import QualityRequest
from quantlab.records.swept import CellEnded, SweepAsked, SweepStarted
from quantlab.runs.compare import variant_cache
from quantlab.runs.sweep.asked import read
from quantlab.runs.sweep.outcome import outcome
from quantlab.runs.sweep.planning import jobs
from quantlab.runs.sweep.running import Progress, found, looked_into, opened, run
from quantlab.settings import app_settings
from tests import tiny

ROOT = Path(__file__).resolve().parents[3]
PROMPTS = 250


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[str, str]:
    at = tmp_path_factory.mktemp("models")
    return tuple(str(tiny.write(at / name, "llama", seed=seed).folder) for seed, name in enumerate(("one", "two")))


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    variant_cache().drop_unused()


def asked(*models_asked: str, **changes) -> SweepAsked:
    given = {"precisions": ("fp32", "rtn-4"), "prompts": ("Once upon a time",), "max_new_tokens": 2, "device": "cpu"}
    return SweepAsked(Path("mine.yaml"), models_asked, **(given | changes))


def swept(folder: Path, what: SweepAsked, **options) -> tuple[list, Progress]:
    progress = Progress()
    with opened(folder) as history:
        return list(run(history, jobs(what), progress, **options)), progress


def result(folder: Path, what: SweepAsked, progress: Progress):
    with opened(folder) as history:
        return outcome(history, what, jobs(what), progress)


def ended(events: list) -> list[tuple[str, str, str]]:
    return [(Path(it.place.model).name, it.place.precision, it.outcome) for it in events if isinstance(it, CellEnded)]


def test_tasks_are_answered_with_the_first_text_alone():
    what = asked("demo", "smollm2", texts=("demo", "english"), tasks=("demo_facts",))
    requests = [job.request for job in jobs(what)]
    assert [it.model for it in requests] == ["demo"] * 3 + ["smollm2"] * 3
    tasks = [it.settings.tasks for it in requests if isinstance(it, QualityRequest)]
    assert tasks == [("demo_facts",), ()] * 2
    assert sum(len(job.places) for job in jobs(what)) == 2 * 2 * 3


def test_what_is_there_is_not_measured_again(tmp_path, folders):
    what = asked(folders[0])
    events, _ = swept(tmp_path, what)
    assert ended(events) == [("one", "fp32", "done"), ("one", "rtn-4", "done")]
    again, progress = swept(tmp_path, what)
    assert again == [SweepStarted({folders[0]: 2}, {folders[0]: 2})]
    cells = result(tmp_path, what, progress).cells
    assert (cells[0].place.precision, cells[0].reference, cells[0].same_answer) == ("fp32", True, None)
    assert all(it.stored_bytes and it.entry for it in cells)
    more, _ = swept(tmp_path, asked(folders[0], prompts=("Once upon a time", "The end")))
    assert [it.place.read for it in more if isinstance(it, CellEnded)] == ["The end"] * 2


def test_what_cannot_run_is_a_card_and_the_rest_goes_on(tmp_path, folders):
    found_here = models.checkpoint(models.resolve(folders[0], app_settings()))
    never = next(name for name, it in PRECISIONS.items() if refusal(it, found_here, "cpu"))
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text("{")
    what = asked(str(damaged), folders[0], precisions=("fp32", never))
    events, progress = swept(tmp_path / "out", what)
    assert ended(events) == [
        *(("damaged", name, "failed") for name in ("fp32", never)),
        ("one", "fp32", "done"),
        ("one", never, "failed"),
    ]
    sweep = result(tmp_path / "out", what, progress)
    told = {(Path(cell.place.model).name, cell.place.precision): cell.error for cell in sweep.cells}
    assert "config.json" in told["damaged", "fp32"] and "cannot run here" in told["one", never] and sweep.missing == 0


def test_a_defect_of_one_job_is_a_card_too(tmp_path, folders, monkeypatch):
    from quantlab.runs.sweep import running

    real = running.recorded_compare

    def breaking(history, request, **options):
        if request.prompt == "bad":
            raise ZeroDivisionError
        return real(history, request, **options)

    monkeypatch.setattr(running, "recorded_compare", breaking)
    events, _ = swept(tmp_path, asked(folders[0], prompts=("bad", "good")))
    assert [it.outcome for it in events if isinstance(it, CellEnded)] == ["failed", "failed", "done", "done"]
    assert any("ZeroDivisionError" in it.error for it in events if isinstance(it, CellEnded))


def test_what_failed_is_measured_once_more_when_that_is_asked_for(tmp_path, folders, monkeypatch):
    from quantlab.runs.compare import ComparisonJob, failed

    what, real = asked(folders[0]), ComparisonJob.column

    def failing(self, entrant):
        if entrant.name == "rtn-4":
            yield from ()
            return failed(entrant, BadInput("no"))
        return (yield from real(self, entrant))

    monkeypatch.setattr(ComparisonJob, "column", failing)
    assert ended(swept(tmp_path, what)[0])[-1] == ("one", "rtn-4", "failed")
    monkeypatch.undo()
    assert ended(swept(tmp_path, what)[0]) == []
    assert ended(swept(tmp_path, what, retry=True)[0])[-1] == ("one", "rtn-4", "done")
    with opened(tmp_path) as history:
        assert [entry.failed for entry in history.entries()] == [()]


def test_a_plan_of_one_cell_writes_nothing_also_while_the_sweep_is_worked_on(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "one.yaml"
    file.write_text(json.dumps({"models": ["demo"], "precisions": ["fp32"], "prompts": ["Hello"], "device": "cpu"}))
    assert cli.main(["sweep", str(file), "--plan", "--out", str(tmp_path / "deep" / "out")]) == 0
    assert "1 cell, 0 there already" in " ".join(capsys.readouterr().out.split())
    assert [it.name for it in tmp_path.iterdir()] == ["one.yaml"]
    with opened(tmp_path / "out") as history, looked_into(tmp_path / "out") as copy:
        assert copy is not None and copy.file != history.file and copy.entries() == ()
    assert cli.main(["sweep", "none.yaml", "--plan"]) == cli.REFUSED


def test_what_a_job_that_is_gone_on_with_tells_again_counts_as_there_already(tmp_path, folders):
    what, stop = asked(folders[0], precisions=("fp32", "rtn-4", "rtn-3")), threading.Event()
    with opened(tmp_path) as history, closing(run(history, jobs(what), Progress(), stop=stop)) as events:
        next(event for event in events if isinstance(event, CellEnded))
        stop.set()
        list(events)
    board = Board()
    with opened(tmp_path) as history:
        events = list(run(history, jobs(what), Progress()))
    for event in events:
        board.see(event)
    told = [it for it in events if isinstance(it, CellEnded)]
    assert events[0].earlier == {folders[0]: 1} and [it.earlier for it in told] == [True, False, False]
    assert board.measured == 2 and board.done == {folders[0]: 3} and board.left == 0


def test_two_do_not_work_on_one_sweep(tmp_path):
    with opened(tmp_path), pytest.raises(BadInput, match="being worked on"), opened(tmp_path):
        pass


def cells_in(folder: Path, what: SweepAsked) -> Counter[tuple[str, str, str]]:
    """How often each cell is in the history with figures."""
    counted: Counter[tuple[str, str, str]] = Counter()
    with opened(folder) as history:
        for entry in history.entries(limit=10_000):
            record = history.get(entry.id)
            done = [it for it in record.runs if not it.error and not it.stopped]
            counted.update((record.model.name, it.precision, record.prompt) for it in done)
    return counted


@pytest.mark.slow
def test_a_thousand_cells_killed_and_gone_on_with(tmp_path, folders):
    """kill -9 in the middle of one: what was told as done is there, and nothing is measured twice."""
    file, out = tmp_path / "large.yaml", tmp_path / "large.sweep"
    prompts = [f"Once upon a time, {i}" for i in range(PROMPTS)]
    written = {"models": list(folders), "precisions": ["fp32", "rtn-4"], "prompts": prompts, "max_new_tokens": 2}
    file.write_text(json.dumps(written | {"device": "cpu"}))  # JSON is YAML
    what = read(file)
    assert sum(len(job.places) for job in jobs(what)) == 1_000
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "quantlab.cli", "sweep", str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:
        told = []
        for line in process.stderr:
            told.append(line)
            if sum(": done" in it for it in told) >= 9:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert told[0].startswith("1,000 cells, 0 there"), told[:3]
    before = cells_in(out, what)
    # Each was kept before it was told.
    assert len(before) >= 9 and set(before.values()) == {1}

    stop, seen = threading.Event(), []
    with opened(out) as history:
        left = found(history, jobs(what))
        assert sum(len(entry.finished) for entry in left.values()) == len(before)
        for event in run(history, jobs(what), Progress(), stop=stop):
            seen.append(event)
            if len(ended(seen)) >= len(before) + 6:
                stop.set()
    assert sum(seen[0].earlier.values()) == len(before)
    after = cells_in(out, what)
    assert before.keys() < after.keys() and set(after.values()) == {1}
    assert len(after) >= len(before) + 4


@pytest.mark.slow
def test_the_command_line_writes_its_reports(tmp_path, folders, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.yaml"
    file.write_text(
        json.dumps({"models": ["demo"], "precisions": ["fp32", "rtn-4", "rtn-3"], "texts": ["demo"], "windows": 1})
    )
    assert cli.main(["sweep", str(file), "--plan"]) == 0
    assert "3 cells, 0 there already" in " ".join(capsys.readouterr().out.split())
    assert [it.name for it in tmp_path.iterdir()] == ["mine.yaml"], "a plan writes nothing"
    assert cli.main(["sweep", str(file)]) == 0
    told = capsys.readouterr()
    assert "demo, rtn-3, demo: done" in told.err
    assert "3 cells measured now, 0 there already, 0 failed, 0 not measured." in " ".join(told.out.split())
    assert all(len(line) <= 80 for line in told.out.splitlines())
    report = json.loads((tmp_path / "mine.sweep" / "report.json").read_text())
    assert report["schema"] == "quantlab.sweep/1" and [cell["outcome"] for cell in report["cells"]] == ["done"] * 3
    klds = [cell["kld"] for cell in report["cells"]]
    assert klds[0] == 0 < klds[1] < klds[2]
    page = (tmp_path / "mine.sweep" / "report.html").read_text()
    assert "Distance (mean KLD) on demo" in page and "rtn-3" in page
    before = {it: it.stat().st_mtime_ns for it in (tmp_path / "mine.sweep").rglob("*")}
    assert cli.main(["sweep", str(file), "--plan"]) == 0
    assert "3 cells, 3 there already" in " ".join(capsys.readouterr().out.split())
    assert {it: it.stat().st_mtime_ns for it in (tmp_path / "mine.sweep").rglob("*")} == before
    assert cli.main(["sweep", str(file)]) == 0
    assert "0 cells measured now, 3 there already" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        cli.main(["sweep"])
    assert cli.main(["sweep", "nosuch.yaml"]) == cli.REFUSED
