"""The tick list of precisions: real checkboxes, each with its estimate and whether it fits, before anything loads."""

from html import escape
from typing import Any

import gradio as gr

from quantlab.records import Estimate, units
from quantlab.ui.common.precision_list import Group, PrecisionList, Row, arranged
from quantlab.ui.compare.form import DEFAULT_TICKS

#: Keeps the component's value and the boxes in step both ways, greys the rest out when the columns are full, and opens
#: the group of a box that was ticked from outside. Which groups are open outlives new rows. New ticks may come before
#: the rows that they belong to, so a box that cannot be ticked is left alone.
_SCRIPT = """
const boxes = () => Array.from(element.querySelectorAll('input[type=checkbox]'));
const names = () => Array.isArray(props.value) ? props.value : [];
const limit = () => Number(props.limit) || 6;
const opened = new Map();
function show() {
    const ticked = new Set(names());
    const full = ticked.size >= limit();
    for (const box of boxes()) {
        const group = box.closest('details'), blocked = box.dataset.blocked === '1';
        const tick = ticked.has(box.name) && !blocked;
        if (group && tick && !box.checked) {
            group.open = true;
            opened.set(group.dataset.group, true);
        }
        box.checked = tick;
        box.disabled = blocked || (full && !tick);
    }
    for (const group of element.querySelectorAll('details')) {
        const inside = group.querySelectorAll('input:checked').length;
        group.querySelector('.group-ticked').textContent = inside ? inside + ' ticked' : '';
    }
    const count = element.querySelector('.pick-count');
    if (count) count.textContent = ticked.size + ' of at most ' + limit() + ' ticked';
}
function restore() {
    const ticked = new Set(names());
    for (const box of boxes()) box.checked = ticked.has(box.name) && box.dataset.blocked === '0';
    for (const group of element.querySelectorAll('details')) {
        const inside = group.querySelector('input:checked') !== null;
        const known = opened.has(group.dataset.group);
        group.open = known ? opened.get(group.dataset.group) : group.open || inside;
    }
    show();
}
element.addEventListener('change', event => {
    if (event.target.type !== 'checkbox') return;
    props.value = boxes().filter(box => box.checked).map(box => box.name);
    show();
});
element.addEventListener('click', event => {
    const summary = event.target.closest('summary');
    if (summary) opened.set(summary.parentElement.dataset.group, !summary.parentElement.open);
});
watch('rows', restore);
watch(['value', 'limit'], show);
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

    def postprocess(self, value: list[str] | tuple[str, ...] | None) -> list[str]:
        return list(value or ())


def picker(offered: PrecisionList, ticked: list[str], limit: int, elem_id: str = "precisions") -> PrecisionPicker:
    """The component, filled with the estimates for the first model."""
    return PrecisionPicker(
        value=list(ticked),
        label="Precisions",
        html_template="${rows}",
        js_on_load=_SCRIPT,
        apply_default_css=False,
        elem_id=elem_id,
        rows=rows(offered),
        limit=limit,
    )


def rows(offered: PrecisionList) -> str:
    """The tick list as HTML: one label a row, so that a click anywhere in it ticks; a fold for each method."""
    if not offered.rows:
        return '<p class="faint pick-none">Choose a model to see what it can run at.</p>'
    free = units.size(offered.rows[0].estimate.free_bytes)
    first, groups = arranged(offered)
    more = ""
    if groups:
        folds = "".join(map(_group, groups))
        more = f'<p class="pick-more faint">More, by method</p><div class="pick-groups">{folds}</div>'
    return (
        '<fieldset class="picks"><legend>Precisions</legend><span class="pick-count faint"></span>'
        '<div class="pick pick-head" aria-hidden="true"><span></span><span>name</span>'
        '<span class="pick-about">how weights are stored</span>'
        f'<span class="num" title="estimated stored_bytes; free here: {escape(free)}">est. memory</span>'
        f"<span>fits</span></div>{''.join(map(_row, first))}{more}</fieldset>"
    )


def _group(group: Group) -> str:
    """A fold. Its heading names what is inside, so that a known name is found without opening one after the other."""
    title = escape(group.title)
    inside = " · ".join(escape(row.estimate.precision.name) for row in group.rows)
    reason = f'<span class="group-reason">{escape(group.reason)}</span>' if group.reason else ""
    is_open = " open" if any(row.published and row.estimate.unavailable is None for row in group.rows) else ""
    boxes = "".join(_row(row, bool(reason)) for row in group.rows)
    return (
        f'<details class="pick-group{" pick-group-blocked" if group.reason else ""}" data-group="{title}"{is_open}>'
        f'<summary><span class="group-title">{title}</span><span class="group-names" title="{inside}">{inside}</span>'
        f'<span class="group-ticked"></span>{reason}</summary>'
        f'<div role="group" aria-label="{title}">{boxes}</div></details>'
    )


def _row(row: Row, reason_above: bool = False) -> str:
    """One tick. `reason_above`: why it cannot run stands in the heading of its group."""
    estimate = row.estimate
    blocked = estimate.unavailable is not None
    name, value = escape(estimate.precision.name), escape(row.value)
    box = (
        f'<input type="checkbox" name="{value}" data-spec="{value if row.published else ""}" '
        f'data-blocked="{int(blocked)}"{" disabled" if blocked else ""}>'
    )
    unavailable = None if reason_above else estimate.unavailable
    told = estimate.precision.summary if unavailable is None else unavailable
    about, why = (
        escape(_about(row, told)),
        escape(f"{estimate.precision.name} {estimate.unavailable}" if blocked else told),
    )
    kind = " pick-blocked" * blocked + " pick-told" * (blocked and not reason_above) + " pick-added" * row.published
    return (
        f'<label class="pick{kind}">{box}<span class="pick-name">{name}</span>'
        f'<span class="pick-about" title="{why}">{about}</span>{_memory(estimate)}</label>'
    )


def _about(row: Row, told: str) -> str:
    """A checkpoint also says what was typed, which its name is only the end of."""
    return f"{row.value}: {told}" if row.published and row.value not in told else told


def _memory(estimate: Estimate) -> str:
    if estimate.unavailable is not None or estimate.estimated_bytes is None:
        return '<span class="num">–</span><span>–</span>'
    exact, shown = units.exact_bytes(estimate.estimated_bytes), units.size(estimate.estimated_bytes)
    size = f'<span class="num" title="{exact}">{shown}</span>'
    if estimate.fits:
        return size + '<span class="fits">yes</span>'
    where = f"no room on {estimate.crowded}; all devices together have " if estimate.crowded else "free: "
    return size + f'<span class="fits-not" title="{escape(where + units.size(estimate.free_bytes))}">no</span>'
