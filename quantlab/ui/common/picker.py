"""The tick list of precisions: real checkboxes, each with its estimate and whether it fits, before anything loads."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from quantlab.records import Estimate, units
from quantlab.reporting.templates import Pieces
from quantlab.ui.common import card
from quantlab.ui.common.precision_list import Group, PrecisionList, Row, arranged
from quantlab.ui.compare.form import DEFAULT_TICKS

_HTML = Pieces("ui/common/picker.html")
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
        return _HTML.nothing()
    first, groups = arranged(offered)
    one = offered.rows[0].estimate
    room = f"{one.card} has {units.size(one.free_bytes)}" if one.card else f"free here: {units.size(one.free_bytes)}"
    return _HTML.picks(room, [_pick(row) for row in first], [_fold(group) for group in groups])


@dataclass(frozen=True)
class Pick:
    """One tick. `told`: the row says why it is `blocked`. `crowded`: what room there is, where it does not fit;
    `unsure`: why it is not known whether it does."""

    name: str
    value: str
    about: str
    why: str
    blocked: bool
    told: bool
    added: bool
    size: str = ""
    exact: str = ""
    crowded: str = ""
    unsure: str = ""


@dataclass(frozen=True)
class Fold:
    """A method. Its heading names what is `inside`, so that a known name is found without opening each."""

    title: str
    inside: str
    reason: str
    open: bool
    picks: tuple[Pick, ...]


def _fold(group: Group) -> Fold:
    inside = " · ".join(row.estimate.precision.name for row in group.rows)
    is_open = any(row.added and row.estimate.unavailable is None for row in group.rows)
    picks = tuple(_pick(row, bool(group.reason)) for row in group.rows)
    return Fold(group.title, inside, group.reason, is_open, picks)


def _pick(row: Row, reason_above: bool = False) -> Pick:
    """`reason_above`: why it cannot run stands in the heading of its group."""
    estimate, name = row.estimate, row.estimate.precision.name
    blocked = estimate.unavailable is not None
    unavailable = None if reason_above else estimate.unavailable
    told = estimate.precision.summary if unavailable is None else unavailable
    return Pick(
        name,
        row.value,
        about=_about(row, told),
        why=f"{name} {estimate.unavailable}" if blocked else told,
        blocked=blocked,
        told=blocked and not reason_above,
        added=row.added,
        **_memory(estimate),
    )


def _about(row: Row, told: str) -> str:
    """A checkpoint also says what was typed, which its name is only the end of."""
    return f"{row.value}: {told}" if row.added and row.value not in told else told


def _memory(estimate: Estimate) -> dict[str, str]:
    if estimate.unavailable is not None or estimate.estimated_bytes is None:
        return {}
    size = {"size": units.size(estimate.estimated_bytes), "exact": units.exact_bytes(estimate.estimated_bytes)}
    if estimate.card:
        about = card.sums(estimate)
        size |= {"exact": f"{size['exact']}; {about}"}
        if estimate.fits is None:
            return size | {"unsure": about}
        return size if estimate.fits else size | {"crowded": about}
    if estimate.fits:
        return size
    where = f"no room on {estimate.crowded}; all devices together have " if estimate.crowded else "free: "
    return size | {"crowded": where + units.size(estimate.free_bytes)}
