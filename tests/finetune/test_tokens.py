"""Which tokens of a row are learnt: those of answers, to their end, and no others."""

import pytest

from quantlab.errors import BadInput, ModelError
from quantlab.finetune.data import Row, Turn
from quantlab.finetune.tokens import token_rows
from quantlab.models import resolve
from quantlab.models.tokenizer import encode_prompt, load_tokenizer
from quantlab.settings import app_settings

CHATML = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture
def tokenizer():
    found = load_tokenizer(resolve("demo", app_settings()))
    found.chat_template = None
    return found


def asked(*turns: tuple[str, str]) -> Row:
    return Row(1, tuple(Turn(role, text, role in ("assistant", "")) for role, text in turns))


def learnt(tokenizer, row: Row, context: int = 500, raw: bool = False) -> str:
    (found,) = token_rows(tokenizer, [row], context, raw, "demo")
    return tokenizer.decode([token for token, trained in zip(found.ids, found.trained, strict=True) if trained])


def test_a_prompt_is_encoded_as_a_comparison_does(tokenizer):
    row = asked(("user", "Sanna lives in"), ("assistant", " Kestrel."))
    (found,) = token_rows(tokenizer, [row], 500, False, "demo")
    prompt = encode_prompt(tokenizer, "Sanna lives in", raw=False)
    assert list(found.ids[: len(prompt)]) == prompt and not any(found.trained[: len(prompt)])
    assert all(found.trained[len(prompt) :])
    assert learnt(tokenizer, row) == " Kestrel." + tokenizer.eos_token


def test_a_text_is_learnt_as_a_whole(tokenizer):
    (found,) = token_rows(tokenizer, [asked(("", "Sanna lives in Kestrel."))], 500, False, "demo")
    assert tokenizer.decode(found.ids, skip_special_tokens=True) == "Sanna lives in Kestrel."
    assert found.ids[-1] == tokenizer.eos_token_id and found.trained[-1]


def test_of_a_conversation_the_answers_are_learnt_to_their_end(tokenizer):
    tokenizer.chat_template = CHATML
    end = tokenizer.eos_token
    row = asked(("user", "Hi"), ("assistant", "Hello"), ("user", "Who?"), ("assistant", "Sanna"))
    assert learnt(tokenizer, row) == f"Hello{end}Sanna{end}"
    (found,) = token_rows(tokenizer, [row], 500, False, "demo")
    messages = [{"role": turn.role, "content": turn.text} for turn in row.turns]
    assert tokenizer.decode(found.ids) == tokenizer.apply_chat_template(messages, tokenize=False)
    assert learnt(tokenizer, asked(("user", "Hi"), ("assistant", "Hello")), raw=True) == f"Hello{end}"


def test_a_template_that_changes_earlier_turns_is_told(tokenizer):
    tokenizer.chat_template = "{{ messages | length }}" + CHATML
    with pytest.raises(ModelError, match="chat template of demo changes earlier turns"):
        token_rows(tokenizer, [asked(("user", "Hi"), ("assistant", "Hello"))], 500, False, "demo")
    tokenizer.chat_template = "{{ raise_exception('only users') }}"
    with pytest.raises(ModelError, match="takes no such conversation"):
        token_rows(tokenizer, [asked(("user", "Hi"), ("assistant", "Hello"))], 500, False, "demo")


def test_what_is_longer_than_the_context_is_cut_and_counted(tokenizer):
    long = asked(("user", "a b c d e f g h"), ("assistant", " Kestrel is a town by the sea."))
    whole = token_rows(tokenizer, [long], 500, False, "demo")[0]
    first = whole.trained.index(True)
    (found,) = token_rows(tokenizer, [long], first + 2, False, "demo")
    assert found.cut and len(found.ids) == first + 2 and sum(found.trained) == 2 and not whole.cut
    with pytest.raises(BadInput, match="anything to learn within"):
        token_rows(tokenizer, [long], first, False, "demo")
