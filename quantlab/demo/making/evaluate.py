"""Measure the demo model: divergence from fp32 on held-out text of its world, and how many facts it recalls."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import torch

from quantlab.checkpoints.load import load_variant
from quantlab.demo.corpus import ASSISTANT, END, USER, addends, held_out_documents, sum_fact
from quantlab.demo.world import Fact, facts, world
from quantlab.methods import precision, variant_of
from quantlab.models.tokenizer import load_tokenizer
from quantlab.records import Calibration, Model, Placement, silent
from quantlab.runtime.placement import resolve
from quantlab.runtime.session import LoadedModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DOCUMENTS = 150
FACTS = 1_000
SUMS = 200
EVALUATION_SEED = 3
LADDER = ("fp32", "bf16", "int8", "int8-plain", "rtn-8", "nf4", "nf4-dq", "fp4", "rtn-4", "rtn-3", "rtn-2")


@dataclass(frozen=True)
class Rung:
    """One precision: mean KLD to fp32 in nats per token, shares of facts and of unseen sums that are right."""

    precision: str
    kld: float
    facts: float
    sums: float
    stored_bytes: int


def model_at(folder: Path) -> Model:
    return Model("demo", "folder", folder)


def ladder(folder: Path, names: Sequence[str] = LADDER) -> tuple[Rung, ...]:
    """Measure every precision; the first one is the reference."""
    tokenizer = load_tokenizer(model_at(folder))
    texts = [
        tokenizer(text if text.endswith(END) else text + END)["input_ids"] for text in held_out_documents(DOCUMENTS)
    ]
    questions = [_encoded(tokenizer, fact) for fact in sampled_facts()]
    sums = [_encoded(tokenizer, fact) for fact in sampled_sums()]
    placement = resolve(Placement("cpu"))
    reference, rungs = None, []
    for name in names:
        chosen = precision(name)
        loaded = load_variant(variant_of(model_at(folder), chosen, placement, Calibration()), silent).loaded
        scores = [_scores(loaded, ids) for ids in texts]
        reference = reference or scores
        kld = torch.cat([_kld(q, p) for q, p in zip(scores, reference, strict=True)])
        recalled = mean(_recalled(loaded, *question) for question in questions)
        summed = mean(_recalled(loaded, *question) for question in sums)
        rungs.append(Rung(name, kld.mean().item(), recalled, summed, loaded.stored_bytes()))
        loaded.close()
    return tuple(rungs)


def sampled_facts() -> tuple[Fact, ...]:
    """`FACTS` of the world's 4,000, the same every time."""
    every = [fact for person in world().people for fact in facts(person)]
    return tuple(random.Random(EVALUATION_SEED).sample(every, FACTS))


def sampled_sums() -> tuple[Fact, ...]:
    """`SUMS` sums of pairs that no training document holds."""
    rng = random.Random(EVALUATION_SEED)
    return tuple(sum_fact(*addends(rng, held_out=True)) for _ in range(SUMS))


def _encoded(tokenizer: "PreTrainedTokenizerBase", fact: Fact) -> tuple[list[int], int]:
    """Question and answer as one chat, and how many of its tokens are the question's."""
    question = tokenizer(f"{USER}{fact.question}{END}{ASSISTANT}")["input_ids"]
    answer = tokenizer(f"{fact.answer}{END}", add_special_tokens=False)["input_ids"]
    return [*question, *answer], len(question)


def _recalled(loaded: LoadedModel, ids: list[int], start: int) -> bool:
    """Whether greedy decoding would give this answer: each of its tokens is the likeliest after those before it."""
    predicted = torch.cat(list(loaded.start().score(ids, start))).argmax(-1)
    return predicted.tolist() == ids[start:]


def _scores(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    return torch.cat(list(loaded.start().score(ids, 1)))


def _kld(q: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """KLD of each position in nats, in float64, from log-probabilities `[positions, vocabulary]`."""
    return torch.nn.functional.kl_div(q.double(), p.double(), log_target=True, reduction="none").sum(-1)


def table(rungs: Sequence[Rung]) -> str:
    """A Markdown table of the rungs."""
    lines = [
        "| precision | stored MB | mean KLD to fp32 | facts recalled | unseen sums right |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.precision} | {r.stored_bytes / 1e6:.2f} | {r.kld:.5f} | {r.facts:.1%} | {r.sums:.1%} |" for r in rungs
    ]
    return "\n".join(lines)
