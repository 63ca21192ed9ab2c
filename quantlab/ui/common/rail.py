"""The rail on the left of Compare and of Quality: the model, its precisions and what is added to them."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from quantlab.errors import BadInput, QuantlabError
from quantlab.records import Estimate, ModelFacts, Placement
from quantlab.settings import AppSettings
from quantlab.ui import scripts
from quantlab.ui.common import adding, card, fragments, models, opening, picker, precision_list
from quantlab.ui.common.adding import Adding
from quantlab.ui.common.card import MyCard
from quantlab.ui.common.explained import info
from quantlab.ui.common.precision_list import PrecisionList, Room
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.runner import problem_of
from quantlab.ui.common.tab import LAST, TabHandlers
from quantlab.ui.compare import form as choices
from quantlab.ui.compare.form import Choice
from quantlab.ui.services import Services

Updates = dict[Any, Any]
_OUR_FAULT = Problem("It could not be added through a fault of ours.", "The log says why.")
_QUICK = {"show_progress": "hidden", "concurrency_limit": 4, "api_visibility": "private"}


@dataclass(frozen=True)
class Opening:
    """What the page opens on, found out once for all its tabs: the list of models (name, kind, description), the one
    that is chosen, its precisions (none where it cannot be read, which the page then says on its own), and its facts.
    """

    known: tuple[tuple[str, str, str], ...]
    model: str
    estimates: tuple[Estimate, ...]
    facts: ModelFacts = field(default_factory=ModelFacts)


def opening_of(app: AppSettings, services: Services) -> Opening:
    """What the page opens on. Raises ModelError where the public list of models is wrong."""
    known = services.choices()
    model = models.start_model(known)
    with suppress(QuantlabError):
        found = services.estimates(model, choices.placement(Choice(model), app))
        return Opening(known, model, found, services.facts(model))
    return Opening(known, model, ())


@dataclass(frozen=True)
class Rail:
    """Its components. `ticked` is what the list begins with, `found` what is in it."""

    model: gr.Dropdown
    about: gr.HTML
    precisions: picker.PrecisionPicker
    my_card: MyCard
    adding: Adding
    dropped: gr.File
    offered: gr.State
    found: PrecisionList
    ticked: tuple[str, ...]


def build(start: Opening, app: AppSettings, *, before_ids: str = "", random_weights: bool = True) -> Rail:
    """Make it inside the current column. `random_weights`: models that have such are in the list too."""
    gr.HTML(
        fragments.rail_fold(before_ids), elem_id=f"{before_ids}rail-head", elem_classes="rail-head",
        apply_default_css=False,
    )  # fmt: skip
    found = PrecisionList(start.estimates)
    ticked = precision_list.ticks(found, choices.DEFAULT_TICKS, app.max_columns)
    chosen = gr.Dropdown(
        [name for name, kind, _ in start.known if random_weights or kind != "shape"],
        value=start.model,
        label="Model",
        info=None if app.public else "Pick one, or type a Hugging Face id, a folder, a .gguf file or ollama:NAME",
        allow_custom_value=not app.public,
        elem_id=f"{before_ids}model",
    )
    about = gr.HTML(
        fragments.about_model(*models.about(start.model, start.known, start.facts)), elem_id=f"{before_ids}about",
        apply_default_css=False,
    )  # fmt: skip
    my_card = card.build(before_ids)
    picks = picker.picker(found, ticked, app.max_columns, elem_id=f"{before_ids}precisions")
    added, dropped = adding.build(app, before_ids), opening.build(app, before_ids)
    return Rail(chosen, about, picks, my_card, added, dropped, gr.State(found), found, tuple(ticked))


def comparing(found: PrecisionList, before_ids: str = "") -> tuple[gr.Dropdown, gr.Dropdown]:
    """What the others are held against, and in what type all compute."""
    with gr.Row():
        reference = gr.Dropdown(
            [choices.MOST_PRECISE, *found.names], value=choices.MOST_PRECISE, label="Reference", min_width=130,
            info=info("reference"), elem_id=f"{before_ids}reference",
        )  # fmt: skip
        dtype = gr.Dropdown(
            list(choices.COMPUTE_DTYPES), value=choices.COMPUTE_DTYPES[0], label="Compute dtype", min_width=130,
            info=info("compute_dtype"), elem_id=f"{before_ids}dtype",
        )  # fmt: skip
    return reference, dtype


class RailHandlers(TabHandlers):
    """Of a tab with a rail: its `parts` have `about`, `offered`, `adding`, `my_card`, `problem` and the `inputs`."""

    def estimate(
        self, model: str, compute_dtype: str, ticked: list[str], before: PrecisionList, asked: Any = None
    ) -> Updates:
        """What a model takes at each precision; ticks and added checkpoints are kept where they can be.

        `asked`, given with another model, is what the tab suits to it.
        """
        name = str(model or "").strip()
        found, problem = self._listed_for(name, self._where(compute_dtype), before.specs, before.room)
        wishes = precision_list.wishes(before, ticked) or choices.DEFAULT_TICKS
        updates = self._chosen(name, found, precision_list.with_the_file(found, before, wishes))
        return updates | {self.parts.problem: fragments.problem(problem)} | self._suited(name, asked)

    def open(self, file: str, *before: Any) -> Updates:
        """A file that was dropped is the model."""
        return {self.parts.inputs.model: file} | self.estimate(file, *before)

    def add(self, typed: str, model: str, compute_dtype: str, ticked: list[str], before: PrecisionList) -> Updates:
        """Add a precision with options, or a published checkpoint, to the list and tick it, where that can be."""
        control, spec = self.parts.adding, str(typed or "").strip()
        try:
            if not spec:
                raise BadInput("Nothing was typed.", "Type a precision, a folder, a .gguf file or a Hugging Face id.")
            choices.check_published((spec,), self.app)
            where, name = card.placed(self._where(compute_dtype), before.room), str(model or "").strip()
            row = precision_list.look_at(spec, name, where, self.services)
            if not row.added and row.value not in before.names:
                raise BadInput(f"{spec} could be a precision's name.", f"Write ./{spec} for the folder.")
        except Exception as error:
            return {control.said: fragments.added(problem_of(error, "a checkpoint could not be added", _OUR_FAULT))}
        found, limit = before.with_added(row) if row.added else before, self.app.max_columns
        found = card.held(found, name, where, self.app, self.services) if row.added else found
        kept = precision_list.ticks(found, ticked, limit) if ticked else []
        full = len(kept) >= limit
        ticks = kept if full else precision_list.ticks(found, [*kept, row.value], limit)
        said = fragments.added_row(row, full=full and row.value not in kept)
        return self._rows(found, ticks) | {control.spec: "", control.said: said}

    def card(self, typed: str, context: Any, model: str, compute_dtype: str, before: PrecisionList) -> Updates:
        """Hold the list against the card that was typed, or again against this machine."""
        parts = self.parts.my_card
        try:
            room = card.room(typed, context)
        except QuantlabError as error:
            return {parts.said: card.wrong(Problem(error.what, error.advice), before.room)}
        if room == before.room:
            return {parts.said: card.said(before, self._where(compute_dtype))}
        name = str(model or "").strip()
        found, _ = self._listed_for(name, self._where(compute_dtype), before.specs, room)
        found = replace(found, missed=before.missed, stand_in=before.stand_in)
        shown = {self.parts.offered: found, self.parts.inputs.precisions: gr.update(rows=picker.rows(found))}
        kept = str(typed or "").strip()
        return shown | self._card_shown(found, compute_dtype, kept) | {parts.kept: [kept, context]}

    def _card_shown(self, found: PrecisionList, compute_dtype: str, typed: str) -> Updates:
        parts, room = self.parts.my_card, found.room
        context = {} if room is None else {parts.context: room.context}
        return {parts.card: typed, parts.said: card.said(found, self._where(compute_dtype))} | context

    @abstractmethod
    def _suited(self, model: str, asked: Any) -> Updates:
        """What else on the tab follows another model, from what was asked there; nothing where that is None."""

    def _where(self, compute_dtype: str) -> Placement:
        return choices.placement(Choice(compute_dtype=compute_dtype), self.app)

    def _listed_for(
        self, model: str, where: Placement, specs: Sequence[str], room: Room | None = None
    ) -> tuple[PrecisionList, Problem | None]:
        """The estimates for a model and for `specs`, which were added, and what was wrong with the model."""
        where = card.placed(where, room)
        added = precision_list.look_again(specs, model, where, self.services)
        found, problem = precision_list.of_model(model, where, self.app, self.services, added)
        return card.held(replace(found, room=room), model, where, self.app, self.services), problem

    def _nothing_to_tick(self, asked: Any) -> Problem | None:
        """Why nothing is ticked in a choice, where that is as its model cannot be read."""
        if asked.precisions:
            return None
        return self._listed_for(asked.model, self._where(asked.compute_dtype), ())[1]

    def _chosen(self, model: str, found: PrecisionList, wanted: Any) -> Updates:
        """The list for a model, with the ticks that it can take."""
        return self._shown(model, *precision_list.settled(found, wanted, self.app.max_columns))

    def _shown(self, model: str, found: PrecisionList, ticked: list[str]) -> Updates:
        """A list as it is, with everything in the rail that goes with its model."""
        references = [choices.MOST_PRECISE, *found.names]
        return self._rows(found, ticked) | {
            self.parts.about: fragments.about_model(*self._about(model)),
            self.parts.inputs.reference: gr.update(choices=references, value=choices.MOST_PRECISE),
        }

    def _about(self, model: str) -> tuple[str, str, str]:
        known, facts = self.services.choices(), self.services.facts(model)
        return models.about(model, known, facts, public=self.app.public)

    def _rows(self, found: PrecisionList, ticked: list[str]) -> Updates:
        inputs = self.parts.inputs
        return {
            self.parts.offered: found,
            inputs.precisions: gr.update(value=ticked, rows=picker.rows(found), limit=self.app.max_columns),
            inputs.reference: gr.update(choices=[choices.MOST_PRECISE, *found.names]),
        }


def wire(parts: Any, handlers: RailHandlers, asked: gr.components.Component, suited: list[Any]) -> list[Any]:
    """What changes the list: another model or compute type, an added checkpoint. Gives all that another model fills.

    `asked` goes with another model to the handler, `suited` is what it may change beside the rail.
    """
    inputs, adds = parts.inputs, parts.adding
    listed = [parts.offered, inputs.precisions, inputs.reference]
    before = [inputs.compute_dtype, inputs.precisions, parts.offered]
    filled = [*listed, parts.about, parts.problem, *suited]
    inputs.model.input(handlers.estimate, [inputs.model, *before, asked], filled, **_QUICK, **LAST)
    inputs.compute_dtype.input(handlers.estimate, [inputs.model, *before], filled, **_QUICK, **LAST)
    parts.dropped.upload(handlers.open, [parts.dropped, *before, asked], [inputs.model, *filled], **_QUICK)
    held = parts.my_card
    gr.on(
        card.changes(held), handlers.card, [held.card, held.context, inputs.model, inputs.compute_dtype, parts.offered],
        [parts.offered, inputs.precisions, held.kept, *held.listed()], **_QUICK, **LAST,
    )  # fmt: skip
    told = gr.on(
        [adds.add.click, adds.spec.submit], handlers.add, [adds.spec, inputs.model, *before],
        [*listed, adds.spec, adds.said], **_QUICK,
    )  # fmt: skip
    told.then(None, None, None, js=scripts.in_sight(adds.said.elem_id))
    return filled
