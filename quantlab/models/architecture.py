"""What a configuration says of the model as a whole: how much text it reads, and whether it writes from left to right.

One definition each, for every caller: of a config.json as it lies on disk, and of a configuration of transformers with
its class's own defaults (`to_dict()`).
"""

from collections.abc import Mapping
from typing import Any

#: Under these names a model of several parts keeps the configuration of the part that writes, as in transformers'
#: `PreTrainedConfig.get_text_config(decoder=True)`.
_WRITERS = ("text_config", "decoder", "generator")
#: How families call the number of positions, the usual name first.
_CONTEXT_NAMES = (
    *("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length"),
    *("max_target_positions", "context_length"),
)
#: How families call the number of layers, the usual name first.
_LAYER_NAMES = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
#: Kinds that read a text in both directions unless their configuration says `is_decoder`.
_BOTH_WAYS = frozenset(
    """
    bert bert-generation big_bird electra ernie megatron-bert rembert roc_bert roformer xlm albert deberta deberta-v2
    distilbert mpnet modernbert nomic_bert mobilebert flaubert longformer funnel squeezebert mra nystromformer yoso
    ibert
    """.split()
)
#: Kinds that do so, and whose class as a decoder numbers positions from another start than `generate` gives it: which
#: of two answers is the model's own cannot be said.
_ROBERTA = frozenset("camembert data2vec-text roberta roberta-prelayernorm xlm-roberta xlm-roberta-xl xmod".split())
#: Kinds that are an encoder and a decoder also where their configuration does not say so.
_ENCODER_DECODER = frozenset(
    """
    t5 mt5 umt5 longt5 switch_transformers bart mbart plbart pegasus pegasus_x marian blenderbot blenderbot-small led
    bigbird_pegasus m2m_100 musicgen musicgen_melody nllb-moe mvp prophetnet xlm-prophetnet fsmt encoder-decoder
    speech-encoder-decoder vision-encoder-decoder whisper speech_to_text seamless_m4t t5gemma udop trocr
    """.split()
)
#: Kinds whose classes do not take a text that goes on token by token, and what they do instead.
_OTHER_CALLS = {
    "cpmant": "expects the whole text at every token",
    "rwkv": "keeps no key-value cache",
    "xlnet": "keeps no key-value cache",
    "reformer": "keeps no key-value cache",
}


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a configuration that describes the language model: the whole, or a nested one."""
    nested = (config.get(name) for name in _WRITERS)
    return next((found for found in nested if isinstance(found, Mapping) and found), config)


def context_length(config: Mapping[str, Any]) -> int | None:
    """Tokens that a model was made for; None where its configuration does not say (ALiBi, recurrent models)."""
    return _first_count(config, _CONTEXT_NAMES)


def layer_count(config: Mapping[str, Any]) -> int | None:
    """Layers of a model; None where its configuration does not say."""
    return _first_count(config, _LAYER_NAMES)


def _first_count(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for part in (text_config(config), config):
        for name in names:
            value = part.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def vocabulary_size(config: Mapping[str, Any]) -> int | None:
    """How many tokens a model has embeddings for; None where its configuration does not say."""
    found = text_config(config).get("vocab_size", config.get("vocab_size"))
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None


def not_causal(config: Mapping[str, Any]) -> str | None:
    """Why a model does not go on with a text from left to right, in words that go on from "it ..."; None where it does.

    Told by config.json alone. Of a kind that is not known here the proof comes when it is loaded: see `runtime.pieces`.
    """
    kind = str(config.get("model_type"))
    if kind in _ROBERTA or (kind in _BOTH_WAYS and not config.get("is_decoder")):
        return f"reads a text in both directions ({kind}) and fills gaps in it; it does not go on with one"
    if config.get("is_encoder_decoder") or kind in _ENCODER_DECODER:
        return f"is an encoder with a decoder ({kind}): it answers to a text that it has read whole"
    if kind in _OTHER_CALLS:
        return f"{_OTHER_CALLS[kind]} ({kind}), so that it cannot be read on from"
    return None
