"""The tick list of precisions: real checkboxes, each with its estimate and whether it fits, before anything loads."""

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from quantlab.charts import units
from quantlab.records import Offer
from quantlab.ui.choice import DEFAULT_TICKS, FIRST_SHOWN

#: Keeps the component's value and the boxes in step both ways, and greys the rest out when the columns are full.
_SCRIPT = """
const boxes = () => Array.from(element.querySelectorAll('input[type=checkbox]'));
const names = () => Array.isArray(props.value) ? props.value : [];
const limit = () => Number(props.limit) || 6;
function show() {
    const ticked = new Set(names());
    const full = ticked.size >= limit();
    for (const box of boxes()) {
        box.checked = ticked.has(box.name);
        box.disabled = box.dataset.blocked === '1' || (full && !box.checked);
    }
    const more = element.querySelector('.picks-more');
    if (more && more.querySelector('input:checked')) more.open = true;
    const count = element.querySelector('.pick-count');
    if (count) count.textContent = ticked.size + ' of at most ' + limit() + ' ticked';
}
element.addEventListener('change', event => {
    if (event.target.type !== 'checkbox') return;
    props.value = boxes().filter(box => box.checked).map(box => box.name);
    show();
});
watch(['value', 'rows', 'limit'], show);
show();
"""


class PrecisionPicker(gr.HTML):
    """Its value is the list of ticked names. The rows are HTML made here; the server trusts no name that comes back."""

    def api_info(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "string"}}

    def example_payload(self) -> Any:
        return list(DEFAULT_TICKS)

    def preprocess(self, payload: Any) -> list[str]:
        return [str(name) for name in payload] if isinstance(payload, list) else []

    def postprocess(self, value: Sequence[str] | None) -> list[str]:
        return list(value or ())


def picker(offers: Sequence[Offer], ticked: Sequence[str], limit: int) -> PrecisionPicker:
    """The component, filled with the offers for the first model."""
    return PrecisionPicker(
        value=list(ticked),
        label="Precisions",
        html_template="${rows}",
        js_on_load=_SCRIPT,
        apply_default_css=False,
        elem_id="precisions",
        rows=rows(offers),
        limit=limit,
    )


def default_ticks(offers: Sequence[Offer], wanted: Sequence[str], limit: int) -> list[str]:
    """Those of the wanted names that can run, in the order of the offers; the first that can where none does."""
    can = [offer.precision.name for offer in offers if offer.unavailable is None]
    return ([name for name in can if name in wanted] or can[:1])[:limit]


def rows(offers: Sequence[Offer]) -> str:
    """The tick list as HTML: one label a row, so that a click anywhere in it ticks."""
    if not offers:
        return '<p class="faint pick-none">Choose a model to see what it can run at.</p>'
    free = units.size(offers[0].free_bytes)
    shown = [offer for offer in offers if offer.precision.name in FIRST_SHOWN] or list(offers)
    folded = [offer for offer in offers if offer not in shown]
    body = "".join(map(_row, shown))
    if folded:
        rest = "".join(map(_row, folded))
        body += f'<details class="picks-more"><summary>{len(folded)} more precisions</summary>{rest}</details>'
    return (
        '<fieldset class="picks"><legend>Precisions</legend><span class="pick-count faint"></span>'
        '<div class="pick pick-head" aria-hidden="true"><span></span><span>name</span>'
        '<span class="pick-about">how weights are stored</span>'
        f'<span class="num" title="estimated stored_bytes; free here: {escape(free)}">est. memory</span>'
        f"<span>fits</span></div>{body}</fieldset>"
    )


def _row(offer: Offer) -> str:
    name = escape(offer.precision.name)
    blocked = offer.unavailable is not None
    box = f'<input type="checkbox" name="{name}" data-blocked="{int(blocked)}"{" disabled" if blocked else ""}>'
    about = escape(offer.unavailable if blocked else offer.precision.summary)
    return (
        f'<label class="pick{" pick-blocked" if blocked else ""}">{box}<span class="pick-name">{name}</span>'
        f'<span class="pick-about" title="{about}">{about}</span>{_memory(offer)}</label>'
    )


def _memory(offer: Offer) -> str:
    if offer.estimated_bytes is None:
        return '<span class="num">–</span><span>–</span>'
    exact, shown = units.exact_bytes(offer.estimated_bytes), units.size(offer.estimated_bytes)
    size = f'<span class="num" title="{exact}">{shown}</span>'
    if offer.unavailable is not None:
        return size + "<span>–</span>"
    if offer.fits:
        return size + '<span class="fits">yes</span>'
    return size + f'<span class="fits-not" title="free: {escape(units.size(offer.free_bytes))}">no</span>'
