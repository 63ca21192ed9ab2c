"""What a typed name means, and what a visitor of a public page can and cannot learn from it."""

import pytest

from quantlab import models
from quantlab.errors import BadInput, ModelError
from quantlab.models import shapes, source
from quantlab.models.source import Source, parse
from quantlab.settings import ASSETS, AppSettings

PINNED = "owner/model@" + "a" * 40


@pytest.fixture
def public() -> AppSettings:
    return AppSettings(public=True, allowed_models=("demo", "shape:bench-100m", PINNED))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("demo", Source("demo", "demo", ASSETS / "demo-model")),
        (" Demo ", Source("demo", "demo", ASSETS / "demo-model")),
        ("shape:llama-2-7b", Source("shape", "shape:Llama-2-7B")),
        ("SHAPE: bench-100M", Source("shape", "shape:bench-100m")),
        ("gpt2", Source("hub", "gpt2")),
        ("owner/name.v1_x", Source("hub", "owner/name.v1_x")),
        ("owner/name@main", Source("hub", "owner/name", revision="main")),
        ("owner/name@refs/pr/3", Source("hub", "owner/name", revision="refs/pr/3")),
        (PINNED, Source("hub", "owner/model", revision="a" * 40)),
    ],
)
def test_names_are_read(local, typed, expected):
    assert parse(typed, local) == expected


def test_an_existing_folder_goes_before_a_hub_id(local, tmp_path, monkeypatch):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse("owner/name", local) == Source("folder", "owner/name", tmp_path / "owner" / "name")
    assert parse("owner/other", local).kind == "hub"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse("~/owner/name", local).folder == tmp_path / "owner" / "name"


@pytest.mark.parametrize(
    "typed", ["/no/such/folder", "./nothing", "../nothing", "~/nothing-here", "a/b/c", "a/", "C:\\x"]
)
def test_a_path_to_nothing_is_a_missing_folder(local, typed):
    with pytest.raises(ModelError, match="no folder"):
        parse(typed, local)


def test_a_file_is_not_a_folder(local, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="is a file") as caught:
        parse(str(tmp_path / "model.safetensors"), local)
    assert ".gguf" in caught.value.advice


def test_a_gguf_file_is_a_model(local, public, tmp_path):
    (file := tmp_path / "small-Q4_K_M.GGUF").write_bytes(b"")
    assert parse(str(file), local) == Source("folder", str(file), tmp_path, gguf=file)
    with pytest.raises(BadInput, match="Unknown model"):
        parse(str(file), public)
    with pytest.raises(ModelError, match="no file"):
        parse(str(tmp_path / "other.gguf"), local)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "  ",
        "own er/name",
        "owner/name@",
        "owner/name@../x",
        "owner/name@/etc",
        "own..er/name",
        "näme",
        "a\0b",
        "a?",
        "@main",
    ],
)
def test_what_can_be_no_model_is_told_with_what_can(local, typed):
    with pytest.raises(BadInput, match="Unknown model") as caught:
        parse(typed, local)
    assert "demo" in caught.value.advice and "shape:Llama-2-7B" in caught.value.advice


def test_a_name_too_long_for_a_path_is_told(local):
    with pytest.raises(ModelError, match="cannot be read"):
        parse("x" * 5000, local)


def test_an_unknown_shape_names_the_known_ones(local):
    with pytest.raises(BadInput, match="Unknown shape") as caught:
        models.resolve("shape:lama-2-7B", local)
    assert "Did you mean shape:Llama-2-7B?" in caught.value.advice
    assert all(name in caught.value.advice for name in shapes.names())


def test_the_demo_missing_is_told(local, monkeypatch, tmp_path):
    monkeypatch.setattr(source, "DEMO_FOLDER", tmp_path / "gone")
    with pytest.raises(ModelError, match="no folder 'demo'"):
        models.resolve("demo", local)


@pytest.mark.parametrize("typed", ["owner/model", PINNED, "Owner/Model"])
def test_in_public_an_allowed_name_is_taken_at_its_pinned_revision(public, typed):
    assert parse(typed, public) == Source("hub", "owner/model", revision="a" * 40)
    assert parse("Shape:Bench-100M", public).name == "shape:bench-100m"


@pytest.mark.parametrize(
    "typed", ["/etc", "..", "~", "owner/other", "owner/model@main", "owner/model@" + "b" * 40, "shape:Llama-2-70B", ""]
)
def test_in_public_everything_else_is_unknown(public, typed):
    with pytest.raises(BadInput, match="Unknown model") as caught:
        models.resolve(typed, public)
    assert caught.value.advice.endswith("Choose from: demo, shape:bench-100m, owner/model.")


def test_in_public_a_path_that_exists_is_answered_like_one_that_does_not(public, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "owner" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def answer(typed: str) -> str:
        with pytest.raises(BadInput) as caught:
            models.resolve(typed, public)
        return str(caught.value).replace(typed, "PATH")

    assert answer(str(tmp_path / "here")) == answer(str(tmp_path / "nope"))
    assert parse("owner/model", public).kind == "hub"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("owner/model", "without a fixed revision"),
        ("owner/model@main", "without a fixed revision"),
        ("owner/model@" + "a" * 39, "without a fixed revision"),
        ("/srv/models/mine", "no demo, shape or Hub id"),
        ("shape:nothing", "does not exist"),
    ],
)
def test_a_wrong_allow_list_is_told(name, message):
    app = AppSettings(public=True, allowed_models=("demo", name))
    for act in (lambda: models.known_models(app), lambda: models.resolve("demo", app)):
        with pytest.raises(ModelError, match=f"QUANTLAB_ALLOWED_MODELS.*{message}"):
            act()


def test_the_choices_are_the_demo_and_the_shapes_or_the_allowed_ones(local, public):
    choices = models.known_models(local)
    assert {choice.name: choice.kind for choice in choices[:2]} == {"demo": "demo", "smollm2": "package"}
    assert [choice.name for choice in choices[2:]] == [f"shape:{name}" for name in shapes.names()]
    assert {choice.kind for choice in choices[2:]} == {"shape"}
    assert all("means nothing" in choice.description for choice in choices[2:])
    assert [(choice.name, choice.kind) for choice in models.known_models(public)] == [
        ("demo", "demo"),
        ("shape:bench-100m", "shape"),
        ("owner/model", "hub"),
    ]


def test_the_default_public_list_is_right(monkeypatch):
    monkeypatch.setattr(models.smollm2, "obtainable", lambda app: True)
    app = AppSettings(public=True)
    assert [choice.name for choice in models.known_models(app)] == list(app.allowed_models)
