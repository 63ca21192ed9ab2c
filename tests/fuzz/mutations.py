"""Ways to spoil the folder of a small model, each drawn from a seed."""

import json
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

#: What stands where something else should.
HOSTILE: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3,
        7,
        10**4,
        10**6,
        10**9,
        10**18,
        2**31,
        2**63,
        2**70,
        -(2**40),
        0.5,
        1e-30,
        1e30,
    ),
    *(
        float("nan"),
        float("inf"),
        -1.5,
        "",
        "x",
        "0",
        "64",
        "gelu",
        "\x1b[31mred",
        "a" * 50_000,
        "owner/name",
        "../..",
        "é\u0000",
    ),
    *([], [1], [[1]], ["x"], [None, None], [1] * 5_000, {}, {"a": 1}, {"type": "x"}, {"": {"": []}}),
)
#: Settings that a configuration may have beside its own, with values that are nearly right.
SETTINGS: tuple[tuple[str, Any], ...] = (
    ("hidden_act", "swishy"),
    ("hidden_activation", "relu7"),
    ("rope_scaling", {"rope_type": "su"}),
    ("rope_scaling", {"rope_type": "yarn"}),
    ("rope_scaling", {"rope_type": "linear", "factor": -1}),
    ("rope_scaling", {"rope_type": "llama3", "factor": "x"}),
    ("rope_parameters", {"rope_type": "dynamic", "rope_theta": 0}),
    ("rope_theta", "many"),
    ("layer_types", ["full_attention"]),
    ("layer_types", ["half_attention", "half_attention"]),
    ("dtype", "float8"),
    ("torch_dtype", "int4"),
    ("dtype", "float8_e4m3fn"),
    ("head_dim", 0),
    ("head_dim", 3),
    ("num_attention_heads", 3),
    ("num_key_value_heads", 3),
    ("num_key_value_heads", 0),
    ("tie_word_embeddings", "maybe"),
    ("architectures", ["NoSuchModel"]),
    ("architectures", "x"),
    ("model_type", "mamba"),
    ("model_type", "gpt2"),
    ("model_type", "mixtral"),
    ("model_type", "gemma3"),
    ("model_type", "nothing"),
    ("pad_token_id", 10**6),
    ("is_decoder", False),
    ("is_encoder_decoder", True),
    ("use_cache", False),
    ("output_attentions", True),
    ("return_dict", False),
    ("attn_implementation", "owner/kernel"),
    ("_attn_implementation", "flash_attention_2"),
    ("experts_implementation", "nothing"),
    ("pruned_heads", {"0": [0, 1]}),
    ("text_config", {"hidden_size": -1}),
    ("vision_config", {"num_hidden_layers": 10**9}),
    ("sliding_window", -5),
    ("max_position_embeddings", 10**12),
    ("chunk_size_feed_forward", 7),
    ("transformers_version", "99.0"),
    ("tokenizer_class", "BertTokenizer"),
    ("quantization_config", {"quant_method": "gptq"}),
    ("quantization_config", {"quant_method": "gptq", "bits": 4, "group_size": 64}),
    ("quantization_config", {"quant_method": "awq", "bits": "four"}),
    ("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_skip_modules": 5}),
    ("quantization_config", {"quant_method": "compressed-tensors", "config_groups": {"a": 3}}),
    ("quantization_config", {"quant_method": "fp8", "weight_block_size": [0, 0]}),
    ("quantization_config", {"quant_method": "torchao", "quant_type": "x"}),
    ("quantization_config", {"quant_method": "nothing"}),
    ("quantization_config", {"quant_method": ["gptq"]}),
)
TEMPLATES = (
    "{{ messages",
    "{{ 1 / 0 }}",
    "{{ messages[0].content * 100000000 }}",
    "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
    "{{ ''.__class__.__mro__ }}",
    "{% include 'x' %}",
    "{{ raise_exception('\x1b[31mno') }}",
    "",
    "   ",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ messages[0].content ~ '<nothing>' }}",
    "{{ undefined.thing.other }}",
    "{{ messages|map(attribute='content')|join }}",
    "{{ eos_token }}{{ bos_token }}{{ pad_token }}",
)
REGEXES = ("(a+)+$", "(", "", "(?:a|aa)+$", r"(.*)*x", r"\p{Nothing}", "[", r"(?<=a+)b")

Mutation = Callable[[Path, random.Random], str]


def spoil(folder: Path, draw: random.Random) -> str:
    """Change one to three things in `folder`; what was done, in words."""
    return "; ".join(draw.choice(MUTATIONS)(folder, draw) for _ in range(draw.choice((1, 1, 1, 2, 3))))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_text())
    except (OSError, ValueError):
        return None


def _write(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(json.dumps(value))


def _places(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """Every place in a JSON value; of long lists and objects the first few."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for number, (key, inner) in enumerate(items):
        if number < 60:
            yield (*path, key), inner
            yield from _places(inner, (*path, key))


def _any_place(name: str) -> Mutation:
    """Drop or change one value of a JSON file, at any depth."""

    def change(folder: Path, draw: random.Random) -> str:
        found = _json(folder, name)
        places = [path for path, _ in _places(found)] if isinstance(found, dict) else []
        if not places:
            return f"{name}: nothing to change"
        # Short paths first: most of a tokenizer.json is its vocabulary.
        path = draw.choice(draw.choice([[it for it in places if len(it) == n] for n in {len(it) for it in places}]))
        holder = found
        for key in path[:-1]:
            holder = holder[key]
        told = ".".join(map(str, path))
        if draw.random() < 0.25:
            del holder[path[-1]]
            _write(folder, name, found)
            return f"{name}: {told} dropped"
        holder[path[-1]] = value = draw.choice(HOSTILE)
        _write(folder, name, found)
        return f"{name}: {told} = {_shown(value)}"

    return change


def _setting(folder: Path, draw: random.Random) -> str:
    key, value = draw.choice(SETTINGS)
    found = _json(folder, "config.json")
    if not isinstance(found, dict):
        return "config.json: nothing to change"
    _write(folder, "config.json", found | {key: value})
    return f"config.json: {key} = {_shown(value)}"


def _template(folder: Path, draw: random.Random) -> str:
    text = draw.choice(TEMPLATES)
    (folder / "chat_template.jinja").write_text(text)
    return f"chat_template.jinja: {_shown(text)}"


def _pattern(folder: Path, draw: random.Random) -> str:
    found, pattern = _json(folder, "tokenizer.json"), draw.choice(REGEXES)
    if not isinstance(found, dict):
        return "tokenizer.json: nothing to change"
    part = draw.choice(("pre_tokenizer", "normalizer", "decoder"))
    kind = "Split" if part == "pre_tokenizer" else "Replace"
    rest = {"behavior": "Isolated", "invert": False} if kind == "Split" else {"content": "b"}
    _write(folder, "tokenizer.json", found | {part: {"type": kind, "pattern": {"Regex": pattern}, **rest}})
    return f"tokenizer.json: {part} {pattern!r}"


def _header(folder: Path, draw: random.Random) -> str:
    """Change one value in the header of the weights."""
    file = folder / "model.safetensors"
    data = file.read_bytes() if file.is_file() else b""
    try:
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + length])
        tensor = draw.choice(list(header))
        key = draw.choice(("dtype", "shape", "data_offsets", ""))
        if not key:
            header[f"{tensor}x"] = header.pop(tensor)
            told = f"{tensor} renamed"
        else:
            options = {
                "dtype": ["BF16", "I8", "F8_E4M3", "U32"],
                "shape": [[], [1, 2], [2**40]],
                "data_offsets": [[0, 4]],
            }
            header[tensor][key] = value = draw.choice([*options[key], *HOSTILE])
            told = f"{tensor}.{key} = {_shown(value)}"
        text = json.dumps(header).encode()
    except (struct.error, ValueError, TypeError, KeyError, AttributeError, IndexError):
        return "model.safetensors: nothing to change"
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return f"model.safetensors: {told}"


def _bytes(folder: Path, draw: random.Random) -> str:
    """Cut a file short, empty it, flip some of its bytes, or take it away."""
    file = draw.choice(sorted(file for file in folder.iterdir() if file.is_file()))
    data = bytearray(file.read_bytes())
    what = draw.choice(("cut", "emptied", "flipped", "removed", "doubled"))
    if what == "removed":
        file.unlink()
    elif what == "cut":
        file.write_bytes(data[: draw.randrange(len(data) + 1)])
    elif what == "doubled":
        file.write_bytes(data + data)
    elif what == "flipped":
        for _ in range(min(len(data), draw.choice((1, 4, 32)))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        file.write_bytes(data)
    else:
        file.write_bytes(b"")
    return f"{file.name} {what}"


MUTATIONS: tuple[Mutation, ...] = (
    *(_any_place("config.json"),) * 5,
    *(_setting,) * 4,
    *(_any_place("generation_config.json"),) * 1,
    *(_any_place("tokenizer_config.json"),) * 2,
    *(_any_place("tokenizer.json"),) * 3,
    *(_template, _pattern, _header, _header, _bytes),
)
