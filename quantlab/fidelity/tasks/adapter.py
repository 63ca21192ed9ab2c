"""lm-evaluation-harness's `LM` over `LoadedModel`, so that torch and llama.cpp variants are scored in one way.

Tokens are made as its `HFLM` makes them (`TemplateLM` holds the splitting of context and ending), one sequence at a
time, log-probabilities in float32. Imported only where the harness is installed.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    has_bos_prefix,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from quantlab.errors import BadInput, Broken
from quantlab.runtime.session import LoadedModel, Session

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Tokens of an answer where a task sets no bound: HFLM's own number.
MAX_NEW_TOKENS = 256

Tick = Callable[[int, str], None]
Encoded = tuple[tuple[str, str] | None, list[int], list[int]]


class SessionLM(TemplateLM):
    """Answers the harness's requests. `tick(requests, task)` is told what is done and may raise to end it all.

    `ends` are the ids, besides the tokenizer's end-of-text token, at which an answer ends.
    """

    def __init__(
        self, loaded: LoadedModel, tokenizer: "PreTrainedTokenizerBase", ends: Collection[int], tick: Tick
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.max_length = loaded.context_length
        self._loaded = loaded
        self._ends = {tokenizer.eos_token_id, *ends} - {None}
        self._tick = tick
        self._asking: Sequence[str] = ()

    @property
    def eot_token_id(self) -> int | None:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int | None:
        """What stands before a text that has no context: BOS, else end of text."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: object) -> list[int]:
        """Special tokens as the tokenizer adds them, unless told, and no second BOS before a text that has one."""
        if add_special_tokens is None and self._has_bos(string, self.prefix_token_id):
            add_special_tokens = False
        told = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return self.tokenizer.encode(string, **told)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        self._asking = [request.task_name or "" for request in requests]
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        return [self._rolling(request.args[0], request.task_name or "") for request in requests]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        answers = []
        for request in requests:
            task = request.task_name or ""
            context, asked = request.args
            answers.append(self._generated(context, asked, task))
            self._tick(1, task)
        return answers

    def _has_bos(self, string: str, bos: int | None) -> bool:
        return bos is not None and has_bos_prefix(string, self.tokenizer.decode(bos))

    def _rolling(self, text: str, task: str) -> float:
        """The log-likelihood of a whole text, in windows of the model's context."""
        windows = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1)
        total = 0.0
        for context, continuation in map(make_disjoint_window, windows):
            self._tick(0, task)
            total += self._scored([*context, *continuation][:-1], [continuation], task)[0][0]
        self._tick(1, task)
        return total

    def _loglikelihood_tokens(self, requests: list[Encoded], **_: object) -> list[tuple[float, bool]]:
        """Endings that differ in their last token only are read once, which is exact; the others one by one."""
        alike = defaultdict(list)
        for number, (_texts, context, continuation) in enumerate(requests):
            alike[tuple([*context, *continuation][-self.max_length - 1 : -1])].append(number)
        answers: dict[int, tuple[float, bool]] = {}
        for read, numbers in alike.items():
            task = self._asking[numbers[0]]
            found = self._scored(read, [requests[number][2] for number in numbers], task)
            answers.update(zip(numbers, found, strict=True))
            self._tick(len(numbers), task)
        return [answers[number] for number in range(len(requests))]

    @torch.inference_mode()
    def _scored(self, read: Sequence[int], continuations: list[list[int]], task: str) -> list[tuple[float, bool]]:
        """Sum of log-probabilities, and whether each token is the likeliest, of continuations of `read`.

        All but the last token of each continuation ends `read` already.
        """
        longest = max(map(len, continuations))
        if not 0 < min(map(len, continuations)) <= longest <= len(read):
            raise BadInput(
                f"An ending in {task or 'this task'} is empty, or longer than the model's {self.max_length} tokens.",
                "Choose another task.",
            )
        totals, greedy = [0.0] * len(continuations), [True] * len(continuations)
        position = len(read) + 1 - longest
        session = self._loaded.start(len(read))
        for scores in session.score([*read, continuations[0][-1]], position):
            best = scores.argmax(-1)
            for i, continuation in enumerate(continuations):
                begins = len(read) + 1 - len(continuation)
                first, past = max(position, begins), position + len(scores)
                ids = torch.tensor(continuation[first - begins : max(past - begins, 0)], device=scores.device).long()
                rows = slice(first - position, first - position + len(ids))
                totals[i] += scores[rows].gather(1, ids[:, None]).double().sum().item()
                greedy[i] &= bool((best[rows] == ids).all())
            position += len(scores)
        if any(total != total for total in totals):
            raise Broken(
                f"{task or 'The task'} cannot be scored: the model's logits are not numbers.",
                "Its weights or its 16-bit arithmetic overflow; choose bf16 or fp32 as the compute type.",
            )
        return list(zip(totals, greedy, strict=True))

    def _generated(self, context: str, wanted: Mapping[str, object], task: str) -> str:
        """The greedy answer to a prompt, up to the first stop string."""
        asked = normalize_gen_kwargs(dict(wanted), MAX_NEW_TOKENS)
        eos = None if self.eot_token_id is None else self._decoded([self.eot_token_id])
        stops = handle_stop_sequences(asked["until"], eos=eos)
        room = self.max_length - asked["max_gen_toks"]
        if room < 1:
            raise BadInput(
                f"{task} wants answers of {asked['max_gen_toks']} tokens; the model holds {self.max_length} in all.",
                "Choose another task, or a model with a longer context.",
            )
        special = {"add_special_tokens": False} if self._has_bos(context, self.tokenizer.bos_token_id) else {}
        prompt = self.tokenizer.encode(context, **special)[-room:]
        session = self._loaded.start(len(prompt) + asked["max_gen_toks"])
        ids = self._greedy(session, prompt, stops, asked["max_gen_toks"], task)
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return postprocess_generated_text(text, stops, None)

    def _greedy(self, session: Session, prompt: list[int], stops: list[str], most: int, task: str) -> list[int]:
        """New tokens until one of `ends`, a stop string among the last of them, or `most`."""
        encoded = (self.tokenizer.encode(stop, add_special_tokens=False) for stop in stops)
        reach = max((len(ids) + 2 for ids in encoded), default=0)
        ids: list[int] = []
        fed = prompt
        while len(ids) < most:
            self._tick(0, task)
            token = int(session.forward(fed).argmax())
            ids.append(token)
            tail = self._decoded(ids[-reach:])
            if token in self._ends or any(stop in tail for stop in stops if stop):
                break
            fed = [token]
        return ids

    def _decoded(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)
