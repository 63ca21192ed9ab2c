"""Chat templates within limits: the plain ones rendered here, others in a process, and all as by transformers."""

import threading
import time

import pytest

from quantlab.errors import ModelError, Stopped
from quantlab.models import templates
from quantlab.models.tokenizer import encode_prompt
from tests.tiny import letters

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n' }}{% endif %}"
    + CHATML[len("{% for message in messages %}") :]
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}"
    "{% endif %}{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}"
    "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% endif %}{% endfor %}"
)
MACROS = (
    "{%- macro said(message) -%}{{ message.role|upper }}: {{ message.content|trim }}{%- endmacro -%}"
    "{%- set ns = namespace(count=0) -%}{%- for message in messages -%}{%- set ns.count = ns.count + 1 -%}"
    "{{ said(message) }} ({{ ns.count }}, {{ '%02d' % ns.count }}){{ '\n' * 2 }}{%- endfor -%}"
    "{% generation %}{{ eos_token }}{% endgeneration %}{{ messages|tojson }}{{ strftime_now('%Y')[:2] }}"
)
PLAIN, OTHER = [CHATML, SMOLLM2, "{{ messages[0].content|trim }}"], [MACROS, LLAMA2]
DOUBLED = "{% set x = 'aaaaaaaaaa' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}"
CAUGHT = "{% set x %}aaaaaaaaaa{% endset %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40 + "{{ x }}"
GREEDY = {
    "loops": "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}x",
    "a product": "{{ 'a b ' * 25000000 }}",
    "a larger product": "{{ 'a b ' * 2500000000 }}",
    "doubled": DOUBLED,
    "doubled blocks": CAUGHT,
    "nested lists": "{% set x = ['a'] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}",
    "a power": "{{ 10 ** (10 ** 9) }}",
    "a method": "{{ 'a'.ljust(10000000000) }}",
    "a format": "{{ '%09999999999d' % 1 }}",
    "a filter": "{{ 'a'|center(10000000000) }}",
    "calls": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "letters of letters": "{% for a in messages[0].content %}{% for b in messages[0].content %}{% for c in "
    "messages[0].content %}{% for d in messages[0].content %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
}


@pytest.fixture
def tokenizer():
    templates._rendered.clear()
    return letters()


def by_transformers(tokenizer, text: str) -> str:
    messages = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


@pytest.mark.parametrize("template", [*PLAIN, *OTHER])
@pytest.mark.parametrize("text", ["  über\n<|im_end|> {{ 3 }} \\u00e4 " * 3])
def test_the_text_is_that_of_transformers(tokenizer, template, text):
    tokenizer.chat_template = template
    assert templates.render(tokenizer, text) == by_transformers(tokenizer, text)


@pytest.mark.parametrize("template", PLAIN)
def test_ordinary_templates_are_rendered_here(tokenizer, template, monkeypatch):
    monkeypatch.setattr(templates, "_in_a_process", None)
    tokenizer.chat_template = template
    assert "Hello" in templates.render(tokenizer, "Hello")


@pytest.mark.parametrize("template", [*OTHER, *GREEDY.values(), None, 3, "{% for", "a" * 30_000, "{{ x }}" * 300])
def test_what_may_take_much_is_not_called_plain(template):
    assert not templates.is_plain(template)


#: By time; all others are slow.
FIRST = ("loops",)


@pytest.mark.parametrize(
    "kind", [kind if kind in FIRST else pytest.param(kind, marks=pytest.mark.slow) for kind in GREEDY]
)
def test_a_template_that_takes_too_much_is_refused_in_seconds(tokenizer, kind, monkeypatch):
    monkeypatch.setattr(templates, "SECONDS", 1)
    tokenizer.chat_template = GREEDY[kind]
    begun = time.monotonic()
    with pytest.raises(ModelError, match=r"takes too much|makes [\d,]+ characters|template failed") as refused:
        encode_prompt(tokenizer, "abc" * 400, raw=False)
    assert "raw prompt" in refused.value.advice
    assert time.monotonic() - begun < 30  # of which the start on a busy machine is most
    assert encode_prompt(tokenizer, "abc", raw=True)


def test_stop_ends_the_process(tokenizer):
    tokenizer.chat_template = GREEDY["loops"]
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(Stopped):
        encode_prompt(tokenizer, "abc", raw=False, stop=stop)
    assert time.monotonic() - begun < 3


def test_a_template_that_refuses_is_told_from_the_process_too(tokenizer):
    tokenizer.chat_template = MACROS + "{{ raise_exception('a system message is needed') }}"
    with pytest.raises(ModelError, match=r"failed .a system message is needed"):
        encode_prompt(tokenizer, "abc", raw=False)
    tokenizer.chat_template = {"tool_use": CHATML}
    with pytest.raises(ModelError, match="chat template failed"):
        encode_prompt(tokenizer, "abc", raw=False)


def test_a_prompt_is_rendered_once(tokenizer, monkeypatch):
    tokenizer.chat_template = MACROS
    first = templates.render(tokenizer, "Hello")
    monkeypatch.setattr(templates, "_in_a_process", None)
    assert templates.render(tokenizer, "Hello") == first


PARTS = (
    "{% for message in messages %}<{{ message.role }}>{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}</s>{% endfor %}"
)


@pytest.mark.parametrize("template", [PARTS, "{{ bos_token }}[INST] Hello [/INST]", "{% if false %}{{ 1 }}{% endif %}"])
def test_a_template_that_leaves_out_what_was_typed_is_told(tokenizer, template):
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match="leaves out what was typed") as told:
        encode_prompt(tokenizer, "Who is Ann?", raw=False)
    assert "--raw" in told.value.advice
    assert encode_prompt(tokenizer, "Who is Ann?", raw=True)


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content|upper }}",
        "{{ messages[0].content[:3] }}",
        "{{ messages[0].content|trim }}",
        "{% for letter in messages[0].content %}{{ letter }}-{% endfor %}",
    ],
)
def test_what_is_changed_by_a_template_is_not_left_out(tokenizer, template):
    tokenizer.chat_template = template
    assert encode_prompt(tokenizer, " Who is Ann? ", raw=False)
