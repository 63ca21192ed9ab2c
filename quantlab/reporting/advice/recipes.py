"""How to run a precision without quantlab: code or commands with the settings that its figures were measured at.

Transformers quantizes as it loads where it can; what must be made first is made by `quantlab quantize`.
"""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal

from quantlab.errors import QuantlabError
from quantlab.methods import precision as precision_of
from quantlab.methods import split_adapter
from quantlab.methods.bitsandbytes import BitsAndBytesPrecision
from quantlab.methods.dense import DensePrecision
from quantlab.methods.gguf import NAME
from quantlab.methods.hqq import HqqPrecision
from quantlab.methods.published import SEPARATOR, STORED
from quantlab.records import OLLAMA, Precision, Quality, QualityRun
from quantlab.records.asked import P
from quantlab.reporting.advice import Advice
from quantlab.reporting.advice.sources import Source, of_ollama, source, typed_name
from quantlab.reporting.advice.written import (
    ADAPTER_IMPORT,
    compute_dtype,
    device_map,
    quantize_words,
    quoted,
    with_adapter,
)
from quantlab.runtime.kv_cache import GROUP, GROUP_DETAIL, HQQ_BITS, RESIDUAL, split

#: Tokens of context where the model's own are not known, and the most that is asked for: the KV cache grows with them.
CONTEXT, MOST_CONTEXT = 4_096, 8_192
_LENGTH = "max_new_tokens=64, do_sample=False"
_GENERATE = f"output = model.generate(**inputs, {_LENGTH})"
_TRY = f"""\
inputs = tokenizer("Once upon a time", return_tensors="pt").to(model.device)
{_GENERATE}
print(tokenizer.decode(output[0], skip_special_tokens=True))"""


@dataclass(frozen=True)
class Block:
    """Code to copy; `about` says in one sentence what it is."""

    language: Literal["python", "sh", "text"]
    code: str
    about: str = ""


@dataclass(frozen=True)
class Recipe:
    """How to run one precision. Without blocks no other program does, and `said` tells why."""

    precision: str
    said: str
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class _Asked(Generic[P]):
    """What a recipe is made of. `typed` is the model as quantlab is told it."""

    quality: Quality
    chosen: P
    source: Source
    context: int
    private: bool
    typed: str = ""

    @property
    def dtype(self) -> str:
        return compute_dtype(self.quality.settings.placement)

    @property
    def device_map(self) -> str:
        return device_map(self.quality.settings.placement)

    @property
    def out(self) -> str:
        """The folder that `quantlab quantize` is told to fill."""
        short = re.sub(r"[^A-Za-z0-9._-]+", "-", self.source.short).strip("-.") or "model"
        return f"{short}-{self.chosen.name}"


def recipe(quality: Quality, name: str, context: int | None = None, private: bool = False) -> Recipe:
    """How to run the column `name`. `context` is the model's own number of tokens; None where it is not known.

    `private` keeps from it where a folder lies. Raises KeyError where there is no such column.
    """
    run, tokens = quality.run(name), min(context or CONTEXT, MOST_CONTEXT)
    weights, kv_cache = split(name)
    weights, adapter = split_adapter(weights)
    found = _of_weights(quality, run, weights, tokens, private)
    found = found if adapter is None else _beside(found, name, adapter, private)
    return found if kv_cache is None else _at_kv_cache(found, run, kv_cache)


def _beside(found: Recipe, name: str, adapter: str, private: bool) -> Recipe:
    """The same with an adapter beside the weights."""
    first, after = "from transformers import", "tokenizer = "
    blocks = []
    for block in found.blocks:
        code = block.code.replace(first, f"{ADAPTER_IMPORT}\n{first}", 1)
        blocks.append(replace(block, code=code.replace(after, f"{with_adapter(adapter, private)}\n{after}", 1)))
    return Recipe(name, f"{found.said.rstrip('.')}. peft lays the adapter beside them.", tuple(blocks))


def _of_weights(quality: Quality, run: QualityRun, name: str, tokens: int, private: bool) -> Recipe:
    """The recipe of a column's weights, whose precision or checkpoint is `name`."""
    typed, _, pick = name.partition(SEPARATOR)
    try:
        chosen: Precision | None = precision_of(pick or name)
    except QuantlabError:
        chosen = None
    file = run.load.details.get("file", "") if run.load else ""
    if file and of_ollama(quality.model) and name == STORED:
        return _of_ollama(quality, file, tokens)
    if file and (chosen is None or chosen.method == "stored" or file != NAME):
        return Recipe(name, f"{name} is a file that llama.cpp and Ollama run as it is.", _llama(quality, file, tokens))
    if chosen is None:
        code = _loading(_Asked(quality, Precision(name, "stored", 16, ""), Source(typed, None, typed), tokens, private))
        said = f"{name} is a published checkpoint: transformers loads it from its folder, or by its id on the Hub."
        return Recipe(name, said, (Block("python", code),))
    found = Source(typed, None, typed) if pick else source(quality.model, private)
    asked = _Asked(quality, chosen, found, tokens, private, typed if pick else typed_name(quality.model, private))
    of_a_file = _OF_A_FILE.get(chosen.method) if quality.model.kind == "gguf" and not pick else None
    return (of_a_file or _RECIPES.get(chosen.method, _unknown))(asked, name)


def _at_kv_cache(found: Recipe, run: QualityRun, kv_cache: str) -> Recipe:
    """The same with keys and values in a type of transformers or of llama.cpp, each where it runs the weights."""
    by_hqq, blocks = kv_cache in HQQ_BITS, []
    group = run.load.details.get(GROUP_DETAIL, str(GROUP)) if run.load else str(GROUP)
    for block in found.blocks:
        if by_hqq and _GENERATE in block.code:
            block = replace(block, code=block.code.replace(_GENERATE, _generate_at(HQQ_BITS[kv_cache], group)))
        elif block.code.startswith("llama-server "):
            block = replace(block, code=f"{block.code} -fa on -ctk {kv_cache} -ctv {kv_cache}")
        elif block.code.startswith("FROM "):
            told = f"OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE={kv_cache} ollama serve"
            block = replace(block, about=f"{block.about.rstrip('.')}, where the server was started by `{told}`.")
        blocks.append(block)
    return Recipe(run.precision, f"{found.said.rstrip('.')}. Keys and values are kept in {kv_cache}.", tuple(blocks))


def _generate_at(bits: int, group: str) -> str:
    return f"""\
cache = {{
    "backend": "hqq", "nbits": {bits}, "axis_key": 1, "axis_value": 1,
    "q_group_size": {group}, "residual_length": {RESIDUAL},
}}
output = model.generate(**inputs, {_LENGTH}, cache_implementation="quantized", cache_config=cache)"""


def recipes(quality: Quality, advice: Advice, context: int | None = None, private: bool = False) -> tuple[Recipe, ...]:
    """How to run what is recommended: the smallest that is close enough, then the fastest where that is another one."""
    # The fastest alone is the reference, where nothing was compared with it.
    names = dict.fromkeys(filter(None, (advice.smallest, advice.fastest))) if advice.smallest else ()
    return tuple(recipe(quality, name, context, private) for name in names)


def _dense(asked: _Asked[DensePrecision], name: str) -> Recipe:
    return Recipe(name, f"{name} needs only transformers.", (Block("python", _loading(asked, asked.chosen.dtype)),))


def _stored(asked: _Asked, name: str) -> Recipe:
    return Recipe(name, "transformers loads it as it is stored.", (Block("python", _loading(asked)),))


def _bitsandbytes(asked: _Asked[BitsAndBytesPrecision], name: str) -> Recipe:
    chosen = asked.chosen
    if chosen.quant_type == "int8":
        settings = f"load_in_8bit=True, llm_int8_threshold={chosen.threshold}"
    else:
        settings = (
            f'load_in_4bit=True,\n    bnb_4bit_quant_type="{chosen.quant_type}",\n'
            f"    bnb_4bit_use_double_quant={chosen.double},\n    bnb_4bit_compute_dtype=torch.{asked.dtype},"
        )
    made = f"quantization = BitsAndBytesConfig(\n    {settings}\n)" if "\n" in settings else (
        f"quantization = BitsAndBytesConfig({settings})"
    )  # fmt: skip
    code = _loading(asked, imports="BitsAndBytesConfig", before=made, option="quantization_config=quantization")
    said = f"{name} is made by transformers and bitsandbytes while they load the original weights."
    return Recipe(name, said, (Block("python", code),))


def _hqq(asked: _Asked[HqqPrecision], name: str) -> Recipe:
    after = f"""\
config = BaseQuantizeConfig(nbits={asked.chosen.weight_bits}, group_size=64, axis=1)
for path, layer in list(model.named_modules()):
    if isinstance(layer, torch.nn.Linear) and layer is not model.get_output_embeddings():
        made = HQQLinear(layer, config, compute_dtype=torch.{asked.dtype}, device=str(layer.weight.device))
        model.set_submodule(path, made)"""
    line = "from hqq.core.quantize import BaseQuantizeConfig, HQQLinear"
    said = f"{name} is made by the package hqq of the original weights; it has no checkpoint that transformers loads."
    return Recipe(name, said, (Block("python", _loading(asked, first=line, after=after)),))


def _made_first(asked: _Asked, name: str) -> Recipe:
    """A folder of `quantlab quantize` that transformers loads."""
    saved = replace(asked, source=Source(f"./{asked.out}", None, asked.out))
    dtype = "bfloat16" if asked.chosen.name.startswith("ao-int4") else _own_dtype(asked)
    packages = _NEEDED.get(asked.chosen.method)
    return Recipe(
        name,
        f"{name} is written once, and transformers loads the folder{f'; it needs {packages}' if packages else ''}.",
        (Block("sh", _quantize(asked)), Block("python", _loading(saved, dtype))),
    )


def _own_dtype(asked: _Asked) -> str:
    """That of the precision, where it is one of wide numbers; else that of what is not quantized."""
    return getattr(asked.chosen, "dtype", None) or asked.dtype


#: What transformers needs to load what each method writes.
_NEEDED = {"torchao": "torchao", "bitsandbytes": "bitsandbytes", "gptq": "gptqmodel and optimum"}
_NEEDED["awq"] = _NEEDED["gptq"]


def _gguf(asked: _Asked, name: str) -> Recipe:
    made = Block("sh", _quantize(asked))
    return Recipe(
        name,
        f"{name} is written once, as a file that llama.cpp and Ollama run.",
        (made, *_llama(asked.quality, NAME, asked.context, asked.out)),
    )


def _rtn(asked: _Asked, name: str) -> Recipe:
    del asked
    return Recipe(
        name,
        f"No other program runs {name}: it is quantlab's own baseline. GPTQ, AWQ, GGUF and bitsandbytes have programs "
        "that run them.",
    )


def _only_here(asked: _Asked, name: str) -> Recipe:
    del asked
    return Recipe(name, f"{name} of a GGUF file has no checkpoint that other programs load. nf4 and GPTQ have one.")


def _of_ollama(quality: Quality, file: str, context: int) -> Recipe:
    typed = quality.model.name[len(OLLAMA) :]
    server, _ = _llama(quality, file, context)
    return Recipe(
        STORED,
        "stored is the file that Ollama runs under this name.",
        (
            Block("sh", shlex.join(["ollama", "run", typed]), "With Ollama:"),
            replace(server, about="With llama.cpp, in the folder blobs of Ollama's store:"),
        ),
    )


def _unknown(asked: _Asked, name: str) -> Recipe:
    del asked
    return Recipe(name, f"How other programs run {name} is not known.")


_RECIPES: Mapping[str, Callable[[_Asked[Any], str], Recipe]] = {
    "dense": _dense,
    "stored": _stored,
    "bitsandbytes": _bitsandbytes,
    "hqq": _hqq,
    "gptq": _made_first,
    "awq": _made_first,
    "torchao": _made_first,
    "gguf": _gguf,
    "rtn": _rtn,
}
#: Of a GGUF file as the model, which transformers does not quantize as it loads.
_OF_A_FILE: Mapping[str, Callable[[_Asked[Any], str], Recipe]] = {
    "dense": _made_first,
    "bitsandbytes": _made_first,
    "hqq": _only_here,
}


def _loading(
    asked: _Asked,
    dtype: str | None = None,
    imports: str = "",
    first: str = "",
    before: str = "",
    option: str = "",
    after: str = "",
) -> str:
    """A program that loads with transformers, at the type and the place that were measured, and answers once."""
    revision = f"revision={quoted(asked.source.revision)}" if asked.source.revision else ""
    options = [f"dtype=torch.{dtype or asked.dtype}", f"device_map={asked.device_map}", revision, option]
    names = ", ".join(sorted({"AutoModelForCausalLM", "AutoTokenizer", *filter(None, [imports])}))
    lines = [
        "import torch",
        first,
        f"from transformers import {names}",
        "",
        f"model_id = {quoted(asked.source.name)}",
        before,
        "model = AutoModelForCausalLM.from_pretrained(",
        *(f"    {each}," for each in ("model_id", *options) if each),
        ")",
        after,
        f"tokenizer = AutoTokenizer.from_pretrained({', '.join(filter(None, ['model_id', revision]))})",
        _TRY,
    ]
    return "\n".join(line for at, line in enumerate(lines) if line or at == 3)


def _quantize(asked: _Asked) -> str:
    """The command that writes it, with the place and the calibration text that were measured."""
    settings = asked.quality.settings
    words = quantize_words(
        asked.typed, asked.chosen.name, asked.out, settings.placement, settings.calibration, asked.private
    )
    return shlex.join(["quantlab", "quantize", *words])


def _llama(quality: Quality, file: str, context: int, folder: str = ".") -> tuple[Block, ...]:
    """llama.cpp's server and Ollama, for a file in a folder."""
    on_gpu = ["-ngl", "999"] if quality.settings.placement.device.startswith("cuda") else []
    path = file if folder == "." else f"{folder}/{file}"
    server = shlex.join(["llama-server", "-m", path, "-c", str(context), *on_gpu])
    line = "".join(char if char.isprintable() else "\ufffd" for char in path)
    model = f"FROM ./{line}\nPARAMETER num_ctx {context}"
    return (
        Block("sh", server, "With llama.cpp:"),
        Block("text", model, "With Ollama: a Modelfile, for `ollama create NAME -f Modelfile`."),
    )
