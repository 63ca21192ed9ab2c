"""My card: what "fits" in the rail speaks of, where a visitor names one. The browser keeps it; nothing here does."""

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from quantlab.errors import QuantlabError
from quantlab.methods.published import SEPARATOR, STORED, is_published, read
from quantlab.records import Card, Estimate, Placement, units
from quantlab.reporting.templates import Pieces
from quantlab.runtime.kv_cache import MARK, split
from quantlab.settings import AppSettings
from quantlab.teach.plan import card_rows, planning, words
from quantlab.teach.plan.asked import USUAL_CONTEXT, Asked
from quantlab.teach.plan.cards import card as card_of
from quantlab.ui.common.explained import info
from quantlab.ui.common.precision_list import PrecisionList, Room, Row
from quantlab.ui.common.problem import Problem
from quantlab.ui.common.typed import as_int
from quantlab.ui.services import Services

_HTML = Pieces("ui/common/card.html")
#: Under which name the browser keeps what was typed. The value is no secret; the key alone lets it be read again after
#: a restart of the server.
STORAGE_KEY, SECRET = "quantlab-card", "quantlab"
LONGEST = 40


@dataclass(frozen=True)
class MyCard:
    """Its components: the card, the tokens that keys and values are counted for, and what is said of both."""

    card: gr.Textbox
    context: gr.Number
    said: gr.HTML
    kept: gr.BrowserState

    def listed(self) -> list[Any]:
        return [self.card, self.context, self.said]


def build(before_ids: str = "") -> MyCard:
    """Make it inside the current column."""
    with gr.Row(elem_id=f"{before_ids}my-card", elem_classes="my-card"):
        card = gr.Textbox(
            label="My card has", info=info("card"), placeholder="empty: this machine",
            max_lines=1, max_length=LONGEST, min_width=120, scale=3, elem_id=f"{before_ids}card-size",
        )  # fmt: skip
        context = gr.Number(
            USUAL_CONTEXT, label="Context, tokens", info=info("context"), precision=0, min_width=110,
            scale=2, elem_id=f"{before_ids}card-context",
        )  # fmt: skip
    said = gr.HTML("", elem_id=f"{before_ids}card-said", elem_classes="card-said", apply_default_css=False)
    # What the visitor's browser remembers, as it was typed.
    kept = gr.BrowserState(["", USUAL_CONTEXT], storage_key=STORAGE_KEY, secret=SECRET)
    return MyCard(card, context, said, kept)


def changes(parts: MyCard) -> list[Any]:
    """The events after which a card or a context is meant."""
    return [parts.card.submit, parts.card.blur, parts.context.submit, parts.context.blur]


def room(typed: object, context: object) -> Room | None:
    """What was typed, checked; None where no card was named. Raises BadInput."""
    text = str(typed or "").strip()[:LONGEST]
    if not text:
        return None
    tokens = planning.check_context(as_int(context))
    return Room(card_of(text), tokens)


def placed(where: Placement, asked: Room | None) -> Placement:
    """Where the rows are planned: a card computes in its own type unless another one was chosen."""
    return where if asked is None else replace(where, compute_dtype=where.compute_dtype or card_rows.COMPUTE_DTYPE)


def remembered(value: object) -> tuple[str, Any, Room | None]:
    """What a browser kept, as it is shown and checked; whatever else it sends is forgotten."""
    typed, context = value if isinstance(value, list | tuple) and len(value) == 2 else ("", USUAL_CONTEXT)
    try:
        found = room(typed, context)
    except QuantlabError:
        found = None
    return ("", USUAL_CONTEXT, None) if found is None else (str(typed).strip()[:LONGEST], found.context, found)


def held(found: PrecisionList, model: str, where: Placement, app: AppSettings, services: Services) -> PrecisionList:
    """The list with what each row takes on the card that it is held against; as it is where there is none."""
    if found.room is None:
        return found
    asked = Asked(context=found.room.context, compute_dtype=_dtype(where))
    own = _held(found.own, model, asked, found.room.card, app, services)
    added = tuple(_added(row, model, asked, found.room.card, app, services) for row in found.added)
    return replace(found, own=own, added=added)


def _held(
    offered: tuple[Estimate, ...], model: str, asked: Asked, card: Card, app: AppSettings, services: Services
) -> tuple[Estimate, ...]:
    names = card_rows.planned_names(offered)
    try:
        plan = services.plan(model, replace(asked, precisions=names), (card,), app) if names else None
    except QuantlabError:  # it can be loaded, but is not planned: then nothing is said of the card
        plan = None
    return card_rows.on_card(offered, card, plan)


def _added(row: Row, model: str, asked: Asked, card: Card, app: AppSettings, services: Services) -> Row:
    """Of a published checkpoint its own model is planned, under the name that a plan has for it."""
    base, kv_cache = split(row.value)
    estimate = row.estimate
    if not is_published(base):
        return replace(row, estimate=_held((estimate,), model, asked, card, app, services)[0])
    published = read(base)
    if estimate.precision.method == STORED:
        other, name = SEPARATOR.join(filter(None, (published.name, published.pick))), STORED
    else:
        other, name = published.name, published.pick or STORED
    name += f"{MARK}{kv_cache}" if kv_cache else ""
    alias = replace(estimate, precision=replace(estimate.precision, name=name))
    (held_one,) = _held((alias,), other, asked, card, app, services)
    return replace(row, estimate=replace(held_one, precision=estimate.precision))


def _dtype(where: Placement) -> str:
    return where.compute_dtype or card_rows.COMPUTE_DTYPE


def said(found: PrecisionList, where: Placement) -> str:
    """What "fits" speaks of now; empty for this machine."""
    if found.room is None:
        return ""
    about = words.together(found.room.card.name, found.room.card.nbytes, found.room.context)
    return _HTML.said(f"{about} Computed in {_dtype(where)}.")


def wrong(problem: Problem, before: Room | None) -> str:
    """Why what was typed is no card or no context, and what "fits" speaks of until it is mended."""
    still = "this machine" if before is None else f"{before.card.name} and {before.context:,} tokens"
    return _HTML.wrong(problem, still)


def sums(estimate: Estimate) -> str:
    """What a row takes on the card, for those who point at it."""
    if estimate.needed_bytes is None or estimate.estimated_bytes is None:
        return f"what it takes on {estimate.card} is not known"
    beside = units.size(estimate.needed_bytes - estimate.estimated_bytes)
    return (
        f"needs {units.size(estimate.needed_bytes)}: weights {units.size(estimate.estimated_bytes)}, keys, values and "
        f"activations {beside}; {estimate.card} has {units.size(estimate.free_bytes)}"
    )
