"""A column that a server answers: the same prompt, followed as it comes, and held against the reference as far as that
goes. The counterpart of `runs.generate` where there are neither weights nor logits."""

import asyncio
import math
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from quantlab.errors import Unavailable
from quantlab.fidelity.coarse import coarse_kld
from quantlab.fidelity.divergence import first_difference
from quantlab.measure.trust import ANSWERS
from quantlab.methods.served import Server
from quantlab.models.tokenizer import token_texts
from quantlab.records import Candidate, Divergence, Run, Timing
from quantlab.records.events import Event, Loading, TimingAgain, Token
from quantlab.records.served import Served
from quantlab.runs.generate import Generation, PromptInput, text_of, texts_of
from quantlab.runs.plan import Plan
from quantlab.runs.repeats import COLUMN_S
from quantlab.runtime.loop import told
from quantlab.settings import app_settings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from quantlab.methods.served.client import Arrived, Can


#: Log-probabilities that lie nearer to each other may change places by rounding.
_NEAR_TIE = 0.05


@dataclass
class _Answer:
    """What came so far, its first entry when it was asked for."""

    arrived: "list[Arrived]" = field(default_factory=list)
    ended: str | None = None
    whole: bool = False

    @property
    def text(self) -> str:
        return "".join(it.piece.text for it in self.arrived)

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(token for it in self.arrived for token in it.piece.tokens)

    @property
    def tops(self) -> "tuple[dict[str, float], ...]":
        return tuple(dict(top) for it in self.arrived for top in it.piece.tops)

    def timing(self, prompt_tokens: int, warmup_s: float | None = None) -> Timing | None:
        """Gaps between pieces; a piece of several tokens came at once, so that there is none between those."""
        spoken = [it for it in self.arrived[1:] if it.piece.text]
        if not spoken:
            return None
        gaps: list[float] = []
        for before, it in pairwise(spoken):
            gaps += [it.at_s - before.at_s, *([0.0] * (len(it.piece.tokens) - 1))]
        return Timing(warmup_s, max(spoken[0].at_s - self.arrived[0].at_s, 1e-9), tuple(gaps), prompt_tokens)


@dataclass(frozen=True)
class _Again:
    """Another answer, timed."""

    timing: Timing


def answered(
    server: Server,
    name: str,
    plan: Plan,
    stop: threading.Event,
    theirs: Generation | None,
    scores: "torch.Tensor | None",
) -> Generator[Event, None, Run]:
    """The run of a column called `name` that `server` answers. `theirs` and `scores` are of the reference, where known:
    its answer and its log-probabilities `[positions, vocabulary]`. Raises QuantlabError.
    """
    from quantlab.methods.served.client import Can

    prompt_input, can, answer = plan.prompt_input, None, _Answer()
    again: list[Timing] = []
    yield Loading(name, 0, 0, f"asking {server.place}")
    for it in told(_conversation(server, plan, answer), stop):
        if isinstance(it, Can):
            can = it
        elif isinstance(it, _Again):
            again.append(it.timing)
            yield TimingAgain(name, 1 + len(again))
        elif text := answer.text:
            yield Token(name, sum(bool(each.piece.text) for each in answer.arrived) - 1, 0, text)
    if can is None:
        return Run(name, stopped=True)
    ids, against = _read(prompt_input, answer)
    timing = answer.timing(can.prompt_tokens or len(prompt_input.prompt_ids))
    timed = [it for it in (timing, *again) if it is not None]
    run = Run(
        precision=name,
        text=answer.text,
        token_ids=tuple(ids),
        tokens=token_texts(prompt_input.tokenizer, ids),
        timing=timing,
        stopped=not answer.whole,
        ttft_samples=tuple(it.ttft_s for it in timed),
        decode_samples=tuple(it.decode_tokens_per_s for it in timed if it.decode_tokens_per_s),
        served=_served(server, can, prompt_input, answer),
    )
    return run if theirs is None else _against(run, prompt_input.tokenizer, answer, against, theirs, scores)


def _conversation(server: Server, plan: Plan, answer: _Answer) -> Callable:
    """A coroutine that asks what the server can, then for the answer, then for it again to time it."""
    from quantlab.methods.served.client import Arrived, Client, Prompt

    app, prompt_input = app_settings(), plan.prompt_input
    settings, prompt = prompt_input.settings, Prompt(plan.prompt, _templated(prompt_input))
    key = app.openai_key.get_secret_value() if app.openai_key else None
    limit = 10 * app.served_seconds

    async def talk(tell: Callable) -> None:
        def took(it: Arrived) -> None:
            answer.arrived.append(it)
            tell(it)

        try:
            async with asyncio.timeout(limit), Client(server, key, app.served_seconds) as client:
                can = await client.probe(prompt)
                tell(can)
                answer.ended = await client.answer(can, prompt, settings, took)
                answer.whole = True
                first = answer.timing(len(prompt_input.prompt_ids))
                took_s = first.ttft_s + sum(first.itl_s) if first else COLUMN_S
                for _ in range(min(ANSWERS - 1, int(COLUMN_S / took_s))):
                    more = _Answer()
                    await client.answer(can, prompt, settings, more.arrived.append)
                    if timing := more.timing(len(prompt_input.prompt_ids)):
                        tell(_Again(timing))
        except TimeoutError:
            raise Unavailable(f"{server.place} took more than {limit:g} s.", "Ask for fewer tokens.") from None

    return talk


def _templated(prompt_input: PromptInput) -> str:
    """The prompt as text, in the model's template. Without the token that a server puts in front itself."""
    ids, tokenizer = list(prompt_input.prompt_ids), prompt_input.tokenizer
    begins = tokenizer.bos_token_id
    if begins is not None and ids[:1] == [begins] and tokenizer("a").input_ids[:1] == [begins]:
        ids = ids[1:]
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _read(prompt_input: PromptInput, answer: _Answer) -> tuple[list[int], list[int]]:
    """The ids of an answer, by the model's own tokenizer; and the same with its end, where it has come to that."""
    ids = prompt_input.tokenizer.encode(answer.text, add_special_tokens=False)
    end = sorted(prompt_input.eos_ids)[:1] if answer.ended == "stop" else []
    return ids, ids + end


def _served(server: Server, can: "Can", prompt_input: PromptInput, answer: _Answer) -> Served:
    from quantlab.methods.served.client import TOP

    notes, ours = [], len(prompt_input.prompt_ids)
    if can.chat:
        notes.append("It was asked as a chat, in the server's own template.")
    elif can.prompt_tokens not in (None, ours):
        notes.append(
            f"The server read the prompt as {can.prompt_tokens} tokens, which are {ours} here: its answer is to "
            "another text than the others'."
        )
    if not can.logprobs:
        notes.append("The server tells no log-probabilities, so that how far it is from the reference is not known.")
    if not prompt_input.settings.sample and (count := _not_likeliest(answer)):
        notes.append(
            f"{count} of its tokens {'is' if count == 1 else 'are'} not the likeliest by its own log-probabilities: it "
            "does not answer greedily, as where it has a penalty for words that come again."
        )
    if prompt_input.settings.sample:
        notes.append("It draws with random numbers of its own: the same seed gives another answer.")
    found = Served(server.address, can.model, can.endpoint, TOP if can.logprobs else None, (), can.prompt_tokens)
    return replace(found, notes=tuple(notes))


def _not_likeliest(answer: _Answer) -> int:
    """How many tokens of an answer are clearly less likely than another, as the server itself tells."""
    pairs = zip(answer.tokens, answer.tops, strict=False)
    return sum(top.get(token, -math.inf) < max(top.values()) - _NEAR_TIE for token, top in pairs if top)


def _against(
    run: Run,
    tokenizer: "PreTrainedTokenizerBase",
    answer: _Answer,
    ids: Sequence[int],
    theirs: Generation,
    scores: "torch.Tensor | None",
) -> Run:
    """The run with where it parts from the reference, and how far apart they are up to there."""
    ids_of = cache(lambda text: _ids_of(tokenizer, text))
    reached = _reached(answer.tokens, theirs, ids_of)
    tops = answer.tops[:reached]
    parted = None
    if run.text != theirs.text and (index := first_difference(ids, theirs.computed_ids)) is not None:
        ours = _candidates(tokenizer, tops[index], ids_of) if index < len(tops) else ()
        names = texts_of(tokenizer, [theirs.tops[index]])
        likely = zip(theirs.tops[index].token_ids, theirs.tops[index].probabilities, strict=True)
        parted = Divergence(index, ours, tuple(Candidate(i, names[i], p) for i, p in likely))
    if run.served is None or scores is None or run.stopped:
        return replace(run, first_divergence=parted)
    klds = tuple(coarse_kld(scores[i], top, ids_of) for i, top in enumerate(tops[: len(scores)]) if top)
    return replace(run, first_divergence=parted, served=replace(run.served, top_k_kld=klds))


def _reached(tokens: Sequence[str], theirs: Generation, ids_of: Callable[[str], Sequence[int]]) -> int:
    """At how many positions, from the first on, both stand after the same tokens."""
    same = 0
    for token, other in zip(tokens, theirs.token_ids, strict=False):
        if other not in ids_of(token):
            return same + 1
        same += 1
    return same


def _ids_of(tokenizer: "PreTrainedTokenizerBase", text: str) -> tuple[int, ...]:
    """The id of a token by its text; empty where there is no such token, or it is a piece of a character."""
    marked = (text, text.replace(" ", "\u2581"), text.replace(" ", "\u0120").replace("\n", "\u010a"))
    named = [tokenizer.convert_tokens_to_ids(it) for it in marked]
    single = tokenizer.encode(text, add_special_tokens=False)
    for found in (*(single if len(single) == 1 else ()), *named):
        if isinstance(found, int) and found != tokenizer.unk_token_id and text_of(tokenizer, found) == text:
            return (found,)
    return ()


def _candidates(
    tokenizer: "PreTrainedTokenizerBase", top: "dict[str, float]", ids_of: Callable[[str], Sequence[int]]
) -> tuple[Candidate, ...]:
    rows = [(ids_of(text), text, math.exp(value)) for text, value in sorted(top.items(), key=lambda it: -it[1])]
    return tuple(Candidate(ids[0], text, share) for ids, text, share in rows if ids)
