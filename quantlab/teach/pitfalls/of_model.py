"""Pitfalls that hang on the model."""

import math
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from quantlab.errors import ModelError
from quantlab.methods.gguf import architecture
from quantlab.methods.gguf.tensor_types import predict
from quantlab.methods.gguf.types import TYPES
from quantlab.models.architecture import text_config
from quantlab.records import Checkpoint, Model, units
from quantlab.records.pitfalls import CARE, FINE, UNSEEN, WRONG, Pitfall
from quantlab.settings import AppSettings

#: What each does, by its name.
EFFECTS: Mapping[str, str] = {
    "range of float16": "float16 ends at 65,504: a model trained in bfloat16 can leave that and give no numbers.",
    "K-quants that fall back": "K-quants take rows in multiples of 256. Other matrices get another type, mostly with "
    "more bits, so that the file is larger than its name says.",
    "BOS twice or never": "A second begin-of-text token, or none, changes every answer.",
    "space on the disk": "GPTQ, AWQ and GGUF are made once and kept; without room for that nothing is kept.",
}
_FILE_TYPE = "Q4_K_M"


def range_of_float16(checkpoint: Checkpoint) -> Pitfall:
    name, config = "range of float16", text_config(checkpoint.config)
    dtype = str(config.get("dtype") or config.get("torch_dtype") or checkpoint.config.get("torch_dtype") or "")
    if not dtype:
        return Pitfall(name, UNSEEN, EFFECTS[name], "config.json does not say in which type it was trained.")
    wide = dtype == "bfloat16"
    change = "Prefer bf16. Whether fp16 holds, a comparison says: it counts logits that are no numbers." if wide else ""
    code = "quantlab compare --precisions bf16,fp16" if wide else ""
    return Pitfall(name, CARE if wide else FINE, EFFECTS[name], f"It was published in {dtype}.", change, code)


def fallen_back(checkpoint: Checkpoint) -> Pitfall:
    name = "K-quants that fall back"
    try:
        if (why := architecture.refusal(checkpoint.config)) is not None:
            return Pitfall(name, UNSEEN, EFFECTS[name], f"It {why}.")
        planned = architecture.plan(checkpoint.config, checkpoint.tensors)
    except ModelError as error:
        return Pitfall(name, UNSEEN, EFFECTS[name], str(error))
    infos = {key: it.info for key, it in planned.items()}
    given = predict(_FILE_TYPE, infos, architecture.sizes(checkpoint.config, planned))
    matrices = {key: it.dtype for key, it in given.items() if TYPES[it.dtype].quantized}
    others = Counter(kind for kind in matrices.values() if not kind.endswith("_K"))
    if not others:
        seen = f"All {len(matrices)} matrices of {_FILE_TYPE} have rows in multiples of 256."
        return Pitfall(name, FINE, EFFECTS[name], seen)
    weights = sum(math.prod(infos[key].shape) for key, kind in matrices.items() if kind in others)
    share = weights / sum(math.prod(infos[key].shape) for key in matrices)
    kinds = ", ".join(f"{count} {kind}" for kind, count in others.items())
    seen = f"Of {_FILE_TYPE} {units.percent(share)} of the weights would get another type: {kinds}."
    return Pitfall(name, CARE, EFFECTS[name], seen, "Compare it with q4_0 or q8_0, which take rows in multiples of 32.")


def begin_of_text(model: Model | None) -> Pitfall:
    """Whether a plain script, that renders the chat template and then encodes it, puts BOS twice, or never."""
    from quantlab.models import templates
    from quantlab.models.tokenizer import added_bos, encode_prompt, load_tokenizer

    name = "BOS twice or never"
    if model is None:
        return Pitfall(name, UNSEEN, EFFECTS[name], "Its tokenizer is not on this machine; it is not fetched for this.")
    tokenizer = load_tokenizer(model)
    bos = tokenizer.bos_token_id
    if bos is None:
        return Pitfall(name, FINE, EFFECTS[name], "It has no begin-of-text token.")
    if not tokenizer.chat_template:
        puts = "one before a text" if added_bos(tokenizer) is not None else "none before a text, as it is made"
        return Pitfall(name, FINE, EFFECTS[name], f"It has no chat template, and its tokenizer puts {puts}.")
    plain = tokenizer.encode(templates.render(tokenizer, "Hello")).count(bos)
    ours = encode_prompt(tokenizer, "Hello", raw=False).count(bos)
    if plain == ours:
        return Pitfall(name, FINE, EFFECTS[name], f"A plain script puts {_times(plain)}, as quantlab does.")
    return Pitfall(
        name,
        CARE,
        EFFECTS[name],
        f"A script that renders the chat template and then encodes it puts {_times(plain)}, quantlab {_times(ours)}.",
        "Let the template do all of it.",
        'tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")',
    )


def _times(count: int) -> str:
    return {0: "none", 1: "one"}.get(count, str(count))


def space(checkpoint: Checkpoint, app: AppSettings) -> Pitfall:
    """Room for the largest that is kept of it: all its weights at 16 bits, as GGUF's f16 has them."""
    name, weights = "space on the disk", sum(math.prod(it.shape) for it in checkpoint.tensors.values())
    place = app.cache_folder.expanduser().absolute()
    there = next(folder for folder in (place, *place.parents, Path("/")) if folder.is_dir())
    free, needed = shutil.disk_usage(there).free, 2 * weights
    seen = f"{units.size(free)} are free where quantized weights are kept; at 16 bits it takes {units.size(needed)}."
    if needed > app.cache_bytes:
        change = "Raise QUANTLAB_CACHE_BYTES: it is more than all that is kept may take."
        return Pitfall(name, CARE, EFFECTS[name], f"{seen} At most {units.size(app.cache_bytes)} are kept.", change)
    if needed > free:
        return Pitfall(name, WRONG, EFFECTS[name], seen, "Make room, or set QUANTLAB_CACHE_FOLDER to another disk.")
    return Pitfall(name, FINE, EFFECTS[name], seen)
