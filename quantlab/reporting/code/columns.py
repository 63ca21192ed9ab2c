"""What a script does for one column: load the variant as the comparison did. One function a method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from quantlab.methods.bitsandbytes import BitsAndBytesPrecision
from quantlab.methods.dense import DensePrecision
from quantlab.methods.gguf import NAME
from quantlab.methods.hqq import GROUP_SIZE, HqqPrecision
from quantlab.methods.rtn import RtnPrecision
from quantlab.methods.torchao import TorchAoPrecision
from quantlab.records import Precision, Settings
from quantlab.reporting.advice.sources import Source
from quantlab.reporting.advice.written import compute_dtype, device_map, quantize_words, quoted
from quantlab.reporting.code import parts


@dataclass(frozen=True)
class Asked:
    """A column to write down. `source` is code that gives what `from_pretrained` takes, `revision` goes beside it.

    `typed` is the model as quantlab is told it, `short` names folders after it.
    """

    chosen: Precision
    settings: Settings
    source: str
    revision: str | None
    typed: str
    short: str
    private: bool

    @property
    def dtype(self) -> str:
        return compute_dtype(self.settings.placement)

    @property
    def on_cpu(self) -> bool:
        return self.settings.placement.device == "cpu"


@dataclass(frozen=True)
class Column:
    """The code of one column. `load` ends with `model` there, where transformers runs it; else `file` is what llama.cpp
    reads, as code. `names` are imported from transformers, `imports` are whole lines, `helpers` are of `parts`.
    """

    load: str = ""
    file: str = ""
    names: frozenset[str] = frozenset()
    imports: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    remark: str = ""


def column(asked: Asked) -> Column | None:
    """The code for a precision; None where its method is not known here (one of another package)."""
    write = _WRITTEN.get(asked.chosen.method)
    return write(asked) if write else None


def stored(source: Source, settings: Settings) -> Column:
    """A published checkpoint that transformers loads."""
    asked = Asked(Precision("stored", "stored", 16, ""), settings, quoted(source.name), source.revision, "", "", False)
    return _plain(asked)


def llama_file(file: str) -> Column:
    """A GGUF file that lies there."""
    return Column(file=file, packages=("llama-cpp-python",))


def _from_pretrained(asked: Asked, dtype: str | None = None, option: str = "", source: str = "") -> str:
    revision = f"revision={quoted(asked.revision)}" if asked.revision and not source else ""
    options = [f"dtype=torch.{dtype or asked.dtype}", f"device_map={device_map(asked.settings.placement)}"]
    each = [source or asked.source, *options, revision, option]
    lines = "".join(f"    {line},\n" for line in each if line)
    return f"model = AutoModelForCausalLM.from_pretrained(\n{lines})"


def _plain(asked: Asked) -> Column:
    return Column(_from_pretrained(asked))


def _dense(asked: Asked) -> Column:
    chosen = asked.chosen
    assert isinstance(chosen, DensePrecision)
    return Column(_from_pretrained(asked, chosen.dtype))


def _bitsandbytes(asked: Asked) -> Column:
    chosen = asked.chosen
    assert isinstance(chosen, BitsAndBytesPrecision)
    if chosen.quant_type == "int8":
        made = f"BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold={chosen.threshold})"
    else:
        made = (
            f'BitsAndBytesConfig(\n        load_in_4bit=True,\n        bnb_4bit_quant_type="{chosen.quant_type}",\n'
            f"        bnb_4bit_use_double_quant={chosen.double},\n"
            f"        bnb_4bit_compute_dtype=torch.{asked.dtype},\n    )"
        )
    code = _from_pretrained(asked, option=f"quantization_config={made}")
    return Column(code, names=frozenset({"BitsAndBytesConfig"}), packages=("bitsandbytes",))


def _torchao(asked: Asked) -> Column:
    chosen = asked.chosen
    assert isinstance(chosen, TorchAoPrecision)
    name = {"int8": "Int8WeightOnlyConfig", "float8": "Float8WeightOnlyConfig"}.get(chosen.kind, "Int4WeightOnlyConfig")
    options = f'group_size={chosen.group_size}, int4_packing_format="tile_packed_to_4d", ' * (chosen.kind == "int4")
    made = f"quantization_config=TorchAoConfig({name}({options}set_inductor_config=False))"
    code = _from_pretrained(asked, "bfloat16" if chosen.kind == "int4" else None, made)
    line = f"from torchao.quantization import {name}"
    return Column(code, names=frozenset({"TorchAoConfig"}), imports=(line,), packages=("torchao",))


def _hqq(asked: Asked) -> Column:
    chosen = asked.chosen
    assert isinstance(chosen, HqqPrecision)
    dtype = f"compute_dtype=torch.{asked.dtype}, device=str(layer.weight.device)"
    code = f"""{_from_pretrained(asked)}
config = BaseQuantizeConfig(nbits={chosen.weight_bits}, group_size={GROUP_SIZE}, axis=1)
for name in linear_layers(model):
    layer = model.get_submodule(name)
    model.set_submodule(name, HQQLinear(layer, config, {dtype}))"""
    line = "from hqq.core.quantize import BaseQuantizeConfig, HQQLinear"
    return Column(code, imports=(line,), helpers=(parts.LINEAR,), packages=("hqq",))


def _rtn(asked: Asked) -> Column:
    chosen = asked.chosen
    assert isinstance(chosen, RtnPrecision)
    code = f"""{_from_pretrained(asked)}
with torch.no_grad():
    for name in linear_layers(model):
        weight = model.get_submodule(name).weight
        weight.copy_(round_to_nearest(weight, {chosen.weight_bits}, {chosen.group_size}, {chosen.symmetric}))"""
    return Column(code, helpers=(parts.LINEAR, parts.ROUND))


def written_once(asked: Asked) -> str:
    """Code that gives the folder which `quantlab quantize` writes."""
    out = f"{asked.short}-{asked.chosen.name}"
    settings = asked.settings
    words = quantize_words(asked.typed, asked.chosen.name, out, settings.placement, settings.calibration, asked.private)
    pairs = [f"{quoted(words[at])}, {quoted(words[at + 1])}" for at in range(0, len(words), 2)]
    return "made(\n" + "".join(f"    {each},\n" for each in (quoted(out), *pairs)) + ")"


_MADE_IMPORTS = ("import os", "import subprocess", "import sys")


def _calibrated(asked: Asked) -> Column:
    code = f"folder = {written_once(asked)}\n{_from_pretrained(asked, source='folder')}"
    if asked.on_cpu:
        code += (
            "\nfor module in model.modules():\n"
            '    vars(module).pop("dequantize_weight", None)  # compiled, it would take longer on a CPU'
        )
    remark = "Quantized once over a calibration text, then loaded by transformers and gptqmodel."
    return Column(
        code, imports=_MADE_IMPORTS, helpers=(parts.MADE,), packages=("gptqmodel", "optimum", "quantlab"), remark=remark
    )


def _gguf(asked: Asked) -> Column:
    code, file = f"folder = {written_once(asked)}", f"os.path.join(folder, {quoted(NAME)})"
    return Column(code, file, frozenset(), _MADE_IMPORTS, (parts.MADE,), ("llama-cpp-python", "quantlab"))


_WRITTEN: Mapping[str, Callable[[Asked], Column]] = {
    "dense": _dense,
    "stored": _plain,
    "bitsandbytes": _bitsandbytes,
    "hqq": _hqq,
    "rtn": _rtn,
    "torchao": _torchao,
    "gptq": _calibrated,
    "awq": _calibrated,
    "gguf": _gguf,
}
