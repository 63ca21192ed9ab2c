"""The demo model's tokenizer: byte-level BPE with single digits, learnt from its own corpus."""

from itertools import islice

from quantlab.demo.corpus import ASSISTANT, BOS, END, USER, documents

VOCAB_SIZE = 2_048
PAD = "<|pad|>"
TOKENIZER_DOCUMENTS = 40_000

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    f"{{% if message['role'] == 'assistant' %}}{ASSISTANT}{{% else %}}{USER}{{% endif %}}"
    f"{{{{ message['content'] }}}}{END}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{ASSISTANT}{{% endif %}}"
)


def train_tokenizer():
    """Learn the tokenizer. Returns a `PreTrainedTokenizerFast` that puts BOS before every text.

    Digits stand alone, so a sum is read digit by digit; the split is that of SmolLM's tokenizer, which other
    run times (llama.cpp) know by name.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = [BOS, END, PAD, USER, ASSISTANT]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text.replace(USER, "").replace(ASSISTANT, " ").replace(END, "\n") for text in documents())
    tokenizer.train_from_iterator(islice(texts, TOKENIZER_DOCUMENTS), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=1_024,
    )
