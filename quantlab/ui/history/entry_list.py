"""The list of what is kept: a table whose rows open an entry, and how a moment and an entry are told in a line."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import gradio as gr

from quantlab.history import Entry
from quantlab.history.entries import Kind
from quantlab.reporting.templates import Pieces

_HTML = Pieces("ui/history/entry_list.html")
#: The name of an open entry in the address, and what is read of it: -1 is no number that an entry has.
#: A click anywhere in a row opens it; the button in it is for the keyboard. The opened one stays marked in new rows.
#: The address follows what is open, and what is open the address: at the start, and when a visitor goes back.
_SCRIPT = """
const asked = () => {
    const named = new URLSearchParams(location.search).get('entry');
    return named === null ? null : /^[1-9][0-9]{0,8}$/.test(named) ? Number(named) : -1;
};
// Gradio hands over nothing as an empty text.
const shown = () => Number(props.value) || null;
let opened = null;
function follow() {
    const value = shown();
    if (value !== asked() && (value !== null || asked() === opened)) {
        const query = new URLSearchParams(value === null ? {} : {entry: value});
        const theme = new URLSearchParams(location.search).get('__theme');
        if (theme) query.set('__theme', theme);
        const how = value === null ? 'replaceState' : 'pushState';
        history[how](null, '', location.pathname + (`${query}` && `?${query}`));
    }
    opened = value;
}
function obey() {
    if (asked() === shown()) return;
    props.value = opened = asked();
    show();
    trigger('input');
}
function show() {
    for (const row of element.querySelectorAll('tr[data-entry]')) {
        const opened = Number(row.dataset.entry) === shown();
        row.classList.toggle('kept-opened', opened);
        const button = row.querySelector('button');
        if (opened) button.setAttribute('aria-current', 'true'); else button.removeAttribute('aria-current');
    }
}
element.addEventListener('click', event => {
    const row = event.target.closest('tr[data-entry]');
    if (!row) return;
    props.value = Number(row.dataset.entry);
    follow();
    show();
    trigger('input');
});
watch(['value', 'rows'], show);
watch('value', follow);
window.addEventListener('popstate', obey);
show();
obey();
"""
_MARKS = {"done": "✓", "stopped": "■", "interrupted": "!", "running": "…"}
_TOLD = {
    "done": "ran to its end",
    "stopped": "stopped by a visitor before its end",
    "interrupted": "ended early, with the process or an error",
    "running": "is being worked on now",
}
KINDS: dict[Kind, str] = {"comparison": "comparison", "quality": "quality"}


class EntryList(gr.HTML):
    """Its value is the id of the entry that is open, or None. The rows are HTML made here."""

    def api_info(self) -> dict[str, Any]:
        return {"type": "integer"}

    def example_payload(self) -> Any:
        return 1

    def example_value(self) -> Any:
        return 1

    def preprocess(self, payload: Any) -> int | None:
        return payload if isinstance(payload, int) and not isinstance(payload, bool) else None

    def postprocess(self, value: int | None) -> int | None:
        return value


def entry_list() -> EntryList:
    """The component, with nothing in it yet."""
    return EntryList(
        value=None, html_template="${rows}", js_on_load=_SCRIPT, apply_default_css=False, elem_id="kept-list", rows=""
    )


def rows(entries: Sequence[Entry], *, searched: bool, more: bool) -> str:
    """The table. `searched`: something was looked for; `more`: there are others that are not shown."""
    if not entries:
        return _HTML.nothing_found() if searched else _HTML.nothing_yet()
    count = f"The newest {len(entries)}. Search for older ones." if more else f"{len(entries)} in all."
    listed = [(it, moment(it.started), KINDS[it.kind], ", ".join(it.precisions), state(it)) for it in entries]
    return _HTML.table(listed, count if more or len(entries) > 1 else "")


def state(entry: Entry) -> str:
    """The state as a badge: a sign and a word."""
    finished, all_of = len(entry.finished), len(entry.precisions)
    count = f" {finished} of {all_of}" if finished < all_of else ""
    told = ", ".join((f"{entry.state}{count}", *entry.remarks))
    return _HTML.state(entry.state, _TOLD[entry.state], _MARKS[entry.state], told)


def label(entry: Entry) -> str:
    """An entry in one line, for a choice among many."""
    title = entry.title if len(entry.title) <= 48 else f"{entry.title[:47]}…"
    return f"#{entry.id} · {moment(entry.started)} · {KINDS[entry.kind]} · {entry.model} · {title}"


def moment(when: datetime) -> str:
    """Date and time where the server is."""
    return f"{when.astimezone():%Y-%m-%d %H:%M}"
