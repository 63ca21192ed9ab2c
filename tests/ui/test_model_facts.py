"""What stands under the model box: checked facts, and nothing that a name only looks like."""

import json
import math
import shutil
from dataclasses import replace

import pytest
from safetensors import safe_open

from quantlab import models as sources
from quantlab.records import ModelFacts, Placement
from quantlab.settings import ASSETS, AppSettings
from quantlab.ui.common import models
from quantlab.ui.common.looked import Looked
from quantlab.ui.common.precision_list import PrecisionList
from quantlab.ui.compare.handlers import Handlers
from tests.fake_estimates import CHOICES
from tests.fakes import Script, services
from tests.ui.pages import FAST, served
from tests.ui.parts import parts

LOCAL, PUBLIC = AppSettings(public=False), AppSettings(public=True)
DEMO_FOLDER = str(ASSETS / "demo-model")


def under_the_box(name: str, app: AppSettings = LOCAL) -> str:
    """What the page says of a model that was typed, with what really is looked up."""
    looked, page = Looked(app), parts()
    page.examples = tuple(f"example {i}" for i in range(5))
    real = replace(services(Script(**FAST)), estimates=looked.estimates, facts=looked.facts)
    return Handlers(page, app, real).estimate(name, "default", [], PrecisionList(()))["about"]


def test_of_a_folder_it_says_what_its_files_hold():
    told = under_the_box(DEMO_FOLDER)
    with safe_open(f"{DEMO_FOLDER}/model.safetensors", "numpy") as weights:
        count = sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    config = json.loads((ASSETS / "demo-model" / "config.json").read_text())
    assert "A folder on this machine." in told
    facts = (
        config["architectures"][0],
        f"{count / 1e6:.2f} million parameters",
        f"{config['num_hidden_layers']} layers",
        f"context of {config['max_position_embeddings']:,} tokens",
        f"{2 * count / 1e6:.2f} MB on disk",
    )
    assert " · ".join(facts) in told


@pytest.mark.parametrize("name", ["hello world", "./nothing", "/nothing/at/all.gguf", "..", " "])
def test_what_is_nothing_is_called_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = under_the_box(name)
    assert ("Nothing is there by this name" in told) is (name != "..")
    assert "A folder on this machine" not in told or name == ".."


def test_a_folder_that_is_no_model_is_a_folder_that_could_not_be_read(tmp_path):
    assert "A folder on this machine. It could not be read as a model." in under_the_box(str(tmp_path))


def test_a_hub_id_is_called_one_until_it_is_looked_up(monkeypatch):
    def away(*_):
        raise sources.hub.ModelError("The Hub cannot be reached.")

    monkeypatch.setattr(sources.hub, "outlined", away)
    assert models.NOT_LOOKED_UP in under_the_box("someone/something")
    known = ModelFacts("hub", "LlamaForCausalLM", 135_000_000, 30, 8_192, 269_000_000)
    _, kind, facts = models.about("someone/something", (), known)
    assert kind == models.KINDS["hub"]
    assert (
        facts == "LlamaForCausalLM · 135 million parameters · 30 layers · context of 8,192 tokens · 269 MB of weights"
    )


def test_what_is_no_longer_there_is_not_remembered(tmp_path):
    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "model")
    looked = Looked(LOCAL)
    looked.estimates(str(folder), Placement("cpu"))
    assert looked.facts(str(folder)).layers == 3
    shutil.rmtree(folder)
    with pytest.raises(sources.source.ModelError):
        looked.estimates(str(folder), Placement("cpu"))
    assert looked.facts(str(folder)) == ModelFacts()


def test_packed_weights_are_said_to_be_quantized():
    found = ModelFacts("folder", "LlamaForCausalLM", None, 2, 128, 1_000_000, "gptq")
    told = models.listed(found)
    assert "parameters" not in told and told.endswith("1.00 MB on disk, quantized already (gptq)")


def test_in_public_no_path_is_told_from_another(tmp_path):
    told = {under_the_box(name, PUBLIC) for name in (str(tmp_path), DEMO_FOLDER, "/nothing", "hello world")}
    assert len(told) == 1 and models.NOT_OFFERED in told.pop()


def test_nothing_is_looked_up_while_somebody_types(open_page):
    asked: list[str] = []
    real = services(Script(**FAST))

    def estimates(name, placement):
        asked.append(name)
        return real.estimates("demo", placement)

    facts = ModelFacts("hub", "LlamaForCausalLM", 135_000_000, 30, 8_192, 269_000_000)
    name = "someone/something"
    jobs = {"estimates": estimates, "facts": lambda it: facts if it == name and name in asked else ModelFacts("hub")}
    with served(Script(**FAST), jobs) as url:
        page = open_page(url)
        assert CHOICES[0][0] == page.input_value("#model input")
        page.click("#model input")
        page.keyboard.press("Control+a")
        page.keyboard.type(name, delay=20)
        page.wait_for_timeout(500)
        assert {it for it in asked if it != "demo"} == set()
        page.keyboard.press("Enter")
        page.wait_for_selector("#about .model-facts:has-text('135 million parameters')")
        assert {it for it in asked if it != "demo"} == {name}
