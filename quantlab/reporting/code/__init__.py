"""A comparison as a short program that does the same without quantlab, by transformers or llama-cpp-python.

Same weights, prompt, chat template, choice of tokens, length and end. What a user typed goes in as Python writes it
(`repr`), never as code. GPTQ, AWQ and the files of llama.cpp are written by `quantlab quantize` first, as ordinary
checkpoints.
"""

import ast
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from quantlab.errors import BadInput, QuantlabError
from quantlab.methods import precision as precision_of
from quantlab.methods import published, split_adapter
from quantlab.models.quiet import CHATTY
from quantlab.models.shapes import FOLDER as SHAPES
from quantlab.models.shapes import PREFIX
from quantlab.models.smollm2 import COMMIT, REPO
from quantlab.models.source import DEMO, DEMO_FOLDER, SMOLLM2
from quantlab.records import Comparison, Precision, Run
from quantlab.reporting.advice.sources import Source, source, typed_name
from quantlab.reporting.advice.written import ADAPTER_IMPORT, quantize_words, quoted, with_adapter
from quantlab.reporting.code import columns, parts
from quantlab.reporting.code.columns import Asked, Column
from quantlab.runtime.kv_cache import GROUP, GROUP_DETAIL, HQQ_BITS, RESIDUAL, split

__all__ = ["as_asked", "code"]


def code(comparison: Comparison, precisions: Sequence[str] = (), private: bool = False) -> str:
    """A program that loads what the comparison loaded and gives the same answers, as `answers` and on the screen.

    `precisions` names the columns to write down, all where it is empty; a published checkpoint as it was typed, since
    its column has a short name only. Columns that failed are left out, with a remark. `private` keeps from it where
    files lie.

    Raises BadInput for a name that the comparison does not have.
    """
    typed = {published.labels(precisions).get(name, name): name for name in precisions}
    for name in typed:
        if name not in (there := [run.precision for run in comparison.runs]):
            raise BadInput(f"The comparison has no column {name!r}.", f"Choose from: {', '.join(there)}.")
    runs = [run for run in comparison.runs if not typed or run.precision in typed]
    script = _Script(comparison, private)
    for run in runs:
        script.add(run, typed.get(run.precision, run.precision))
    return script.text()


def as_asked(comparison: Comparison, asked: Iterable[str]) -> list[str]:
    """The columns of a comparison, each by the name under which it was asked for where that is among `asked`."""
    typed = {label: name for name, label in published.labels(asked).items()}
    return [typed.get(run.precision, run.precision) for run in comparison.runs]


class _Script:
    """A program that grows by a column at a time."""

    def __init__(self, comparison: Comparison, private: bool) -> None:
        self._comparison, self._private = comparison, private
        self._settings = comparison.settings
        self._model = _source(comparison, private)
        self._bodies: list[str] = []
        self._columns: list[Column] = []

    @property
    def _from_file(self) -> bool:
        return self._comparison.model.kind == "gguf"

    def add(self, run: Run, typed: str) -> None:
        """The code of one column, or a remark why there is none."""
        name = quoted(run.precision)
        if run.error:
            self._bodies.append(f"# {name} did not run in the comparison.")
            return
        if run.served is not None:
            told = f"{run.served.model!r} at {run.served.address}"
            self._bodies.append(
                f"# {name} was answered by a server, {ascii(told)[1:-1]}, which this program does not ask."
            )
            return
        base, kv_cache = split(typed)
        weights, adapter = split_adapter(base)
        made = self._column(run, weights)
        if made is not None and adapter is not None:
            made = replace(
                made, load=f"{made.load}\n{with_adapter(adapter, self._private)}",
                imports=(*made.imports, ADAPTER_IMPORT), packages=(*made.packages, "peft"),
            )  # fmt: skip
        if made is None:
            self._bodies.append(f"# {name}: how other programs run it is not known.")
            return
        self._columns.append(made)
        lines = [f"# {name}{'. ' + made.remark if made.remark else ''}", made.load]
        lines += [f"answers[{name}] = {self._answered(made, run, kv_cache)}", f"show({name})"]
        lines += [] if made.file else ["del model"]
        self._bodies.append("\n".join(filter(None, lines)))

    def _column(self, run: Run, base: str) -> Column | None:
        file = run.load.details.get("file", "") if run.load else ""
        try:
            chosen: Precision | None = precision_of(base)
        except QuantlabError:
            chosen = None
        if chosen is None:
            return self._published(base, file)
        if chosen.method == published.STORED and self._from_file:
            return columns.llama_file("gguf_file")
        asked = Asked(
            chosen, self._settings, "model_id", self._model.revision, typed_name(self._comparison.model, self._private),
            _folder_name(self._model), self._private,
        )  # fmt: skip
        return columns.column(asked)

    def _published(self, spec: str, file: str) -> Column | None:
        """The code for a checkpoint by the name under which it was typed, or by its column's where that is lost."""
        found = published.read(spec)
        if file:
            path = found.name if found.name.lower().endswith(".gguf") else f"{found.name.rstrip('/')}/{file}"
            return columns.llama_file(quoted(f"./{file}" if self._private or spec == file else path))
        where = _found(found.name)
        if found.pick is None:
            return columns.stored(where, self._settings)
        try:
            chosen = precision_of(found.pick)
        except QuantlabError:
            return None
        asked = Asked(
            chosen, self._settings, quoted(where.name), where.revision, found.name, _folder_name(where), self._private
        )
        return columns.column(asked)

    def _answered(self, made: Column, run: Run, kv_cache: str | None) -> str:
        if made.file:
            full = "f32" if self._settings.placement.compute_dtype == "float32" else "f16"
            kept = kv_cache if kv_cache is not None else full
            kind = f"llama_cpp.GGML_TYPE_{kept.upper()}"
            flash = ", flash_attn=True" if kv_cache else ""
            return f"llama_answer(\n    {made.file}, type_k={kind}, type_v={kind}{flash}\n)"
        if kv_cache is None:
            return "answer(model)"
        group = run.load.details.get(GROUP_DETAIL, str(GROUP)) if run.load else str(GROUP)
        options = f'"hqq", model.config, nbits={HQQ_BITS[kv_cache]}, axis_key=1, axis_value=1'
        return (
            "answer(\n    model,\n"
            f"    past_key_values=QuantizedCache(\n        {options},\n"
            f"        q_group_size={group}, residual_length={RESIDUAL},\n    ),\n)"
        )

    def text(self) -> str:
        """The whole program."""
        by_torch = any(not it.file for it in self._columns)
        by_llama = any(it.file for it in self._columns)
        # The tokenizer in a GGUF file is read by llama.cpp, where nothing else needs more than that of the file.
        reader = self._from_file and not by_torch
        helpers = [helper for it in self._columns for helper in it.helpers]
        helpers += [parts.MADE] if self._from_file and by_torch else []
        defined = [*([self._transformers()] if by_torch else []), *([self._llama(reader)] if by_llama else [])]
        blocks = [
            *([f"import logging\n\n{parts.QUIET.format(names=_LOGGERS)}"] if by_torch else []),
            "\n".join(self._imports(by_torch, by_llama, reader)),
            self._prompt(reader),
            *dict.fromkeys((*helpers, *defined)),
            self._show(reader),
            "answers = {}",
            *self._bodies,
        ]
        joined = blocks[0]
        for before, block in itertools.pairwise(blocks):
            joined += "\n\n\n" if "def " in (block[:4], before[:4]) else "\n\n"
            joined += block
        return f"{self._needs(joined)}\n\n{joined}\n"

    def _needs(self, program: str) -> str:
        packages = ["torch", "transformers", "accelerate"] if any(not it.file for it in self._columns) else []
        packages += ["transformers"] if not packages and not self._from_file else []
        more = [package for it in self._columns for package in it.packages]
        more += ["hqq"] if any("QuantizedCache" in body for body in self._bodies) else []
        needed = [*dict.fromkeys((*packages, *more))]
        lines = [
            f"# A comparison of {quoted(self._comparison.model.name)} by hand." if not self._private
            else "# A comparison by hand.",
            f"# It needs: pip install {' '.join(needed)}",
        ]  # fmt: skip
        if versions := _versions(self._comparison, needed):
            lines += [f"# The comparison ran on: {versions}.", parts.SAID_VERSIONS]
        lines += [parts.SAID_PLACES] if _names_places(program, self._comparison.prompt) else []
        lines += [parts.SAID_SAMPLING] if self._settings.sample else []
        lines += [parts.SAID_RANDOM] if self._comparison.model.meaningless else []
        return "\n".join(lines)

    def _imports(self, by_torch: bool, by_llama: bool, reader: bool) -> list[str]:
        random = self._comparison.model.meaningless
        lines = {line for it in self._columns for line in it.imports}
        lines |= set(_MADE_IMPORTS) if self._from_file and by_torch else set()
        lines |= {"import os"} if random else set()
        lines |= {"import torch"} if by_torch or random else set()
        lines |= {"import llama_cpp", "from llama_cpp import Llama"} if by_llama else set()
        lines |= {parts.CHAT_FORMAT} if reader and not self._settings.raw else set()
        names = {name for it in self._columns for name in it.names}
        names |= {"AutoModelForCausalLM", "GenerationConfig"} if by_torch else set()
        names |= {"QuantizedCache"} if any("QuantizedCache" in body for body in self._bodies) else set()
        names |= {"AutoConfig", "AutoModelForCausalLM"} if random else set()
        names |= {"AutoTokenizer"} if not reader else set()
        if names:
            listed = "".join(f"    {name},\n" for name in sorted(names))
            lines.add(f"from transformers import (\n{listed})")
        first = sorted(line for line in lines if line in _MADE_IMPORTS)
        others = sorted(lines - set(first), key=lambda line: (line.split()[1], line))
        return [*first, *([""] if first and others else []), *others]

    def _prompt(self, reader: bool) -> str:
        model, comparison = self._model, self._comparison
        lines = [f"prompt = {quoted(comparison.prompt)}"]
        if self._from_file:
            lines.append(f"gguf_file = {quoted(self._file())}")
        if reader:
            lines.append(parts.RAW_READER if self._settings.raw else parts.READER)
        else:
            lines += self._tokenizer(model)
            lines.append(parts.RAW if self._settings.raw else parts.TEMPLATED)
        count = len(comparison.prompt_token_ids)
        lines.append(f'assert len(ids) == {count:_}, "the prompt is not read as the tokens of the comparison"')
        return "\n".join(lines)

    def _tokenizer(self, model: Source) -> list[str]:
        if self._comparison.model.meaningless:
            name = self._comparison.model.name.removeprefix(PREFIX)
            folder, config = quoted(f"{_folder_name(model)}-random"), quoted(str(SHAPES / f"{name}.json"))
            return [
                f"model_id = {folder}",
                "if not os.path.isdir(model_id):",
                f"    config = AutoConfig.from_pretrained({config})",
                "    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(model_id)",
                f"tokenizer = AutoTokenizer.from_pretrained({quoted(str(DEMO_FOLDER))})",
            ]
        if self._from_file:
            typed, out = typed_name(self._comparison.model, self._private), f"{_folder_name(model)}-fp32"
            words = quantize_words(typed, "fp32", out, self._settings.placement, self._settings.calibration)
            told = ", ".join(map(quoted, words))
            return [
                "# transformers reads a folder: the file's weights are written into one.",
                f"model_id = {quoted(out)}",
                "if not os.path.isdir(model_id):",
                f'    subprocess.run([sys.executable, "-m", "quantlab.cli", "quantize", {told}], check=True)',
                "tokenizer = AutoTokenizer.from_pretrained(model_id)",
            ]
        revision = f", revision={quoted(model.revision)}" if model.revision else ""
        asked, remark = self._comparison.model, []
        if asked.kind == "demo":
            remark = ["# The folder assets/demo-model of quantlab's repository."]
        elif asked.kind in ("folder", "package") and (self._private or asked.folder is None):
            remark = ["# The folder of the model. Where it lies is not kept: put it in here."]
        return [
            *remark,
            f"model_id = {quoted(model.name)}",
            f"tokenizer = AutoTokenizer.from_pretrained(model_id{revision})",
        ]

    def _file(self) -> str:
        model = self._comparison.model
        if (file := model.origin or model.gguf) is not None:
            return f"./{file.name}" if self._private else str(file)
        kept = (run.load.details.get("file") for run in self._comparison.runs if run.load)
        return next(filter(None, kept), self._model.name)

    def _transformers(self) -> str:
        asked = self._settings
        chosen = f"max_new_tokens={asked.max_new_tokens}, do_sample={asked.sample}"
        if asked.sample:
            chosen += f", temperature={asked.temperature}, top_k={asked.top_k}, top_p={asked.top_p}"
        defined = parts.TRANSFORMERS_ANSWER.replace("{choice}", chosen)
        seeded = f"    torch.manual_seed({asked.seed})\n    output = "
        return defined.replace("    output = ", seeded) if asked.sample else defined

    def _llama(self, reader: bool) -> str:
        asked = self._settings
        chosen = "temp=0.0"
        if asked.sample:
            chosen = f"temp={asked.temperature}, top_k={asked.top_k}, top_p={asked.top_p}, min_p=0.0"
        return parts.LLAMA_ANSWER.format(
            context=len(self._comparison.prompt_token_ids) + asked.max_new_tokens,
            layers=-1 if asked.placement.device.startswith("cuda") else 0,
            seed=asked.seed % 2**32,
            eos="reader.token_eos()" if reader else "tokenizer.eos_token_id",
            choice=chosen,
            new_tokens=asked.max_new_tokens,
        )

    def _show(self, reader: bool) -> str:
        text = "reader.detokenize(answers[name]).decode(errors='replace')" if reader else (
            "tokenizer.decode(answers[name], skip_special_tokens=True)"
        )  # fmt: skip
        return f'def show(name):\n    print(f"--- {{name}}")\n    print({text})'


_MADE_IMPORTS = ("import os", "import subprocess", "import sys")
_LOGGERS = f"({', '.join(map(quoted, CHATTY))})"
#: A record may be from elsewhere: what is no version is left out.
_VERSION = re.compile(r"[\w.+!-]{1,40}", re.ASCII)


def _versions(comparison: Comparison, packages: Sequence[str]) -> str:
    """Which Python and which packages the comparison ran on, of those that the program needs."""
    found = ((name, comparison.versions.get(name, "")) for name in ("python", *packages))
    return ", ".join(f"{name} {version}" for name, version in found if _VERSION.fullmatch(version))


def _names_places(program: str, prompt: str) -> bool:
    """Whether a path of this machine stands in it."""
    texts = (it.value for it in ast.walk(ast.parse(program)) if isinstance(it, ast.Constant))
    return any(isinstance(it, str) and it != prompt and _is_place(it) for it in texts)


def _is_place(text: str) -> bool:
    return text.startswith("~/") or PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()


def _source(comparison: Comparison, private: bool) -> Source:
    """What `from_pretrained` takes. The bundled model lies with quantlab, wherever the comparison was made."""
    if comparison.model.kind == "demo" and not private:
        return Source(str(DEMO_FOLDER), None, DEMO_FOLDER.name)
    return source(comparison.model, private)


def _found(typed: str) -> Source:
    """What `from_pretrained` takes for a model's name as quantlab is told it: a folder, or an id with its revision."""
    if typed.casefold() == DEMO:
        return Source(str(DEMO_FOLDER), None, DEMO)
    if typed.casefold() == SMOLLM2:
        return Source(REPO, COMMIT, SMOLLM2)
    path = Path(typed).expanduser()
    if typed.startswith(("/", ".", "~", "\\")) or path.is_dir():
        return Source(str(path), None, path.name)
    name, _, revision = typed.partition("@")
    return Source(name, revision or None, name.rpartition("/")[2])


def _folder_name(model: Source) -> str:
    """A name for folders made of the model: plain characters alone."""
    kept = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in model.short)
    return kept.strip("-.") or "model"
