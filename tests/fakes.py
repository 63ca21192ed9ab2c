"""An honest stand-in for `quantlab.runs.compare.compare`: the same events in the same order, without torch.

Its texts diverge where more bits are missing, its figures have true proportions and add up, it polls `stop`, and
one precision fails on request. `Script` sets its pace.
"""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from quantlab.checkpoints.export import Saved
from quantlab.errors import BadInput, OutOfMemory, Stopped, unknown
from quantlab.methods.published import is_published, labels
from quantlab.models.facts import kind_alone
from quantlab.records import (
    Candidate,
    Comparison,
    Divergence,
    Load,
    Machine,
    Model,
    Peak,
    Precision,
    Run,
    Settings,
    Timing,
    TokenDifference,
)
from quantlab.records.claims import Claims
from quantlab.records.events import Done, Event, Finished, Loaded, Loading, Started, TimingAgain, Token
from quantlab.records.finetuning import (
    PreviewToken,
    Trained,
    TrainingData,
    TrainingPreparing,
    TrainingStarted,
    TrainingStep,
)
from quantlab.settings import AppSettings
from quantlab.teach.claims import CLAIMS, judged
from quantlab.teach.claims.evidence import Evidence, Trial
from quantlab.ui.common.runner import Queueing
from quantlab.ui.services import Finetune, Quantize, Services, TestClaims
from quantlab.ui.turns.taking import Visitor
from quantlab.ui.turns.turns import Turns
from tests.event_grammar import checked
from tests.examples import QUIET
from tests.fake_estimates import (
    CHOICES,
    WEIGHTS,
    fake_estimates,
    fake_precision,
    fake_published,
    precision,
    stored_bytes,
)
from tests.fake_quality import fake_quality

ANSWER = (
    "Mira Toll lived in a small house by the river . One morning she found a blue lamp under the old bridge . "
    "She took it home and asked her friend Oren what it was for . Oren said that it belonged to the keeper of the "
    "tower , who had lost it in the long rain . So they walked up the hill together and gave it back ."
).split(" ")
#: For each precision the word from which it goes its own way, and the words it says there.
OWN_WAY = {
    "nf4": (41, "in a storm long ago . They carried it to the tower , and the keeper thanked them .".split(" ")),
    "nf4-dq": (41, "in a storm long ago . They carried it up the hill , and the keeper thanked them .".split(" ")),
    "fp4": (18, "in the garden . She kept it , and it shone every night by her window until the spring .".split(" ")),
    "rtn-3": (4, "the the town of river and river lamp . She she was of the bridge and Oren .".split(" ")),
}


@dataclass
class Script:
    """How the fake behaves. `gap_s` is the time of one token, or of one window where quality is measured; `failing`
    are precisions that run out of memory."""

    load_s: float = 0.3
    gap_s: float = 0.02
    failing: tuple[str, ...] = ()
    crash: Exception | None = None
    stops: list[threading.Event] = field(default_factory=list)
    settings: list[Settings] = field(default_factory=list)
    written: int = 0
    running: int = 0
    no_tasks: str = ""


def fake_claims(script: "Script") -> TestClaims:
    """A `Services.claims` at the script's pace: real rules over a few made-up findings."""

    def claims(model, only, stop):
        for column in range(1, 4):
            yield column, 3, f"column {column}: reading"
            if stop.wait(script.load_s):
                raise Stopped
        found = Evidence(codes={"int8 absmax": (-127, 56, -1)}, trials={"as printed": Trial("model()")})
        chosen = [claim for claim in CLAIMS if not only or claim.number in only]
        machine = Machine("Fake CPU", 2, 2_000_000_000, "cpu", 2_000_000_000, "Linux", 10e9)
        return Claims(
            model, datetime(2026, 1, 2, tzinfo=UTC), machine, {}, tuple(judged(claim, found) for claim in chosen)
        )

    return claims


def fake_finetune(script: "Script") -> Finetune:
    """A `Services.finetune` at the script's pace: a loss that falls, the rows held out read at each third step."""

    def finetune(model, data, folder, asked, stop):
        if (folder / "adapter_model.safetensors").exists() or folder.name == "taken":
            raise BadInput(f"The folder {folder.name} holds a training that is finished.", "Name another one.")
        yield TrainingPreparing(30, 120, f"loading the base at {asked.precision}")
        if stop.wait(script.load_s):
            raise Stopped
        yield TrainingStarted(TrainingData(Path(data).name, 20, 2, 400, 200, 0), 196_608, 2_400_000)
        memory = {"base": 1_800_000, "adapters": 786_432, "gradients": 786_432, "optimizer": 1_572_864}
        loss, done = 3.0, 0
        for step in range(1, asked.steps + 1):
            if stop.wait(script.gap_s):
                break
            loss, done = loss * 0.9, step
            taken = memory | {"activations": 40_000_000}
            told = TrainingStep(step, asked.steps, loss, asked.learning_rate, 0.1, 120, None, taken)
            yield told
            if step % 3 == 0:
                yield replace(told, held_out_loss=loss * 1.1)
        yield Trained(
            folder, model, asked.precision, done, loss, 3.3, loss * 1.1, 786_432, done < asked.steps, asked.method
        )

    return finetune


def fake_preview(model, data, asked):
    """`Services.preview_rows`: one row, whose answer is learnt."""
    return ((PreviewToken("Where?<b>", False), PreviewToken(" There", True), PreviewToken(".", True)),)


def fake_quantize(script: "Script") -> Quantize:
    """A `Services.quantize` at the script's pace that writes nothing."""

    def quantize(model, precision, out, settings, stop):
        if out == "/taken":
            raise BadInput(f"{out} exists and is not empty.", "Name a new folder: nothing is written over.")
        script.settings.append(settings)
        for layer in range(1, 23):
            yield layer, 22, f"layer {layer} of 22, about {22 - layer} s left"
            if stop.wait(script.load_s / 22):
                raise Stopped
        return Saved(Path(out), 4_200_000, 5.2, False)

    return quantize


def alone(turns: Turns | None = None) -> Queueing:
    """Where the only visitor's runs take their turns."""
    return Queueing(turns or Turns(), Visitor("the only one"))


def services(script: Script | None = None) -> Services:
    """Services for a page that runs on this fake."""
    script = script or Script()

    def compare(request, *, stop=None, fresh=False):
        asked = (request.model, request.precisions, request.prompt, request.settings)
        return checked(fake_compare(*asked, stop=stop, script=script), request.settings.race)

    def measure(request, *, stop=None):
        asked = (request.model, request.precisions, request.text, request.settings)
        return checked(fake_quality(*asked, stop=stop, script=script))

    quantize = fake_quantize(script)
    return Services(
        compare,
        fake_estimates,
        lambda: CHOICES,
        fake_precision,
        fake_published,
        quantize,
        measure,
        lambda: script.no_tasks,
        claims=fake_claims(script),
        finetune=fake_finetune(script),
        preview_rows=fake_preview,
        facts=lambda name: kind_alone(name, AppSettings(public=False)),
    )


def fake_compare(
    model: str | Model,
    precisions: Sequence[str],
    prompt: str,
    settings: Settings,
    *,
    stop: threading.Event | None = None,
    script: Script | None = None,
) -> Iterator[Event]:
    """The events of a comparison, at the script's pace. Raises BadInput as the real one does."""
    script, stop = script or Script(), stop or threading.Event()
    script.stops.append(stop)
    name = model if isinstance(model, str) else model.name
    if name not in {known for known, _, _ in CHOICES}:
        raise unknown("model", name, (known for known, _, _ in CHOICES))
    chosen = [
        replace(fake_published(each, settings.placement).precision, name=shown)
        if is_published(each)
        else precision(each)
        for each, shown in labels(precisions).items()
    ]
    script.settings.append(settings)
    ids = tuple(range(300, 300 + len(prompt.split())))
    if len(ids) + settings.max_new_tokens > 1_024:
        raise BadInput(
            "The prompt and the new tokens exceed the model's context of 1,024 tokens.", "Shorten the prompt."
        )
    reference = settings.reference or max(chosen, key=lambda one: one.bits).name
    order = sorted(chosen, key=lambda one: one.name != reference)
    found = Model(name, next(kind for known, kind, _ in CHOICES if known == name), None)
    yield Started(tuple(p.name for p in order), reference, ids, _spaced(prompt.split()), found)
    if script.crash:
        raise script.crash
    script.running += 1
    runs: list[Run] = []
    try:
        for one in order:
            run = yield from _run(one, reference, runs, settings, stop, script, len(ids))
            runs.append(run)
            yield Finished(run)
    finally:
        script.running -= 1
    yield Done(
        Comparison(
            found, prompt, ids, _spaced(prompt.split()), reference, settings,
            Machine("Fake CPU", 2, 8_000_000_000, "cpu", 8_000_000_000, "Linux", 2.0e10), {"torch": "2.13"},
            tuple(runs),
        )
    )  # fmt: skip


def _run(one, reference, runs, settings, stop, script, prompt_tokens) -> Iterator[Event]:
    if stop.is_set():
        return Run(one.name, stopped=True)
    yield Loading(one.name, 0, 0, "")
    for done in range(1, 31):
        time.sleep(script.load_s / 30)
        if stop.is_set():
            return Run(one.name, stopped=True)
        yield Loading(one.name, done, 30, f"model.layers.{done // 10}.mlp.up_proj.weight")
    if one.name in script.failing:
        error = OutOfMemory(
            f"{one.name} does not fit: it needs 14.2 GB and 8.1 GB are free.", "Choose one with fewer bits."
        )
        return Run(one.name, error.what, error.advice)
    load = _load(one, script)
    yield Loaded(one.name, load)
    words, gaps = [], []
    for index, word in enumerate(_words(one.name)[: settings.max_new_tokens]):
        gap = 1e-6 + script.gap_s * (1.0 + 0.15 * math.sin(index))
        time.sleep(gap)
        gaps.append(gap)
        words.append(word)
        script.written += 1
        yield Token(one.name, index, _id(word), "".join(_spaced(words)))
        if stop.is_set():
            break
    stopped = stop.is_set()
    for answers in (1, 2) if words and not stopped else ():
        yield TimingAgain(one.name, answers)
        time.sleep(script.gap_s)
        if stop.is_set():
            break
    return _finished(one.name, words, gaps, load, reference, runs, prompt_tokens, stopped)


def _finished(name, words, gaps, load, reference, runs, prompt_tokens, stopped) -> Run:
    theirs = next((run for run in runs if run.precision == reference and run.error is None), None)
    timing = Timing(0.05, 0.013, tuple(gaps[1:]), prompt_tokens)
    return Run(
        precision=name,
        text="".join(_spaced(words)),
        token_ids=tuple(map(_id, words)),
        tokens=_spaced(words),
        load=load,
        timing=timing,
        peak=Peak(resident=int(load.running_bytes * 1.3) + 9_000_000),
        kv_cache_bytes=(prompt_tokens + len(words) - 1) * 3_072,
        bandwidth_share=min(1.0, load.running_bytes / 2.0e10 / max(gaps)) if gaps else None,
        first_divergence=_divergence(words, theirs),
        differences=_differences(name, theirs),
        stopped=stopped,
        ttft_samples=(0.013, 0.0125, 0.0131),
        decode_samples=tuple(timing.decode_tokens_per_s * each for each in (1, 0.98, 1.01)) if timing.itl_s else (),
        cpu=QUIET,
    )


def _load(one: Precision, script: Script) -> Load:
    stored = stored_bytes(one.bits)
    quantized = one.bits < 16
    parts = {"embeddings": stored // 4, "attention": stored // 5, "mlp": stored // 3, "norms": 4_096, "output_head": 0}
    parts["quantization"] = stored // 9 if quantized else 0
    parts["other"] = stored - sum(parts.values())
    repacked = one.name == "nf4-dq"
    kept = one.method in ("gptq", "awq", "gguf", "stored")
    return Load(
        load_s=script.load_s,
        load_origin="disk" if kept else "built",
        stored_bytes=stored,
        running_bytes=int(stored * 1.08) if repacked else stored,
        parts=parts,
        bits_per_weight=8 * stored / WEIGHTS,
        bits_per_quantized_weight=one.bits if quantized else None,
        compute_dtype="float32" if one.name == "fp32" else "bfloat16",
        kernel="torch.nn.Linear" if not quantized else "bitsandbytes gemv_4bit (CPU)",
        device_map={"model": "cpu"},
        notes=("the kernel undoes double quantization at the first product",) if repacked else (),
        build_s=5.2 if kept else None,
        details={"group size": "128", "quantized by": "gptqmodel 7.6.0"} if kept else {},
    )


def _words(name: str) -> list[str]:
    start, own = OWN_WAY.get(name, (len(ANSWER), []))
    return [*ANSWER[:start], *own] if own else list(ANSWER)


def _spaced(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(word if i == 0 or word in ".," else f" {word}" for i, word in enumerate(words))


def _id(word: str) -> int:
    return sum(map(ord, word)) % 4_096


def _divergence(words: Sequence[str], theirs: Run | None) -> Divergence | None:
    if theirs is None:
        return None
    ours, reference = _spaced(words), theirs.tokens
    index = next((i for i, (a, b) in enumerate(zip(ours, reference, strict=False)) if a != b), None)
    if index is None:
        return None
    others = (" a", " the", "\n", " <b>")
    return Divergence(index, _top(ours[index], reference[index], others), _top(reference[index], ours[index], others))


def _top(first: str, second: str, others: Sequence[str]) -> tuple[Candidate, ...]:
    chances = (0.46, 0.31, 0.082, 0.013, 0.0004)
    return tuple(Candidate(_id(text), text, p) for text, p in zip((first, second, *others), chances, strict=False))


def _differences(name: str, theirs: Run | None) -> tuple[TokenDifference, ...]:
    if theirs is None:
        return ()
    harm = {"bf16": 0.001, "int8": 0.004, "nf4": 0.03, "nf4-dq": 0.035, "fp4": 0.08, "rtn-3": 0.5}.get(name, 0.0)
    found = []
    for index, token in enumerate(theirs.tokens):
        sure = 0.55 + 0.4 * math.sin(index * 1.7) ** 2
        lost = harm * (1 + math.sin(index * 2.3)) * sure
        same = lost < 0.12
        found.append(TokenDifference(token, max(0.001, sure - lost), sure, same, 1 if same else 2, harm * lost))
    return tuple(found)
