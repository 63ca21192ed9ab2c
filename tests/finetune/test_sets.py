"""The bundled rows: each is read, and what is taught is recalled afterwards while the rest stays known."""

import pytest

import quantlab
from quantlab.fidelity import tasks
from quantlab.finetune import data
from quantlab.finetune.job import check, finetune
from quantlab.finetune.sets import SETS, file_of, model_of, settings_of
from quantlab.methods import adapters
from quantlab.records import Placement, QualitySettings
from quantlab.records.finetuning import FinetuneSettings, Trained
from quantlab.settings import app_settings


@pytest.mark.parametrize("name", SETS)
def test_each_can_be_read_at_its_settings(name):
    rows = data.rows(SETS[name].file)
    check(SETS[name].settings)
    assert len(rows) >= 64
    assert len({tuple(turn.text for turn in row.turns) for row in rows}) == len(rows)
    told = [row.turns[0].text for row in rows]
    fresh = [prompt for prompt in SETS[name].prompts if prompt not in told]
    assert fresh, "a prompt that was not taught shows what else has changed"
    assert SETS[name].task is None or SETS[name].task in {it.name for it in tasks.task_names()}


def test_a_name_brings_its_file_its_model_and_its_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert file_of("keeper") == SETS["keeper"].file and model_of("keeper") == "smollm2"
    assert settings_of("keeper") == SETS["keeper"].settings
    assert file_of("rows.csv") == tmp_path / "rows.csv" and model_of("rows.csv") == "demo"
    assert settings_of("rows.csv") == FinetuneSettings()


@pytest.mark.slow
def test_the_newcomers_are_recalled_and_the_others_not_forgotten(tmp_path, monkeypatch):
    """As a class does it: train at the set's own settings, then ask at the precision that was trained on."""
    monkeypatch.setattr(app_settings(), "adapters_folder", tmp_path)
    *_, trained = finetune("demo", "newcomers", tmp_path / "newcomers")
    assert isinstance(trained, Trained) and trained.held_out_after < 0.5 * trained.held_out_before
    asked = ("demo_newcomers", "demo_facts", "demo_sums", "demo_stories", "demo_grammar")
    settings = QualitySettings(
        windows=1, tasks=asked, layers=False, noise_floor=False, placement=Placement("cpu", "float32")
    )
    *_, done = quantlab.quality("demo", ["nf4-dq", "nf4-dq+newcomers"], "demo", settings)
    before, after = (done.quality.run(name).tasks for name in ("nf4-dq", "nf4-dq+newcomers"))
    assert before["demo_newcomers"].acc <= 0.1 and after["demo_newcomers"].acc >= 0.9
    for name in asked[1:]:
        assert before[name].acc > 0.9 and after[name].acc >= 0.9 * before[name].acc, name
    assert (adapters.home(app_settings()) / "newcomers" / adapters.WEIGHTS).is_file()
