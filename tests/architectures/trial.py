"""One kind of model, tried as a user would use it: is what comes out right, or is it refused in words?"""

import gc
import math
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers

from quantlab import models
from quantlab.checkpoints.load import load_variant
from quantlab.checkpoints.store import CheckpointStore
from quantlab.errors import QuantlabError
from quantlab.methods import method_of, precision, variant_of
from quantlab.records import Calibration, Model, Precision, ResolvedPlacement, silent
from quantlab.settings import AppSettings
from tests.architectures.configs import config
from tests.tiny import letters

PRECISIONS = ("fp32", "int8", "nf4", "rtn-4")
#: What takes long or knows few kinds is tried with a sample of them.
_SLOWER, _GGUF = ("hqq-4", "ao-int8", "gptq-4-g32", "awq-4-g32"), ("f16", "q8_0", "q4_0")
_SAMPLE = "llama mistral qwen2 qwen3 gemma2 olmo2 opt phi stablelm granite gpt2 falcon mixtral".split()
_GGUF_KINDS = ("llama", "mistral", "qwen2", "qwen3")
CALIBRATION = Calibration(samples=8, length=64)
PLACEMENT = ResolvedPlacement("cpu", "float32")
NEW_TOKENS = 12
PROMPT = [5, 9, 77, 3, 200, 41, 8, 19, 20, 300, 4]
#: Random models of more weights take minutes and show nothing that small ones do not.
MOST_WEIGHTS = 60_000_000
#: Where the two likeliest tokens are nearer than this, rounding decides: so far two orders of a sum part in float32.
TIE = 1e-4
#: llama.cpp multiplies in float16 where weights are kept so.
TIE_HALF = 0.02


@dataclass(frozen=True)
class Outcome:
    """Of one precision. `verdict`: right, refused, wrong or broken; `why` in words."""

    precision: str
    verdict: str
    why: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """Of one kind. `unbuilt` says why no small one could be made; then there are no outcomes."""

    kind: str
    cls: str = ""
    weights: int = 0
    unbuilt: str = ""
    outcomes: tuple[Outcome, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """The worst of its precisions; `refused` only where every precision is."""
        if self.unbuilt:
            return "unbuilt"
        verdicts = {outcome.verdict for outcome in self.outcomes}
        return next(v for v in ("broken", "wrong", "right", "refused") if v in verdicts)


def precisions_of(kind: str) -> tuple[str, ...]:
    """What a kind is tried at."""
    return PRECISIONS + _SLOWER * (kind in _SAMPLE) + _GGUF * (kind in _GGUF_KINDS)


def trial(kind: str, precisions: tuple[str, ...]) -> Trial:
    """Build a small random model of a kind, write it as a folder, and run it."""
    with TemporaryDirectory(prefix="sweep-") as folder:
        try:
            made = build(kind, Path(folder))
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            return Trial(kind, unbuilt=f"{type(error).__name__}: {first}"[:160])
        if isinstance(made, str):
            return Trial(kind, unbuilt=made)
        name, weights = made
        outcomes = tuple(run(Path(folder), kind, each) for each in precisions)
        shutil.rmtree(folder, ignore_errors=True)
    gc.collect()
    return Trial(kind, name, weights, outcomes=outcomes)


def build(kind: str, folder: Path) -> tuple[str, int] | str:
    """Write the folder; returns the class's name and its weights, or why it is not made."""
    torch.manual_seed(0)
    made = config(kind)
    with torch.device("meta"):
        weights = sum(it.numel() for it in transformers.AutoModelForCausalLM.from_config(made).parameters())
    if weights > MOST_WEIGHTS:
        return f"no small one known: {weights / 1e6:,.0f} million weights"
    network = transformers.AutoModelForCausalLM.from_config(config(kind))
    with torch.no_grad():
        for parameter in network.parameters():
            # Biases begin at zero, where a forgotten one would not show; matrices small, where all tokens are alike.
            if parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter) * 0.05)
    network.save_pretrained(folder)
    letters().save_pretrained(folder)
    return type(network).__name__, weights


def run(folder: Path, kind: str, name: str) -> Outcome:
    chosen = precision(name)
    try:
        model = models.resolve(str(folder), AppSettings())
        checkpoint = models.checkpoint(model)
        reason = method_of(chosen).refuses(chosen, checkpoint, "cpu")
        if reason is not None:
            return Outcome(name, "refused", f"it {reason}")
        return _judged(model, chosen)
    except QuantlabError as error:
        return Outcome(name, "refused", str(error.what).replace(str(folder), kind))
    except Exception as error:
        traceback.print_exc()
        return Outcome(name, "broken", f"{type(error).__name__}: {str(error)[:160]}")


def _judged(model: Model, chosen: Precision) -> Outcome:
    variant = variant_of(model, chosen, PLACEMENT, CALIBRATION)
    planned = method_of(chosen).estimate(chosen, PLACEMENT, models.checkpoint(model))
    with TemporaryDirectory(prefix="sweep-kept-") as kept:
        loaded = (brought := load_variant(variant, silent, CheckpointStore(Path(kept), 10**10))).loaded
        try:
            notes = loaded.facts.notes
            if abs(brought.stored.total - planned) > 0.01 * planned:
                return Outcome(chosen.name, "wrong", f"stored {brought.stored.total}, estimated {planned}", notes)
            ours = _greedy(loaded)
            with _plain(model, chosen, loaded) as plain:
                difference = plain and _parted(ours, plain, TIE if loaded.network is not None else TIE_HALF)
            return Outcome(chosen.name, "wrong" if difference else "right", difference or "", notes)
        finally:
            loaded.close()


def _greedy(loaded) -> list[int]:
    session, ids = loaded.start(), []
    logits = session.forward(PROMPT)
    while len(ids) < NEW_TOKENS:
        ids.append(int(logits.argmax()))
        logits = session.forward(ids[-1:])
    return ids


@contextmanager
def _plain(model: Model, chosen: Precision, loaded) -> Iterator[torch.nn.Module | None]:
    """The model as plain transformers loads it; a quantized one as it is, for its layers are judged elsewhere.

    None for a quantized GGUF, which only llama.cpp runs.
    """
    if chosen.name in _GGUF[1:]:
        yield None
    elif chosen.method not in ("dense", "gguf"):
        yield loaded.module
    else:
        dtype = torch.float32 if chosen.method == "gguf" else getattr(torch, chosen.dtype)
        yield transformers.AutoModelForCausalLM.from_pretrained(model.folder, dtype=dtype).eval()


def _parted(ours: list[int], plain: torch.nn.Module, tie: float) -> str | None:
    """Where our tokens are not those of `generate`, unless two were as good as equal there."""
    got = plain.generate(
        torch.tensor([PROMPT]),
        attention_mask=torch.ones(1, len(PROMPT), dtype=torch.long),
        do_sample=False,
        num_beams=1,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        eos_token_id=None,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    theirs = got.sequences[0, len(PROMPT) :].tolist()
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if one == other:
            continue
        logits = got.logits[place][0]
        gap = float(logits[other] - logits[one])
        if math.isfinite(gap) and abs(gap) < tie * max(1.0, float(logits.std())):
            return None  # what follows a tie are two texts
        return f"token {place} is {one}, generate gives {other} (gap {gap:.3g})"
    return None
