"""Small random models of real architectures, made in the tests and written as ordinary folders."""

from pathlib import Path

import torch
import transformers

from quantlab.records import Model

#: Shared sizes. The heads do not divide by chance, sliding windows are shorter than the prompts used.
_SIZES = dict(
    vocab_size=320,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    # Big enough that greedy decoding does not settle on one token at once.
    initializer_range=0.4,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
WINDOW = 8
FAMILIES = {
    "llama": lambda: transformers.LlamaConfig(**_SIZES, tie_word_embeddings=True),
    "qwen2-untied-biases": lambda: transformers.Qwen2Config(**_SIZES, tie_word_embeddings=False),
    "qwen2-alternating": lambda: transformers.Qwen2Config(
        **_SIZES, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
    ),
    "qwen3-tied": lambda: transformers.Qwen3Config(**_SIZES, head_dim=16, tie_word_embeddings=True),
    "mistral-sliding": lambda: transformers.MistralConfig(**_SIZES, sliding_window=WINDOW),
    "gemma2-alternating": lambda: transformers.Gemma2Config(
        **_SIZES, head_dim=16, sliding_window=WINDOW, tie_word_embeddings=False
    ),
    "phi3": lambda: transformers.Phi3Config(**_SIZES, tie_word_embeddings=False),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=320,
        n_embd=64,
        n_layer=2,
        n_head=4,
        n_positions=256,
        initializer_range=0.4,
        bos_token_id=1,
        eos_token_id=2,
    ),
}


def write(folder: Path, family: str, tokenizer=None, shard: str | None = None, seed: int = 0) -> Model:
    """Write a random model of a family, with `tokenizer` where one is given, in shards of at most `shard`."""
    torch.manual_seed(seed)
    config = FAMILIES[family]()
    network = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        # Biases start at zero, where a forgotten one would not show.
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
    network.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    (tokenizer or letters()).save_pretrained(folder)
    return Model(family, "folder", folder)


def letters():
    """A byte-level tokenizer without merges: every byte is a token, BOS first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
