"""config.json as transformers understands it, and what is wrong with it in words."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from quantlab.errors import ModelError
from quantlab.models.quiet import import_transformers

#: Settings by which a configuration names code, of transformers' own or of a repository of the Hub.
_CHOOSES_CODE = frozenset(
    f"{prefix}{name}_implementation{suffix}"
    for prefix in ("", "_")
    for name in ("attn", "experts")
    for suffix in ("", "_internal", "_autoset")
) | {"use_kernels", "kernel_config", "auto_map", "custom_pipelines", "custom_generate"}

#: Settings of a program that changed what a network gives back, which its weights know nothing of: as they have to be.
_ANSWERS = {
    "return_dict": True,
    "use_return_dict": True,
    "output_attentions": False,
    "output_hidden_states": False,
    "torchscript": False,
}

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def configuration(values: Mapping[str, Any], name: str) -> "PreTrainedConfig":
    """The configuration object of a config.json's values.

    Raises ModelError, naming the model as `name`, where transformers does not know its kind or refuses a value.
    """
    import_transformers()
    from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

    # transformers writes what JSON has no number for (infinity) as {"__float__": "Infinity"}.
    told = PreTrainedConfig._decode_special_floats(without_code(values))
    kind = told.pop("model_type", None)
    if kind not in CONFIG_MAPPING:
        raise ModelError(
            f"transformers {version('transformers')} does not know the kind of {name} (model_type {kind!r}).",
            "Choose a model of a kind that it knows, or install a newer transformers.",
        )
    try:
        return AutoConfig.for_model(kind, **told)
    except Exception as error:  # each kind checks its values in its own way
        raise ModelError(
            f"config.json of {name} cannot be used (model_type {kind!r}): {cause(error)}.",
            "Choose a causal language model of a kind that transformers knows, or mend that value.",
        ) from error


def without_code(values: Any) -> Any:
    """The same values, those of its parts included, without what chooses the code that runs, or in which form it
    answers: that is ours to choose."""
    if isinstance(values, Mapping):
        kept = {key: it for key, it in values.items() if key not in _CHOOSES_CODE and _ANSWERS.get(key, it) is it}
        return {key: without_code(value) for key, value in kept.items()}
    return [without_code(value) for value in values] if isinstance(values, list) else values


def unknown_value(error: BaseException, values: Mapping[str, Any]) -> str | None:
    """That a value of config.json is none that transformers has, where that is what an error says: it looks names up,
    and says no more than the name that it missed. None for all other errors."""
    if not isinstance(error, KeyError) or len(error.args) != 1 or not isinstance(error.args[0], str):
        return None
    missed = error.args[0]
    key = _key_of(missed, values)
    if key is None:
        return None
    what = "activation function" if "act" in key.split("_") or "activation" in key else key
    return f"Unknown {what} {missed[:80]!r} in config.json" + ("" if what == key else f" ({key})")


def _key_of(value: str, values: Mapping[str, Any]) -> str | None:
    """The setting that has this value, also in a part of the configuration."""
    for key, each in values.items():
        if each == value:
            return key
        if isinstance(each, Mapping) and (found := _key_of(value, each)) is not None:
            return found
    return None


def cause(error: BaseException) -> str:
    """What an error of a library says, in one line: the innermost message, with the kind of error where it says little.

    Libraries wrap what went wrong in general words ("Class validation error for validator 'x':").
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    while lines and lines[0].endswith(":") and len(lines) > 1:
        lines = lines[1:]
    text = lines[0].rstrip(".") if lines else ""
    return text if " " in text else f"{type(error).__name__} {text}".strip()
