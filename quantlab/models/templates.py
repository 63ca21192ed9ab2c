"""A model's chat template, rendered without trust: a template is a program of the model's author.

What plainly does no more than put the message between marks is rendered here, by transformers. Everything else is
rendered by the same code in a process of its own, within limits of time and memory: loops in loops, products of texts
and numbers that fill a machine cannot be told from harmless ones by looking at them.

The process reads one JSON object on standard input and answers with one line of JSON on standard output. It imports
transformers without torch, which takes about a second.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantlab.errors import ModelError, Stopped

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: What a template may take: time once its process has started, its memory, and characters beside those of the prompt.
SECONDS, MEMORY, CHARACTERS = 5, 2 << 30, 1_000_000
#: A longer template is not looked through here, and one that names more does not plainly do little.
_PLAIN_LENGTH, _PLAIN_NAMES = 20_000, 200
#: The start of the process counts too, on a machine that is busy.
_START_SECONDS = 60
_POLL_S = 0.05
_ROOT = Path(__file__).resolve().parents[2]
_RAW = "Turn the template off (raw prompt, on the command line --raw)."
_PLAIN_NODES = frozenset(
    """
    Template Output TemplateData For If Compare Operand Name NSRef Getitem Getattr Const Add Sub Concat And Or Not Test
    Filter Call CondExpr Assign Slice Mod
    """.split()
)
_PLAIN_FILTERS = frozenset({"trim", "length", "string", "tojson", "default", "upper", "lower"})
_PLAIN_METHODS = frozenset({"strip", "lstrip", "rstrip", "startswith", "endswith", "upper", "lower", "title"})
#: The last texts, by template, message and special tokens: a page renders one prompt again and again.
_rendered: dict[str, str] = {}
_KEPT = 32


def render(tokenizer: "PreTrainedTokenizerBase", text: str, stop: threading.Event | None = None) -> str:
    """The chat template's text for one user message. Raises ModelError where it fails or takes too much, or Stopped."""
    messages = [{"role": "user", "content": text}]
    try:
        template = tokenizer.get_chat_template()
        if is_plain(template):
            return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        asked = {"chat_template": template, "conversations": [messages], **tokenizer.special_tokens_map}
        line = json.dumps(asked, default=str)
    except Exception as error:  # it may raise anything, on purpose too
        raise _failed(str(error)) from error
    if line not in _rendered:
        found = _in_a_process(line, CHARACTERS + 20 * len(text), stop)
        while len(_rendered) >= _KEPT:
            _rendered.pop(next(iter(_rendered)), None)
        _rendered[line] = found
    return _rendered[line]


def check_holds(
    tokenizer: "PreTrainedTokenizerBase", text: str, rendered: str, stop: threading.Event | None = None
) -> None:
    """Raises ModelError where a template gives the same text whatever is typed, as do those for messages in parts.

    Trimmed, in capitals or with marks in between it is still what was typed: another message makes another text.
    """
    if text.strip() not in rendered and rendered == render(tokenizer, f"x {text}", stop):
        raise ModelError("The model's chat template leaves out what was typed: it is made for other messages.", _RAW)


def is_plain(template: Any) -> bool:
    """Whether a template surely takes little: no more than one loop, over the messages, and nothing that grows.

    Nothing is computed from what was computed before, nothing is multiplied, and of functions only those that give no
    more than they take are called.
    """
    from jinja2 import TemplateError, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if not isinstance(template, str) or len(template) > _PLAIN_LENGTH:
        return False
    try:
        tree = ImmutableSandboxedEnvironment().parse(template)
    except (TemplateError, RecursionError):
        return False
    found = list(_all(tree))
    assigned = [node for node in found if isinstance(node, nodes.Assign)]
    names = {target.name for node in assigned for target in _all(node.target) if hasattr(target, "name")}
    lists = {"messages"} | {
        node.target.name
        for node in assigned
        if isinstance(node.target, nodes.Name) and _is_list(node.node, {"messages"})
    }
    lists -= {node.target.name for node in assigned if hasattr(node.target, "name") and not _is_list(node.node, lists)}
    loops = [node for node in found if isinstance(node, nodes.For)]
    return (
        all(type(node).__name__ in _PLAIN_NODES and _takes_little(node) for node in found)
        and sum(isinstance(node, nodes.Name) for node in found) <= _PLAIN_NAMES
        and all(_is_list(loop.iter, lists) and not loop.recursive for loop in loops)
        and not any(inner is not loop and isinstance(inner, nodes.For) for loop in loops for inner in _all(loop))
        and all(_is_list(it.node, lists) or names.isdisjoint(_names(it.node)) for it in assigned)
    )


def _all(node: Any) -> Iterator[Any]:
    yield node
    for child in node.iter_child_nodes():
        yield from _all(child)


def _names(node: Any) -> set[str]:
    return {each.name for each in _all(node) if type(each).__name__ in ("Name", "NSRef")}


def _is_list(node: Any, lists: set[str]) -> bool:
    """Whether an expression is the list of messages, or a part of it."""
    if type(node).__name__ == "Getitem" and type(node.arg).__name__ == "Slice":
        return _is_list(node.node, lists)
    return type(node).__name__ == "Name" and node.name in lists


def _takes_little(node: Any) -> bool:
    kind = type(node).__name__
    if kind == "Filter":
        return node.name in _PLAIN_FILTERS
    if kind == "Mod":  # of a text it writes numbers, as wide as is asked for
        left = getattr(node.left, "node", None)
        return type(left).__name__ == "Name" and getattr(left, "name", None) == "loop"
    if kind == "Call":
        called = node.node
        if type(called).__name__ == "Name":
            return called.name == "raise_exception"
        return type(called).__name__ == "Getattr" and called.attr in _PLAIN_METHODS
    return True


def _in_a_process(line: str, most: int, stop: threading.Event | None) -> str:
    """What the process of its own gives. Raises ModelError, or Stopped."""
    try:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "quantlab.models.templates", str(most), str(SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            cwd=_ROOT,
        )
    except OSError as error:
        raise ModelError(
            f"The model's chat template needs a process of its own, which cannot be started ({error.strerror}).", _RAW
        ) from error
    with process:
        try:
            told = _answer(process, line, stop)
        finally:
            process.kill()
    if told is None:
        raise ModelError(
            f"The model's chat template takes too much: it was ended after {SECONDS} s, or for want of memory.", _RAW
        )
    if "error" in told:
        raise _failed(told["error"])
    if "length" in told:
        raise ModelError(
            f"The model's chat template makes {told['length']:,} characters of this prompt; at most {most:,} are read.",
            _RAW,
        )
    return told["text"]


def _answer(process: subprocess.Popen, line: str, stop: threading.Event | None) -> Mapping[str, Any] | None:
    """The process's answer; None where it ended without one."""
    got: list[str] = []
    talk = threading.Thread(target=lambda: got.append(process.communicate(line)[0]), daemon=True)
    talk.start()
    deadline = time.monotonic() + _START_SECONDS
    while talk.is_alive():
        talk.join(_POLL_S)
        if stop is not None and stop.is_set():
            process.kill()
            talk.join()
            raise Stopped
        if time.monotonic() > deadline:
            process.kill()
    lines = got[0].splitlines() if got else []
    with suppress(ValueError):
        return json.loads(lines[-1]) if lines and process.returncode == 0 else None
    return None


def _failed(why: str) -> ModelError:
    return ModelError(f"The model's chat template failed ({why}).", _RAW)


def _main(most: int, seconds: int) -> int:
    asked = json.loads(sys.stdin.read())
    from transformers.utils.chat_template_utils import render_jinja_template

    _limit(seconds)
    try:
        (text,), _ = render_jinja_template(add_generation_prompt=True, **asked)
    except MemoryError:
        return 1
    except Exception as error:  # as above
        told: dict[str, Any] = {"error": str(error)[:1_000]}
    else:
        told = {"text": text} if len(text) <= most else {"length": len(text)}
    print(json.dumps(told))
    return 0


def _limit(seconds: int) -> None:
    """The system's own limits, which hold whatever the template is at; without them only the parent's clock does."""
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)


if __name__ == "__main__":
    os.environ["USE_TORCH"] = "0"
    raise SystemExit(_main(*map(int, sys.argv[1:])))
