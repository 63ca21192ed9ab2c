"""A shape as a folder: for tools of others that read nothing but files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from quantlab.models import shapes, source
from quantlab.models.configuration import without_code
from quantlab.models.folder import INDEX, TOKENIZER_FILES, WEIGHTS, read_json
from quantlab.models.held import held_config
from quantlab.records import Model, Progress

if TYPE_CHECKING:
    import torch

CONFIG = "config.json"
#: A shard is written when its tensors reach this many bytes.
SHARD_BYTES = 2 * 10**9


def materialized(model: Model, work: Path, progress: Progress) -> Path:
    """The folder of a model; a shape, which has none, is written into `work` with the demo's tokenizer.

    Where a folder holds more than files (a pipe, which never ends), `work` gets links to the files alone. `progress`
    counts tensors and may raise `Stopped`.
    """
    if model.folder is not None:
        return _with_config(_files_of(model.folder, work), model, work)
    from safetensors.torch import save_file

    folder = work / "shape"
    folder.mkdir(parents=True)
    config = shapes.shape_config(shapes.canonical(model.name))
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    for name in TOKENIZER_FILES:
        if (source.DEMO_FOLDER / name).is_file():
            (folder / name).write_bytes((source.DEMO_FOLDER / name).read_bytes())
    tensors = shapes.lazy_state_dict(model, config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    shard: dict[str, torch.Tensor] = {}
    weight_map: dict[str, str] = {}
    shards: list[str] = []
    held = 0

    def write() -> None:
        shards.append(f"model-{len(shards) + 1:05}.safetensors")
        save_file(shard, folder / shards[-1], metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, shards[-1]))

    for done, name in enumerate(tensors):
        progress(done, len(tensors), f"random weights: {name}")
        shard[name] = tensors[name][:].contiguous()
        held += shard[name].nbytes
        if held >= SHARD_BYTES:
            write()
            shard, held = {}, 0
    if shard:
        write()
    if len(shards) == 1:
        (folder / shards[0]).rename(folder / WEIGHTS)
    else:
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def _files_of(folder: Path, work: Path) -> Path:
    held = list(folder.iterdir())
    if all(it.is_file() or it.is_dir() for it in held):
        return folder
    linked = work / "files"
    linked.mkdir(parents=True)
    for file in held:
        if file.is_file():
            (linked / file.name).symlink_to(file.resolve())
    return linked


def _with_config(folder: Path, model: Model, work: Path) -> Path:
    """The folder itself, or links to its files with settings that say what the files hold and choose no code.

    Programs that believe a wrong setting would throw a head away that is no copy of the embeddings, or fetch what a
    setting names.
    """
    changed = {}
    for name in (CONFIG, "generation_config.json", "tokenizer_config.json"):
        if name != CONFIG and not (folder / name).is_file():
            continue
        found = read_json(folder / name, model.name)
        held = without_code(held_config(folder, model.name) if name == CONFIG else found)
        if held != found:
            changed[name] = held
    if not changed:
        return folder
    linked = work / "with-settings"
    linked.mkdir(parents=True)
    for file in folder.iterdir():
        if file.is_file() and file.name not in changed:
            (linked / file.name).symlink_to(file.absolute())
    for name, held in changed.items():
        (linked / name).write_text(json.dumps(held, indent=1))
    return linked
