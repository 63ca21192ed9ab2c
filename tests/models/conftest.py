"""Small real models, a tokenizer learnt once, and a Hub of our own."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import load, save

from quantlab.models import shapes
from quantlab.settings import AppSettings
from tests.models.hub_server import HubServer

REPO = "owner/small"
WEIGHTS = "model.safetensors"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 2048,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
}


@pytest.fixture(scope="session")
def learnt_tokenizer():
    from quantlab.demo.making.tokenizer import train_tokenizer

    return train_tokenizer()


@pytest.fixture(scope="session")
def tokenizer_files(learnt_tokenizer, tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("tokenizer")
    learnt_tokenizer.save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def weights(config: dict, part: slice = slice(None)) -> bytes:
    """Safetensors of the parameters that `config` asks for, or of a part of them."""
    random = numpy.random.default_rng(0)
    tensors = list(shapes.shape_tensors(config).items())[part]
    return save({name: random.normal(0, 0.02, it.shape).astype(numpy.float32) for name, it in tensors})


@pytest.fixture(scope="session")
def model_files(tokenizer_files) -> dict[str, bytes]:
    """The files of a small complete model."""
    return {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": weights(CONFIG), **tokenizer_files}


LAYER = "model.layers.0.self_attn.q_proj"
#: How one matrix of 64 x 64 lies in the files, by the way of storing.
CODES = {
    "awq": {".qweight": ((64, 8), numpy.int32), ".qzeros": ((2, 8), numpy.int32), ".scales": ((2, 64), numpy.float16)},
    "gptq": {".qweight": ((8, 64), numpy.int32), ".qzeros": ((2, 8), numpy.int32), ".scales": ((2, 64), numpy.float16)},
    "bitsandbytes": {".weight": ((2048, 1), numpy.uint8), ".weight.absmax": ((64,), numpy.float32)},
    "compressed-tensors": {".weight_packed": ((64, 8), numpy.int32), ".weight_scale": ((64, 2), numpy.float16)},
}


@pytest.fixture(scope="session")
def quantized_files(model_files) -> Callable[[str | None, dict], dict[str, bytes]]:
    """The small model with one matrix stored in a way of `CODES`, and settings in its config.json."""

    def made(stored_as: str | None, settings: dict) -> dict[str, bytes]:
        tensors = load(model_files["model.safetensors"])
        if stored_as is not None:
            del tensors[f"{LAYER}.weight"]
            tensors |= {f"{LAYER}{key}": numpy.zeros(*it) for key, it in CODES[stored_as].items()}
        config = json.loads(model_files["config.json"]) | settings
        return model_files | {
            "config.json": json.dumps(config).encode(),
            "model.safetensors": save(tensors),
        }

    return made


@pytest.fixture(scope="session")
def sharded_files(tokenizer_files) -> dict[str, bytes]:
    """The same model in two shards."""
    names = list(shapes.shape_tensors(CONFIG))
    shards = {"model-00001-of-00002.safetensors": slice(0, 9), "model-00002-of-00002.safetensors": slice(9, None)}
    weight_map = {name: shard for shard, part in shards.items() for name in names[part]}
    return {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors.index.json": json.dumps({"metadata": {}, "weight_map": weight_map}).encode(),
        **{shard: weights(CONFIG, part) for shard, part in shards.items()},
        **tokenizer_files,
    }


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    def make(files: dict[str, bytes], name: str = "model") -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        return folder

    return make


@pytest.fixture
def local() -> AppSettings:
    return AppSettings(public=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub without repositories. The library has read its address and cache already, so they are set where it put
    them.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils._http import close_session

    from quantlab.models import hub as ours

    server = HubServer()
    point_to(monkeypatch, server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ours, "CHUNK_BYTES", 1 << 16)
    yield server
    server.close()
    close_session()


@pytest.fixture
def in_this_process(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Downloads as on Windows, where no worker can be had. A process of its own takes each nearly a second."""
    from quantlab.runtime import worker

    monkeypatch.setattr(worker, "unavailable", lambda: "needs Linux or macOS")
    yield
    # Those that a refusal left behind: over a server that has gone they would close what the next test asks with.
    for thread in threading.enumerate():
        if thread.name.startswith("quantlab-download"):
            thread.join(10)


@pytest.fixture
def filled(hub: HubServer, model_files) -> HubServer:
    """A Hub with one good model, surrounded by what must never be fetched."""
    hub.repos[REPO] = model_files | {
        "pytorch_model.bin": b"pickle",
        "consolidated.safetensors": model_files[WEIGHTS],
        "onnx/model.safetensors": model_files[WEIGHTS],
        "modeling_small.py": b"raise SystemExit",
        "README.md": b"# small",
    }
    return hub


def partials(cache: Path) -> list[Path]:
    """The files that are not complete yet."""
    return list(cache.rglob("*.incomplete"))


def point_to(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
