"""The tab Fine-tune: driven in a browser from the rows to the column, and what it refuses."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect

from quantlab.errors import BadInput
from quantlab.finetune.sets import SETS
from quantlab.methods import adapters
from quantlab.records.finetuning import Trained, TrainingStarted, TrainingStep
from quantlab.settings import AppSettings
from quantlab.ui import launch
from quantlab.ui.finetune import form, view
from quantlab.ui.finetune.form import FinetuneChoice
from tests.fakes import Script, fake_finetune
from tests.ui.pages import FAST, open_tab, served
from tests.ui.test_looks import WIDE, grave

APP = AppSettings(public=False)
PUBLIC = AppSettings(public=True)


@pytest.fixture
def opened(open_page, url):
    def chosen(**context):
        page = open_page(url, **context)
        open_tab(page, "Fine-tune")
        page.wait_for_selector("#finetune-start", state="visible")
        return page

    return chosen


def test_a_training_is_watched_and_its_adapter_named(opened):
    page = opened()
    page.fill("#finetune-steps input", "12")
    page.click("#finetune-look")
    expect(page.locator(".rows-read pre")).to_have_text("Where?<b> There.")
    expect(page.locator(".rows-read .learnt")).to_have_text(" There.")
    page.click("#finetune-start")
    expect(page.locator("#finetune-result")).to_contain_text("Done: 12 steps.")
    assert page.locator(".rows-read").count() == 0, "what was shown of rows goes, for the next ones may be others"
    expect(page.locator("#finetune-result code").first).to_have_text("nf4-dq+newcomers")
    expect(page.locator("#finetune-result")).to_contain_text("196,608 parameters were trained, 8.19 %")
    for panel in ("loss", "training-memory"):
        page.wait_for_selector(f"#panel-{panel} .js-plotly-plot", state="attached")
    table = page.locator("#panel-training-memory table")
    expect(table).to_contain_text("this, measured")
    expect(table).to_contain_text("QLoRA")
    assert page.locator("#panel-loss tbody tr").count() == 4
    expect(page.locator("#finetune-start")).to_be_enabled()
    assert grave(page) == []


def test_all_weights_are_a_choice_with_its_own_settings(opened):
    """Adapters' settings go, precisions without a gradient for each number too; what comes out is a model."""
    page = opened()
    expect(page.locator("#finetune-status")).to_contain_text("Press Train.")
    page.click("#finetune-settings > button")
    expect(page.locator("#finetune-rank")).to_be_visible()
    page.get_by_label("All weights").check()
    expect(page.locator("#finetune-rank")).to_be_hidden()
    expect(page.locator("#finetune-targets")).to_be_hidden()
    expect(page.locator("#finetune-precision input")).to_have_value("fp32")
    expect(page.locator("#finetune-learning_rate input")).to_have_value("0.0001")
    page.locator("#finetune-precision input").click()
    assert [it.split()[-1] for it in page.get_by_role("option").all_inner_texts()] == ["fp32", "bf16"]
    page.keyboard.press("Escape")
    page.fill("#finetune-steps input", "6")
    page.click("#finetune-start")
    expect(page.locator("#finetune-result")).to_contain_text("It is a model of its own")
    expect(page.locator("#finetune-result code").first).to_contain_text("newcomers::fp32")
    expect(page.locator("#finetune-result")).not_to_contain_text("quantlab merge")
    # Other rows bring settings for adapters.
    page.locator("#finetune-data input").click()
    page.get_by_role("option", name="keeper").click()
    expect(page.locator("#finetune-rank")).to_be_visible()
    expect(page.locator("#finetune-precision input")).to_have_value("nf4-dq")
    assert grave(page) == []


def test_before_the_first_step_it_is_said_what_is_done(open_page):
    with served(Script(**FAST | {"load_s": 2.5})) as address:
        page = open_page(address)
        open_tab(page, "Fine-tune")
        page.click("#finetune-start")
        status = page.locator("#finetune-status")
        expect(status).to_contain_text("Before the first step: loading the base at nf4-dq, 25 % done.")
        assert status.locator("progress").get_attribute("value") == "30"
        expect(page.locator("#finetune-result")).to_contain_text("Done: 300 steps.", timeout=30_000)


def test_the_status_is_of_what_goes_on_now():
    """Of a training that goes on, the base is loaded again after its earlier steps were told."""
    from quantlab.records.finetuning import TrainingPreparing

    step = TrainingStep(30, 300, 1.0, 0.1, 0.1, 8)
    seen = view.Watched().with_event(step).with_event(TrainingPreparing(0, 0, "loading the base"))
    assert "Before the first step" not in view.status(seen)
    assert "Before it goes on: loading the base." in view.status(seen)
    assert "step 30 of 300" in view.status(seen.with_event(step))


def test_stop_keeps_what_there_is(open_page):
    with served(Script(**FAST | {"gap_s": 0.2})) as address:
        page = open_page(address)
        open_tab(page, "Fine-tune")
        page.click("#finetune-start")
        expect(page.locator("#finetune-status")).to_contain_text(re.compile(r"step \d+ of 300"))
        page.click("#finetune-stop")
        expect(page.locator("#finetune-result")).to_contain_text("Stopped after")
        expect(page.locator("#finetune-start")).to_be_enabled()


def test_after_stop_it_is_awaited_what_is_kept(open_page):
    """A checkpoint of a large model is copied for more than a moment."""
    script = Script(**FAST | {"gap_s": 0.1})
    fake = fake_finetune(script)

    def slow(*asked):
        for event in fake(*asked):
            if isinstance(event, Trained):
                time.sleep(2)
            yield event

    with served(script, {"finetune": slow}) as address:
        page = open_page(address)
        open_tab(page, "Fine-tune")
        page.click("#finetune-start")
        expect(page.locator("#finetune-status")).to_contain_text(re.compile(r"step \d+ of 300"))
        page.click("#finetune-stop")
        expect(page.locator("#finetune-result")).to_contain_text("Stopped after")


def test_other_rows_bring_their_model_and_settings_and_one_s_own_a_place_for_the_file(opened):
    page = opened()
    page.locator("#finetune-data input").click()
    page.get_by_role("option", name="keeper").click()
    expect(page.locator("#finetune-about")).to_contain_text("lighthouse")
    expect(page.locator("#finetune-model input")).to_have_value("smollm2")
    expect(page.locator("#finetune-steps input")).to_have_value(str(SETS["keeper"].settings.steps))
    assert page.locator("#finetune-file").count() == 0 or not page.locator("#finetune-file").is_visible()
    page.locator("#finetune-data input").click()
    page.get_by_role("option", name=form.OWN).click()
    page.wait_for_selector("#finetune-file", state="visible")
    expect(page.locator("#finetune-about")).to_contain_text('{"text": ".."} or {"messages": [..]};')
    page.click("#finetune-start")
    expect(page.locator("#finetune-status")).to_contain_text("No file was uploaded")


@pytest.mark.parametrize(
    ("box", "typed", "told"),
    [
        ("name", "../../etc", "An adapter cannot be called"),
        ("name", "taken", "holds a training that is finished"),
        ("steps", "0", "The steps cannot be 0"),
        ("batch", "", "The field batch is empty"),
    ],
)
def test_what_cannot_be_is_told_under_the_button(box, typed, told, opened):
    page = opened()
    page.fill(f"#finetune-{box} :is(input, textarea)", typed)
    page.click("#finetune-start")
    expect(page.locator("#finetune-status")).to_contain_text(told)
    expect(page.locator("#finetune-start")).to_be_enabled()


@pytest.mark.slow
def test_a_real_training_leads_to_a_comparison(open_page, tmp_path, monkeypatch):
    """Nothing is faked: the bundled rows, the bundled model, and the column beside its base."""
    from quantlab.settings import app_settings

    monkeypatch.setattr(app_settings(), "adapters_folder", tmp_path)
    app = AppSettings(public=False, port=0, adapters_folder=tmp_path, history_file=None)
    real = launch.real_services(app)
    names = ("finetune", "preview_rows", "estimates", "estimate_precision", "plan", "compare")
    jobs = {name: getattr(real, name) for name in names}
    with served(Script(**FAST), jobs, adapters_folder=tmp_path, history_file=None) as address:
        page = open_page(address)
        open_tab(page, "Fine-tune")
        page.fill("#finetune-steps input", "40")
        page.click("#finetune-look")
        expect(page.locator(".rows-read pre").first).to_contain_text("<|assistant|>", timeout=60_000)
        page.click("#finetune-start")
        expect(page.locator("#finetune-result")).to_contain_text("Done: 40 steps.", timeout=180_000)
        page.click("#finetune-compare")
        expect(page.locator("#prompt textarea")).to_have_value(SETS["newcomers"].prompts[0])
        page.click("#compare")
        page.wait_for_selector("#compare:not([disabled])", timeout=120_000)
        heads = page.locator("#columns .col").all_inner_texts()
        assert len(heads) == 2 and any("nf4-dq+newcomers" in it for it in heads)
        assert all("Lena Corsa lives in" in it for it in heads)


def test_on_a_phone_nothing_scrolls_sideways(open_page, url):
    page = open_page(f"{url}?__theme=dark", width=400)
    open_tab(page, "Fine-tune")
    page.fill("#finetune-steps input", "6")
    page.click("#finetune-start")
    expect(page.locator("#finetune-result")).to_contain_text("Done: 6 steps.")
    page.wait_for_selector("#panel-loss .js-plotly-plot", state="attached")
    assert not page.evaluate(WIDE)
    assert grave(page) == []


def test_in_public_a_training_ends_with_its_time(open_page):
    script = Script(**FAST | {"gap_s": 0.1})
    with served(script, public=True, public_finetune=True, finetune_seconds=2.0) as address:
        page = open_page(address)
        open_tab(page, "Fine-tune")
        expect(page.locator("#finetune-intro")).to_contain_text("ends after 2")
        page.click("#finetune-start")
        expect(page.locator("#finetune-result")).to_contain_text("Stopped after")


def test_on_zerogpu_it_is_said_why_nothing_is_trained(open_page):
    with served(Script(**FAST), zero_gpu=True) as address:
        page = open_page(address)
        open_tab(page, "Fine-tune")
        expect(page.locator("#finetune-intro")).to_contain_text("does not train on ZeroGPU")
        expect(page.locator("#finetune-start")).to_be_disabled()


def test_in_public_nothing_is_trained_unless_it_is_allowed(open_page):
    with served(Script(**FAST), public=True) as address:
        page = open_page(address)
        open_tab(page, "Fine-tune")
        expect(page.locator("#finetune-intro")).to_contain_text("This public page does not train")
        expect(page.locator("#finetune-start")).to_be_disabled()
    with served(Script(**FAST), public=True, public_finetune=True) as address:
        page = open_page(address)
        open_tab(page, "Fine-tune")
        page.fill("#finetune-steps input", "301")
        page.click("#finetune-start")
        expect(page.locator("#finetune-status")).to_contain_text("Here the limit of steps is 300")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"data": "no such"}, "Unknown data"),
        ({"data": form.OWN}, "takes no files of visitors"),
        ({"data": ["newcomers"]}, "Unknown data"),
        ({"model": "gpt2"}, "Unknown model"),
        ({"model": None}, "No model is chosen"),
        ({"precision": "awq-4"}, "Unknown base"),
        ({"init_lora_weights": "eva"}, "Unknown beginning of adapters 'eva'"),
        ({"init_lora_weights": None}, "Unknown beginning of adapters 'None'"),
        ({"init_lora_weights": "pissa"}, "those of nf4-dq cannot be changed"),
        ({"precision": None}, "Unknown base"),
        ({"rank": 64}, "Here the limit of rank is 32"),
        ({"context": 1_000}, "Here the limit of context is 256"),
        ({"batch": 2.5}, "The batch cannot be 2.5"),
        ({"steps": "many"}, "The steps cannot be 'many'"),
        ({"learning_rate": float("nan")}, "learning rate cannot be nan"),
        ({"targets": " , "}, "No layers were named"),
        ({"method": "full", "precision": "fp32"}, "Here only adapters are trained"),
        ({"method": "full"}, "All weights cannot be trained in nf4-dq"),
        ({"method": ["lora"]}, "Unknown method"),
        ({"name": "a/b"}, "cannot be called 'a/b'"),
        ({"name": "kv-int8"}, "cannot be called"),
        ({"name": "x" * 300}, "cannot be called"),
        ({"name": ".."}, "cannot be called"),
    ],
)
def test_whatever_is_sent_is_held_to_the_limits(change, told):
    choice = replace(FinetuneChoice(), **change)
    with pytest.raises(BadInput, match=told):
        form.data_of(choice, PUBLIC)
        form.model_of(choice, PUBLIC)
        form.settings(choice, PUBLIC)
        form.folder_of(choice, PUBLIC)


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    app = AppSettings(public=False, adapters_folder=tmp_path)
    assert form.free_name("style", app) == "style"
    (adapters.home(app) / "style").mkdir()
    (adapters.home(app) / "style-2").mkdir()
    assert form.free_name("style", app) == "style"
    for name in ("style", "style-2", "year-2024", "x" * 40):
        (adapters.home(app) / name / "file").parent.mkdir(exist_ok=True)
        (adapters.home(app) / name / "file").touch()
    assert form.free_name("style", app) == form.free_name("style-2", app) == "style-3"
    assert form.free_name("year-2024", app) == "year-2024-2", "a number of one's own is no count"
    assert form.NAME.fullmatch(form.free_name("x" * 40, app))


def test_under_the_page_s_own_name_nobody_minds_who_trained_before(tmp_path):
    app = AppSettings(public=False, adapters_folder=tmp_path)
    for name in ("newcomers", "newcomers-2", "style"):
        (tmp_path / name).mkdir()
        (tmp_path / name / adapters.WEIGHTS).touch()
    for name in ("newcomers", "newcomers-2"):
        assert form.folder_of(FinetuneChoice(name=name), app).name == "newcomers-3"
    assert form.folder_of(FinetuneChoice(name="style"), app).name == "style"
    (tmp_path / "newcomers-2" / "checkpoints").mkdir()  # this one was stopped, and goes on
    assert form.folder_of(FinetuneChoice(name="newcomers-2"), app).name == "newcomers-2"


def test_rows_that_the_context_is_too_short_for_are_told():
    from quantlab.records.finetuning import TrainingData

    def status(cut: int, left_out: int) -> str:
        read = TrainingData("rows", 20, 2, 400, 200, cut, left_out)
        step = TrainingStep(1, 3, 1.0, 0.1, 0.1, 8)
        return view.status(view.Watched(started=TrainingStarted(read, 10, 100), steps=(step,)))

    assert "Rows: 3 longer than the context, cut at their end; 1 left out, with nothing to learn" in status(3, 1)
    assert "Rows:" not in status(0, 0)


@pytest.mark.parametrize(("after", "rose"), [(0.5, False), (1.0, False), (1.5, True)])
def test_a_loss_that_rose_is_told_with_what_to_do(after, rose):
    from quantlab.records.finetuning import TrainingData

    started = TrainingStarted(TrainingData("rows", 20, 2, 400, 200, 0), 10, 100)
    trained = Trained(Path("mine"), "demo", "nf4-dq", 9, 1.0, 1.0, after, 10)
    assert ("It rose" in view.result(view.Watched(started=started, trained=trained), "nf4-dq+mine", ())) is rose


@pytest.mark.parametrize(("step", "left"), [(1, "about 5 min left"), (270, "about 30 s left"), (300, "almost done")])
def test_the_time_left_is_told_as_a_person_would(step, left):
    assert f"; {left}." in view.status(view.Watched(steps=(TrainingStep(step, 300, 1.0, 0.1, 1.0, 8),)))


def test_the_largest_step_is_what_it_takes():
    small, large = ({"base": 10, "activations": nbytes} for nbytes in (5, 50))
    steps = tuple(TrainingStep(at, 3, 1.0, 0.1, 0.1, 8, None, it) for at, it in enumerate((small, large, small), 1))
    assert view.memory(view.Watched(steps=steps), {}) == {"this, measured": large}
    assert view.memory(view.Watched(), {}) == {}


def test_nothing_of_the_rows_gets_out_of_its_quotes():
    from quantlab.records.finetuning import PreviewToken, TrainingData

    shown = view.preview(((PreviewToken("<script>", False), PreviewToken("</u>", True)),))
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "&lt;/u&gt;" in shown
    seen = view.Watched(started=TrainingStarted(TrainingData("x", 1, 1, 1, 1, 0), 1, 2))
    assert view.result(seen, "a", ()) == "" and json.dumps(view.status(seen))
