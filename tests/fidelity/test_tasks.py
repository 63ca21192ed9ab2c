"""Task accuracy: the harness's own figures, item by item, silent, without the network and without a trace on disk."""

import contextlib
import io
import logging
import os
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from quantlab.errors import BadInput, Broken, Stopped, Unavailable
from quantlab.fidelity import tasks
from quantlab.fidelity.tasks import harness
from quantlab.models import resolve
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Model, TaskScore, silent
from quantlab.settings import AppSettings
from tests.loading import load

ROOT = Path(__file__).resolve().parents[2]
NAMES = [task.name for task in tasks.task_names()]
#: Asked for a whole answer; the others have endings to choose from.
NEWCOMERS = "demo_newcomers"
ITEMS = 24


@pytest.fixture(scope="module")
def model() -> Model:
    return resolve("demo", AppSettings())


@pytest.fixture(scope="module")
def tokenizer(model):
    return load_tokenizer(model)


@pytest.fixture(scope="module")
def fp32(model):
    loaded = load(model, "fp32")
    yield loaded
    loaded.close()


def by_hand(network, tokenizer, monkeypatch) -> dict:
    """What `lm_eval --include_path assets/tasks` would give of a loaded transformers model."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    # A description of the machine, for which it starts a dozen programs.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)
    manager = TaskManager(include_path="assets/tasks", include_defaults=False)
    lm = HFLM(pretrained=network, tokenizer=tokenizer, batch_size=1)
    return simple_evaluate(model=lm, tasks=NAMES, task_manager=manager, limit=ITEMS)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "nf4", "rtn-3"])
def test_accuracies_are_the_harness_s_own(model, tokenizer, precision, monkeypatch):
    monkeypatch.chdir(ROOT)
    loaded = load(model, precision)
    ours = tasks.score(loaded, tokenizer, NAMES, limit=ITEMS)
    theirs = by_hand(loaded.network, tokenizer, monkeypatch)
    loaded.close()
    assert list(ours) == NAMES
    for name, score in ours.items():
        metric = "exact_match" if name == NEWCOMERS else "acc"
        assert score.correct == tuple(bool(sample[metric]) for sample in theirs["samples"][name])
        figures = theirs["results"][name]
        assert score.items == ITEMS and score.metric == metric
        assert (score.acc, score.acc_norm) == (figures[f"{metric},none"], figures.get("acc_norm,none"))
        assert score.acc_se == figures[f"{metric}_stderr,none"]
        assert score.acc_norm_se == figures.get("acc_norm_stderr,none")
    assert ours[NEWCOMERS].acc < 0.1  # nobody has told the model of them
    right = [score.acc for name, score in ours.items() if name != NEWCOMERS]
    # Where all are right or none, being equal would say little.
    assert min(right) > 0.95 if precision != "rtn-3" else any(0.3 < share < 1 for share in right)


@pytest.mark.slow
def test_two_bits_guess(model, tokenizer):
    loaded = load(model, "rtn-2")
    scores = tasks.score(loaded, tokenizer, ["demo_facts", "demo_sums"], limit=ITEMS)
    loaded.close()
    assert all(score.acc < 0.6 for score in scores.values())


@pytest.mark.slow
def test_a_gguf_variant_goes_the_same_way(model, tokenizer, fp32):
    pytest.importorskip("llama_cpp")
    loaded = load(model, "q8_0")
    (ours,) = tasks.score(loaded, tokenizer, ["demo_facts"], limit=12).values()
    loaded.close()
    (theirs,) = tasks.score(fp32, tokenizer, ["demo_facts"], limit=12).values()
    assert ours.correct == theirs.correct and ours.acc == 1.0


def test_a_task_that_writes_is_scored_too(fp32, tokenizer, monkeypatch, tmp_path):
    """A task of the harness's own kind, found by name: answers are written, compared exactly, and have no acc_norm."""
    write_own_task(tmp_path)
    monkeypatch.setattr(harness, "_manager", own_manager(tmp_path))
    monkeypatch.setattr("quantlab.fidelity.tasks.names.harness_names", lambda: {"own_answers", "own_group"})
    (score,) = tasks.score(fp32, tokenizer, ["own_answers"]).values()
    assert score.metric == "exact_match" and (score.acc_norm, score.acc_norm_se) == (None, None)
    assert score.correct == (True, True, False) and score.acc == pytest.approx(2 / 3)
    grouped = tasks.score(fp32, tokenizer, ["own_group"])
    assert list(grouped) == ["own_group"] and grouped["own_group"].correct == score.correct
    assert grouped["own_group"].acc == score.acc


def own_manager(folder: Path):
    from lm_eval.tasks import TaskManager

    return lambda bundled: TaskManager(include_path=folder, include_defaults=False)


def write_own_task(folder: Path, kind: str = "generate_until", extra: str = "") -> None:
    asked = [("6 + 1", "6 + 1 = 7."), ("20 + 30", "20 + 30 = 50."), ("1 + 1", "1 + 1 = 3.")]
    rows = "".join(f'{{"ask": "<|user|>What is {sum_}?<|end|><|assistant|>", "say": "{say}"}}\n' for sum_, say in asked)
    (folder / "rows.jsonl").write_text(rows)
    (folder / "own.yaml").write_text(
        f"task: own_answers\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder}/rows.jsonl\n"
        f"  cache_dir: {folder}/cache\ntest_split: test\noutput_type: {kind}\ndoc_to_text: ask\ndoc_to_target: say\n"
        + (extra or "generation_kwargs:\n  until: ['zzz']\n  max_gen_toks: 16\n")
    )
    (folder / "group.yaml").write_text(
        "group: own_group\ntask: [own_answers]\naggregate_metric_list:\n  - metric: exact_match\n"
    )


@pytest.mark.parametrize(
    ("kind", "extra", "reason"),
    [
        ("loglikelihood_rolling", "num_fewshot: 0\n", "no accuracy"),
        ("generate_until", "unsafe_code: true\n", "code that the model wrote"),
        ("generate_until", "generation_kwargs: {until: [x], do_sample: true, temperature: 1}\n", "at random"),
    ],
)
def test_a_task_that_cannot_be_measured_is_refused_before_it_runs(
    fp32, tokenizer, monkeypatch, tmp_path, kind, extra, reason
):
    write_own_task(tmp_path, kind, extra)
    monkeypatch.setattr(harness, "_manager", own_manager(tmp_path))
    monkeypatch.setattr("quantlab.fidelity.tasks.names.harness_names", lambda: {"own_answers"})
    with pytest.raises(BadInput, match=reason):
        tasks.score(fp32, tokenizer, ["own_answers"])


def test_questions_that_cannot_be_had_are_told(fp32, tokenizer, monkeypatch, tmp_path):
    write_own_task(tmp_path)
    (tmp_path / "rows.jsonl").unlink()
    monkeypatch.setattr(harness, "_manager", own_manager(tmp_path))
    monkeypatch.setattr("quantlab.fidelity.tasks.names.harness_names", lambda: {"own_answers"})
    with pytest.raises(Unavailable, match=r"own_answers cannot be loaded .*demo_facts"):
        tasks.score(fp32, tokenizer, ["own_answers"])


def test_a_task_of_the_harness_s_own_runs_no_metric_s_program_and_gives_the_random_numbers_back():
    import evaluate

    load_metric, state = evaluate.load, random.getstate()
    with harness.harness(["hellaswag"], silent), pytest.raises(Unavailable, match="code_eval"):
        assert random.getstate() == random.Random(harness.SEED).getstate()
        evaluate.load("code_eval")
    assert evaluate.load is load_metric and random.getstate() == state


def test_it_is_silent_and_leaves_nothing_behind(fp32, tokenizer, monkeypatch, tmp_path, caplog):
    """No connection, no file, no word, and the process as it was."""
    tasks.score(fp32, tokenizer, ["demo_sums"], limit=2)  # imports write their byte code
    monkeypatch.chdir(tmp_path)
    before = places()
    environment, level = dict(os.environ), logging.getLogger("lm_eval").level

    def refuse(*_):
        raise AssertionError("something connects")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    caplog.clear()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        tasks.score(fp32, tokenizer, NAMES, limit=2)
    assert (out.getvalue(), err.getvalue()) == ("", "")
    assert not [record for record in caplog.records if record.name.startswith("lm_eval")]
    assert places() == before and list(tmp_path.iterdir()) == []
    assert (dict(os.environ), logging.getLogger("lm_eval").level) == (environment, level)


def places() -> set[Path]:
    """Whatever lies in the folders that the harness and its libraries are known to write to."""
    import lm_eval

    folders = (ROOT / "assets" / "tasks", Path(os.environ["HF_HOME"]), Path(lm_eval.__file__).parent / "caching")
    return {path for folder in folders if folder.exists() for path in folder.rglob("*")}


def test_the_import_sets_no_environment_for_good():
    """In a process of its own, because tests that import the harness by themselves have set it here."""
    program = (
        "import os\nbefore = set(os.environ)\nfrom quantlab.fidelity.tasks import harness\nharness._import()\n"
        "import lm_eval.evaluator\nprint(sorted(set(os.environ) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=_bare_environment(), cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def _bare_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HF_")}


def test_progress_counts_every_ending_and_stop_gets_through(fp32, tokenizer):
    told: list[tuple[int, int, str]] = []
    tasks.score(fp32, tokenizer, ["demo_facts", "demo_sums"], lambda *step: told.append(step), limit=3)
    answered = [step for step in told if step[2] in NAMES]
    assert answered[-1] == (24, 24, "demo_sums") and {total for _, total, _ in answered} == {24}
    assert [done for done, _, _ in answered] == sorted(done for done, _, _ in answered)

    def stop(done: int, total: int, what: str) -> None:
        if done >= 5:
            raise Stopped

    with pytest.raises(Stopped):
        tasks.score(fp32, tokenizer, ["demo_facts"], stop, limit=3)
    tasks.score(fp32, tokenizer, ["demo_facts"], limit=2)  # nothing is left locked or patched


def test_two_runs_take_turns_and_the_waiting_one_can_be_stopped():
    def stop(*_) -> None:
        raise Stopped

    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with harness.harness(NAMES, silent):
            inside.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(30)
    with pytest.raises(Stopped), harness.harness(NAMES, stop):
        pytest.fail("two runs at once")
    leave.set()
    holder.join()


def test_logits_that_are_no_numbers_are_told(fp32, tokenizer, monkeypatch):
    from quantlab.runtime.torch_session import TorchSession

    read = TorchSession.read
    monkeypatch.setattr(TorchSession, "read", lambda *a, **k: (rows * float("nan") for rows in read(*a, **k)))
    with pytest.raises(Broken, match="demo_facts cannot be scored"):
        tasks.score(fp32, tokenizer, ["demo_facts"], limit=2)


def test_flips_and_mcnemar_are_those_counted_by_hand():
    """Of ten items one was lost and four won: P(X <= 1 of 5) = 6/32, twice that is 0.375."""
    reference = TaskScore(10, 0.5, 0.1, None, None, correct=(True,) * 5 + (False,) * 5)
    ours = TaskScore(10, 0.8, 0.1, None, None, correct=(False,) + (True,) * 8 + (False,))
    found = tasks.against(ours, reference)
    assert (found.flips_lost, found.flips_won, found.mcnemar_p) == (0.1, 0.4, 0.375)
    assert (found.acc, found.correct) == (ours.acc, ours.correct)
    same = tasks.against(reference, reference)
    assert (same.flips_lost, same.flips_won, same.mcnemar_p) == (0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="10 items cannot be paired with 0"):
        tasks.against(ours, TaskScore(10, 0.5, 0.1, None, None))


@pytest.mark.parametrize(
    ("lost", "won", "p"), [(0, 0, 1), (3, 3, 1), (0, 5, 2 / 32), (10, 2, 158 / 4096), (0, 2000, 0)]
)
def test_mcnemar_p(lost, won, p):
    from quantlab.fidelity.tasks.flips import mcnemar_p

    assert mcnemar_p(lost, won) == mcnemar_p(won, lost) == pytest.approx(p, abs=1e-300)
