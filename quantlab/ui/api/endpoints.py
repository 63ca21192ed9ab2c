"""The endpoints: what a program may ask, each held to the limits of the page. Their words are read by language models.

Gradio takes names and types from the signatures, and the descriptions from the docstrings.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import gradio as gr

from quantlab.errors import BadInput, shown
from quantlab.export.told import estimate_data
from quantlab.fidelity import texts
from quantlab.methods.published import is_published
from quantlab.records import ComparisonRequest, QualityRequest, Settings
from quantlab.settings import AppSettings
from quantlab.teach.plan.cards import CARDS, MEMORIES
from quantlab.teach.plan.cards import card as card_of
from quantlab.teach.plan.exported import plan_data
from quantlab.ui.api.running import Told, plainly, told
from quantlab.ui.common.runner import Job, Queueing
from quantlab.ui.common.tab import TAKES_TURNS
from quantlab.ui.compare import form as choices
from quantlab.ui.compare.form import Choice
from quantlab.ui.plan import form as plan_form
from quantlab.ui.plan.form import PlanChoice
from quantlab.ui.quality import form as quality_form
from quantlab.ui.quality.form import QualityChoice
from quantlab.ui.services import Services
from quantlab.ui.turns.taking import nothing, visitor

F = TypeVar("F", bound=Callable[..., Any])
_MOST_PRECISE, _DEFAULT_DTYPE = choices.MOST_PRECISE, choices.COMPUTE_DTYPES[0]
#: What looks things up and runs nothing does not wait for the device.
_QUICK = {"concurrency_limit": 4, "concurrency_id": "look-ups"}


def one_object(handler: F) -> F:
    """Gradio is told that each thing that a generator gives is an object: it reads the type behind the arrow alone."""
    handler.__annotations__["return"] = dict
    return handler


class Endpoints:
    """Bound to one page's limits and services. Each answers with plain data, or with gr.Error in plain sentences."""

    def __init__(self, app: AppSettings, services: Services) -> None:
        self._app, self._services = app, services

    @one_object
    def compare(
        self,
        request: gr.Request,
        model: str,
        precisions: list[str],
        prompt: str,
        max_new_tokens: int = Settings.max_new_tokens,
        sample: bool = Settings.sample,
        temperature: float = Settings.temperature,
        top_k: int = Settings.top_k,
        top_p: float = Settings.top_p,
        seed: int = Settings.seed,
        reference: str = _MOST_PRECISE,
        compute_dtype: str = _DEFAULT_DTYPE,
        raw: bool = Settings.raw,
        race: bool = Settings.race,
        fresh: bool = False,
        brief: bool = False,
    ) -> Iterator[Told]:
        """
        Run one prompt through one language model at several precisions and measure what the missing bits cost: the
        text of each, its memory in bytes, its speed, where it leaves the reference's answer, and by how much its
        probabilities differ (KL divergence in nats). Takes seconds to minutes. The last event holds everything.

        Parameters:
            model: a name from the tool models, such as demo or smollm2
            precisions: names from the tool precisions, such as bf16, int8, nf4; two or more make a comparison
            prompt: the text to answer
            max_new_tokens: the longest answer, in tokens
            sample: true draws tokens with the seed, false takes the likeliest one each time (greedy)
            temperature: of sampling; used only where sample is true
            top_k: of sampling, 0 for all tokens; used only where sample is true
            top_p: of sampling; used only where sample is true
            seed: of sampling; used only where sample is true
            reference: the precision that the others are compared with, or "most precise"
            compute_dtype: default, float32, bfloat16 or float16
            raw: true hands the prompt over without the model's chat template
            race: true runs all precisions at once; their speeds then do not count
            fresh: true measures again what is known from an earlier run
            brief: true leaves out the lists that have an entry for each token; right for language models
        Returns:
            an event, an object with its name in the field event; the last one is done, with the field comparison
        """
        with plainly("a comparison for a program failed"):
            choice = choices.from_inputs(
                model, _names("precisions", precisions), prompt, max_new_tokens, sample, temperature, top_k, top_p,
                seed, reference, compute_dtype, raw, race, Choice.calibration_samples, Choice.calibration_length,
                Choice.calibration_file, Choice.kernel, fresh,
            )  # fmt: skip

        def begin(stop: threading.Event) -> Job:
            choices.check(choice, self._app)
            settings = choices.settings(choice, self._app)
            asked = ComparisonRequest(choice.model, choice.precisions, choice.prompt, settings)
            answered = nothing if choice.fresh else self._services.answered(asked)
            return Job("compare", lambda: self._services.compare(asked, stop=stop, fresh=choice.fresh), answered)

        yield from told(begin, self._app, self._queueing(request), bool(brief))

    @one_object
    def quality(
        self,
        request: gr.Request,
        model: str,
        precisions: list[str],
        source: str = QualityChoice.source,
        text: str = "",
        windows: int = QualityChoice.windows,
        tasks: list[str] | None = None,
        layers: bool = QualityChoice.layers,
        noise_floor: bool = QualityChoice.noise_floor,
        reference: str = _MOST_PRECISE,
        compute_dtype: str = _DEFAULT_DTYPE,
        brief: bool = False,
    ) -> Iterator[Told]:
        """
        Measure the quality that one language model loses at several precisions: each reads the same text, and its
        perplexity, the KL divergence from the reference in nats and the share of positions with the same likeliest
        token are measured, with standard errors; tasks add accuracies. Takes minutes. The last event holds everything.

        Parameters:
            model: a name from the tool models, such as demo or smollm2
            precisions: names from the tool precisions, such as bf16, int8, nf4; two or more
            source: demo, english or wikitext2, a text by its name; not read where text is given
            text: a text of your own to read instead, the words themselves; of a file, send what is in it
            windows: how many windows of the text are read; more make the errors smaller
            tasks: names of tasks with an accuracy, such as demo_facts; none where left out
            layers: true measures the error of each layer too
            noise_floor: true measures what rounding alone makes of the reference
            reference: the precision that the others are compared with, or "most precise"
            compute_dtype: default, float32, bfloat16 or float16
            brief: true leaves out the long lists; right for language models
        Returns:
            an event, an object with its name in the field event; the last one is done, with the field quality
        """
        with plainly("a quality run for a program failed"):
            if not text and str(source) not in texts.NAMED:
                own = "A text of your own goes into the argument text."
                raise BadInput(f"Unknown text {shown(str(source))}.", f"Choose from: {', '.join(texts.NAMED)}. {own}")
            choice = quality_form.from_inputs(
                model, _names("precisions", precisions), quality_form.PASTE if text else source, text, None, windows,
                _names("tasks", tasks or []), "", layers, noise_floor, reference, compute_dtype,
            )  # fmt: skip

        def begin(stop: threading.Event) -> Job:
            quality_form.check(choice, self._app)
            settings = quality_form.settings(choice, self._app)

            def measure() -> Any:  # a text may have to be fetched
                asked = QualityRequest(choice.model, choice.precisions, quality_form.text(choice), settings)
                return self._services.quality(asked, stop=stop)

            return Job("quality", measure)

        yield from told(begin, self._app, self._queueing(request), bool(brief))

    def plan(
        self,
        model: str,
        precisions: list[str] | None = None,
        context: int | None = None,
        batch: int = 1,
        kv: str = PlanChoice.kv,
        card: str = "",
        compute_dtype: str = PlanChoice.compute_dtype,
        finetune: str = "",
        rank: int = 16,
        targets: str = PlanChoice.targets,
        checkpointing: bool = PlanChoice.checkpointing,
    ) -> dict:
        """
        Will it fit? The memory that a model needs on graphics cards at each precision: weights, keys and values,
        activations, and what fits on which card. Nothing is loaded and nothing runs; it takes a moment.

        Parameters:
            model: a name from the tool models, or shape:NAME for a published architecture
            precisions: such as bf16, int8, nf4, q4_k_m, which are taken where none is named
            context: tokens of each sequence, prompt and answer; where left out 4096, or the model's own if that is less
            batch: sequences at once
            kv: the type of keys and values: auto, f32, f16, bf16, q8_0, q4_0, int8 or int4
            card: a card's name such as RTX 3060, or a size such as 12 GB; all known cards where empty
            compute_dtype: float32, bfloat16 or float16
            finetune: full, lora or qlora to plan a training too; nothing where empty
            rank: of the adapters that are trained
            targets: the layers that get adapters, parted by commas, or all-linear
            checkpointing: true computes activations again while training, which needs less memory
        Returns:
            quantlab.plan/1, see docs/measurement.md; every size in bytes
        """
        with plainly("a plan for a program failed"):
            chosen = _names("precisions", precisions) if precisions is not None else PlanChoice.precisions
            choices.check_published(tuple(chosen), self._app)
            tokens = plan_form.OWN if context is None else context
            choice = PlanChoice(
                model=str(model or ""), precisions=chosen, context=tokens, batch=batch, kv=str(kv),
                compute_dtype=str(compute_dtype), finetune=str(finetune), rank=rank, targets=str(targets),
                checkpointing=bool(checkpointing),
            )  # fmt: skip
            asked = plan_form.tuned(choice) if finetune else plan_form.asked(choice)
            cards = (card_of(str(card)),) if card else (*CARDS, *MEMORIES)
            return plan_data(self._services.plan(plan_form.model(choice), asked, cards, self._app))

    def estimate(self, model: str, precision: str, compute_dtype: str = _DEFAULT_DTYPE) -> dict:
        """
        What one precision of a model would take here: its memory in bytes, whether that fits into what is free on
        this machine, and why it cannot run where it cannot. Nothing is loaded.

        Parameters:
            model: a name from the tool models
            precision: a name from the tool precisions, such as nf4; options may follow it, such as rtn-4-g128
            compute_dtype: default, float32, bfloat16 or float16
        Returns:
            quantlab.estimate/1, an object whose sizes are in bytes
        """
        with plainly("an estimate for a program failed"):
            name = str(precision or "").strip()
            where, model = self._where(model, compute_dtype), str(model).strip()
            if not name:
                raise BadInput("No precision is named.", "Name one, such as nf4.")
            choices.check_published((name,), self._app)
            look = self._services.estimate_published if is_published(name) else None
            found = look(name, where) if look else self._services.estimate_precision(model, name, where)
            return {"schema": "quantlab.estimate/1", "model": model, **estimate_data(found)}

    def models(self) -> dict:
        """
        The language models that can be asked here, each with its name, its kind and what it is. Use a name as the
        argument model of the other tools.

        Returns:
            quantlab.models/1, an object with the list models
        """
        with plainly("the models could not be listed"):
            listed = [{"name": n, "kind": kind, "description": what} for n, kind, what in self._services.choices()]
            return {"schema": "quantlab.models/1", "models": listed}

    def precisions(self, model: str, compute_dtype: str = _DEFAULT_DTYPE) -> dict:
        """
        The precisions of a model, each with its bits for a weight, its memory in bytes, and why it cannot run here
        where it cannot (unavailable). Use a name as one of the precisions of compare and quality. Nothing is loaded.

        Parameters:
            model: a name from the tool models
            compute_dtype: default, float32, bfloat16 or float16
        Returns:
            quantlab.precisions/1, an object with the list precisions
        """
        with plainly("the precisions could not be listed"):
            where, model = self._where(model, compute_dtype), str(model).strip()
            found = [estimate_data(it) for it in self._services.estimates(model, where)]
            return {"schema": "quantlab.precisions/1", "model": model, "precisions": found}

    def _queueing(self, request: gr.Request) -> Queueing:
        """Where a program takes its turns: like a page, it is the visitor of its session."""
        return Queueing(self._services.turns, visitor(request))

    def _where(self, model: str, compute_dtype: str) -> Any:
        """The placement of a look-up. Raises BadInput for a model or a type that is not to be had on this page."""
        choice = replace(Choice(), model=str(model or "").strip(), compute_dtype=str(compute_dtype))
        choices.check_model(choice.model, self._app)
        choices.check_compute_dtype(choice.compute_dtype)
        return choices.placement(choice, self._app)


def _names(what: str, typed: Any) -> list[str]:
    """Raises BadInput for anything but a list of texts: a text alone would be read letter by letter."""
    if not isinstance(typed, list | tuple) or not all(isinstance(it, str) for it in typed):
        raise BadInput(f"{what} is no list of names.", 'Give a list, such as ["bf16", "nf4"].')
    return [it.strip() for it in typed]


def build(app: AppSettings, services: Services) -> None:
    """Add the endpoints to the current Blocks, once all tabs are there: what tabs call is theirs and no program's."""
    every = Endpoints(app, services)
    runs, looks = (every.compare, every.quality), (every.plan, every.estimate, every.models, every.precisions)
    names = {it.__name__ for it in (*runs, *looks)}
    for own in gr.context.Context.root_block.fns.values():
        own.api_visibility = "private"
        if own.api_name in names:  # Gradio would number ours
            own.api_name = f"tab_{own.api_name}"
    for run in runs:
        gr.api(run, api_name=run.__name__, **TAKES_TURNS)
    for look in looks:
        gr.api(look, api_name=look.__name__, **_QUICK)
