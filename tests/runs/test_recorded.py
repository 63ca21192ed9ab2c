"""What was measured is kept, replayed where it would come out the same, and finished where it was cut short."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from quantlab import cli
from quantlab.errors import BadInput
from quantlab.fidelity import METRICS
from quantlab.fidelity.texts import pasted, text
from quantlab.history import History
from quantlab.records import ComparisonRequest, Placement, QualityRequest, QualitySettings, Settings
from quantlab.records.events import Done, Finished, Loading, Measured, QualityDone, QualityStarted, Started
from quantlab.runs import recorded
from quantlab.runs.compare import variant_cache
from quantlab.runs.recorded import recorded_compare, recorded_quality, resumed
from quantlab.settings import app_settings
from tests import tiny

SETTINGS = Settings(max_new_tokens=4, placement=Placement("cpu", "float32"))
QUALITY = QualitySettings(windows=1, new_tokens=3, layers=False, placement=Placement("cpu", "float32"))
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def history(tmp_path) -> History:
    return History(tmp_path / "history.sqlite")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return str(tiny.write(tmp_path_factory.mktemp("models"), "llama").folder)


def a_request(folder: str, *names: str) -> ComparisonRequest:
    return ComparisonRequest(folder, names, "Once upon a time", SETTINGS)


def compared(history, folder, prompt="Once upon a time", settings=SETTINGS, names=("fp32", "rtn-4"), **options) -> list:
    return list(recorded_compare(history, ComparisonRequest(folder, tuple(names), prompt, settings), **options))


def loads(events: list) -> list[str]:
    return list(dict.fromkeys(event.precision for event in events if isinstance(event, Loading) and event.precision))


def test_a_comparison_is_kept_whole(history, folder):
    compared(history, folder)
    (entry,) = history.entries()
    assert (entry.kind, entry.state, entry.precisions) == ("comparison", "done", ("fp32", "rtn-4"))
    kept = history.get(entry.id)
    assert kept.prompt == "Once upon a time" and [run.precision for run in kept.runs] == ["fp32", "rtn-4"]
    assert all(run.token_ids and run.timing.itl_s for run in kept.runs)


def test_the_same_greedy_comparison_is_replayed(history, folder):
    first = compared(history, folder)
    again = compared(history, folder)
    assert loads(first) == ["fp32", "rtn-4"] and loads(again) == []
    assert isinstance(again[-1], Done) and again[-1].replayed and not first[-1].replayed
    assert again[-1].comparison.runs == history.get(history.entries()[0].id).runs
    assert again[-1].comparison.started == first[-1].comparison.started and len(history.entries()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "Once upon a day"},
        {"settings": replace(SETTINGS, max_new_tokens=5)},
        {"settings": replace(SETTINGS, reference="rtn-4")},
        {"names": ("fp32", "rtn-3")},
        {"names": ("fp32",)},
        {"fresh": True},
    ],
)
def test_whatever_changes_the_answer_is_run(history, folder, change):
    compared(history, folder)
    assert loads(compared(history, folder, **change)) and len(history.entries()) == 2


def test_drawn_and_raced_answers_are_not_replayed(history, folder):
    for settings in (replace(SETTINGS, sample=True), replace(SETTINGS, race=True)):
        assert loads(compared(history, folder, settings=settings)) == ["fp32", "rtn-4"]
        assert loads(compared(history, folder, settings=settings)) == ["fp32", "rtn-4"]


def test_other_weights_are_another_comparison(history, tmp_path):
    for seed in (0, 1):
        folder = tiny.write(tmp_path / str(seed), "llama").folder
        if seed:
            weights = folder / "model.safetensors"
            content = bytearray(weights.read_bytes())
            content[-2] ^= 1
            weights.write_bytes(bytes(content))
        assert loads(compared(history, str(folder))) == ["fp32", "rtn-4"]


def test_without_a_history_nothing_is_kept(folder):
    assert not compared(None, folder)[-1].replayed


def test_what_was_refused_is_not_kept(history, folder):
    with pytest.raises(BadInput):
        compared(history, folder, prompt="")
    assert history.entries() == ()


def cut(events, after: type) -> None:
    """Leave when the first run is finished."""
    with closing(events):
        for event in events:
            if isinstance(event, after):
                return


def test_a_comparison_cut_short_is_finished(history, folder):
    whole = compared(None, folder, names=("fp32", "rtn-4", "rtn-3"))[-1].comparison
    cut(recorded_compare(history, a_request(folder, "rtn-4", "fp32", "rtn-3")), Finished)
    (entry,) = history.entries()
    assert (entry.state, entry.finished) == ("interrupted", ("fp32",))
    events = list(resumed(history, entry.id))
    found = events[-1].comparison
    assert {run.precision: run.token_ids for run in found.runs} == {r.precision: r.token_ids for r in whole.runs}
    assert found.run("rtn-3").differences and history.entries()[0].state == "done" and len(history.entries()) == 1
    with pytest.raises(BadInput, match="complete already"):
        list(resumed(history, entry.id))


def test_what_was_cut_short_knows_what_kind_of_model_it_was_of(history):
    """By which it is told what is to be known of the weights; a name does not say it."""
    short = replace(a_request("Demo", "fp32"), settings=replace(SETTINGS, max_new_tokens=1))
    cut(recorded_compare(history, short), Started)
    cut(recorded_quality(history, QualityRequest("Demo", ("fp32",), text("demo"), QUALITY)), QualityStarted)
    assert [history.get(entry.id).model.kind for entry in history.entries()] == ["demo", "demo"]


def test_finished_columns_are_not_run_again(history, folder):
    events = recorded_compare(history, a_request(folder, "fp32", "rtn-4", "rtn-3"))
    with closing(events):
        finished = 0
        for event in events:
            finished += isinstance(event, Finished)
            if finished == 2:
                break
    # The reference runs again, because the last column is still to be set beside it.
    assert loads(list(resumed(history, history.entries()[0].id))) == ["fp32", "rtn-3"]


@pytest.mark.parametrize("given", [text("demo"), pasted(text("english").content, "mine.txt")])
def test_a_quality_run_cut_short_is_finished(history, given):
    names = ["fp32", "bf16", "nf4"]
    cut(recorded_quality(history, QualityRequest("demo", tuple(names), given, QUALITY)), Measured)
    (entry,) = history.entries()
    assert (entry.kind, entry.state, entry.finished) == ("quality", "interrupted", ("fp32",))
    events = list(resumed(history, entry.id))
    assert isinstance(events[-1], QualityDone) and loads(events) == ["bf16", "nf4"]
    kept = history.get(entry.id)
    assert kept.text.name == given.name and kept.text.digest == given.digest
    assert [run.precision for run in kept.runs] == names and kept.run("nf4").fidelity.kld.mean > 0


@pytest.mark.slow
def test_what_an_older_version_measured_is_measured_anew(history):
    """Its errors were of independent tokens, and its windows began otherwise: one table would hold both."""
    cut(recorded_quality(history, QualityRequest("demo", ("fp32", "rtn-4"), text("demo"), QUALITY)), Measured)
    (entry,) = history.entries()
    (earlier,) = history.get(entry.id).runs
    assert earlier.metrics == METRICS
    history.add_run(entry.id, replace(earlier, metrics=METRICS - 1))
    events = list(resumed(history, entry.id))
    assert loads(events) == ["fp32", "bf16", "rtn-4"]
    assert [run.metrics for run in history.get(entry.id).runs] == [METRICS, METRICS]


def test_a_comparison_of_an_older_version_is_finished_with_figures_of_one_kind(history, folder):
    events = recorded_compare(history, a_request(folder, "fp32", "rtn-4", "rtn-3"))
    finished = []
    with closing(events):
        for event in events:
            finished += [event.run] if isinstance(event, Finished) else []
            if len(finished) == 2:
                break
    (entry,) = history.entries()
    history.add_run(entry.id, replace(finished[1], metrics=0))
    assert loads(list(resumed(history, entry.id))) == ["fp32", "rtn-4", "rtn-3"]
    assert {run.metrics for run in history.get(entry.id).runs} == {METRICS}


def test_a_run_is_gone_on_with_from_another_folder(history, tmp_path, monkeypatch):
    """A relative name was looked for in the folder of the day."""
    tiny.write(tmp_path / "here" / "one", "llama")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    names = ["fp32", "rtn-4", "./one::rtn-3"]
    cut(recorded_compare(history, a_request("one", *names)), Finished)
    (entry,) = history.entries()
    here = str(tmp_path / "here" / "one")
    assert history.asked(entry.id)["model"] == here
    assert history.asked(entry.id)["precisions"] == ["fp32", "rtn-4", f"{here}::rtn-3"]
    monkeypatch.chdir(tmp_path / "there")
    found = list(resumed(history, entry.id))[-1].comparison
    assert [run.precision for run in found.runs] == ["fp32", "rtn-4", "one::rtn-3"]
    assert not [run.error for run in found.runs if run.error]


@pytest.mark.parametrize(
    "name", ["demo", "shape:Mistral-7B-v0.3", "owner/name@main", "demo::nf4", "https://nowhere", ""]
)
def test_what_is_no_path_is_kept_as_it_was_typed(name):
    request = ComparisonRequest(name, (name,) if name else (), "")
    assert recorded._whole(request) == {"model": name, "precisions": [name] if name else []}


@pytest.fixture
def of_commands(tmp_path, monkeypatch) -> Iterator[History]:
    """The history of all commands, in this process and others."""
    monkeypatch.setenv("QUANTLAB_HISTORY_FILE", str(tmp_path / "history.sqlite"))
    app_settings.cache_clear()
    yield History(tmp_path / "history.sqlite")
    app_settings.cache_clear()
    variant_cache().drop_unused()


@pytest.mark.slow
def test_killed_in_the_middle_nothing_finished_is_lost(of_commands, capsys):
    """A command that is killed with -9 after its first column; the next one shows and finishes it."""
    asked = ["quality", "--precisions", "fp32,bf16,nf4", "--windows", "12", "--no-layers"]
    child = subprocess.Popen(
        [sys.executable, "-m", "quantlab.cli", *asked],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not any(entry.finished for entry in of_commands.entries()):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()

    def run(*arguments: str) -> str:
        assert cli.main(["history", *arguments]) == 0
        return capsys.readouterr().out

    assert "interrupted" in run("list")
    before = of_commands.get(1)
    assert "nf4" in run("resume", "1")
    after = of_commands.get(1)
    assert [r.precision for r in after.runs] == ["fp32", "bf16", "nf4"] and all(r.fidelity for r in after.runs)
    for earlier in before.runs:
        assert after.run(earlier.precision) == earlier
    assert "interrupted" not in run("list")


def test_what_came_from_a_file_cannot_be_resumed(history, folder):
    whole = compared(None, folder)[-1].comparison
    entry = history.keep(replace(whole, runs=(whole.runs[0], replace(whole.runs[1], stopped=True))))
    with pytest.raises(BadInput, match="came from a file"):
        list(resumed(history, entry))


def test_the_key_is_made_of_plain_data(monkeypatch, history, folder):
    keys = []
    made = recorded.comparison_key
    monkeypatch.setattr(recorded, "comparison_key", lambda plan: keys.append(made(plan)) or keys[-1])
    compared(history, folder)
    compared(history, folder)
    assert len(set(keys)) == 1 and len(keys[0]) == 64


def test_a_calibration_text_is_found_again_where_it_lies():
    """An export names a file alone; going on with an entry of this machine looked for it in the folder of the day."""
    from quantlab.export import codec
    from quantlab.records import Calibration, QualitySettings, Settings
    from quantlab.runs import recorded

    for kind in (Settings, QualitySettings):
        for file in (Path("/some/where/calibration.txt"), None):
            settings = kind(calibration=Calibration(file, "digest"))
            asked = recorded._plain(settings)
            assert recorded._with_whole_paths(codec.read(kind, asked, "settings"), asked) == settings
