"""One column as HTML. Whatever comes from a model, a visitor or an error is escaped here."""

from html import escape

from quantlab.records import Candidate, Divergence, Load, Run
from quantlab.reporting.advice import one_prompt
from quantlab.reporting.text import visible
from quantlab.ui.compare import figures
from quantlab.ui.compare.diff import OURS, diff
from quantlab.ui.compare.figures import Figure
from quantlab.ui.compare.view import Column, View

#: Lines that a column keeps for its text from the start, by the tokens of a line: three beside each other are narrow.
_TOKENS_PER_LINE, _TOKENS_OF_NARROW, _MIN_LINES, _MAX_LINES = 13, 8, 4, 16


def render(column: Column, view: View, *, colour: str, new_tokens: int) -> str:
    """The card of one column: header, text, where it parts from the reference, figures. An error is a card too."""
    name = escape(column.precision)
    badge = '<span class="badge">reference</span>' if column.precision == view.reference else ""
    badge += '<span class="badge">text meaningless</span>' if view.meaningless else ""
    in_a_line = _TOKENS_PER_LINE if len(view.columns) < 3 else _TOKENS_OF_NARROW
    code = " is-code" if "```" in column.text else ""
    lines = min(_MAX_LINES, max(_MIN_LINES, -(-new_tokens // in_a_line)))
    # Once nothing streams any more, the places kept free for what did not come are given up.
    settled = " settled" if view.comparison is not None else ""
    body = _failed(column.run) if column.state == "failed" else _body(column, view, new_tokens)
    return (
        f'<article class="col col-{column.state}{settled}{code}" style="--tone:{escape(colour)};--lines:{lines}" '
        f'aria-label="{name}">'
        f'<header class="col-head"><h3>{name}</h3><span class="badges">{badge}</span>'
        f'<span class="col-state">{escape(_state(column, view))}</span>'
        f"{_progress(column)}</header>{body}</article>"
    )


def _body(column: Column, view: View, new_tokens: int) -> str:
    run = column.run
    cut = f'<span class="faint cut"> … stopped at {new_tokens} tokens</span>' if _is_cut(column, new_tokens) else ""
    return (
        f'<div class="answer">{_answer(column, view)}{cut}</div>'
        f'<section class="parting">{_verdict(column, view)}{_parting(column, view)}</section>'
        f'<section class="numbers">{_figures(run, column, view)}</section>'
    )


def _is_cut(column: Column, new_tokens: int) -> bool:
    """Whether an answer ended by the limit, and not by itself."""
    run = column.run
    return run is not None and column.state == "done" and len(_said(run)) >= new_tokens


def _verdict(column: Column, view: View) -> str:
    """The column in a line, before its details."""
    if column.run is None:
        return ""
    runs = tuple(one.run for one in view.columns if one.run is not None)
    floor = one_prompt.noise_floor(runs, view.reference)
    told = one_prompt.line(column.run, view.reference_run, None if view.meaningless else floor)
    return f'<p class="verdict">{escape(told)}</p>' if told else ""


def _state(column: Column, view: View) -> str:
    match column.state:
        case "waiting":
            before = view.active
            return f"waits for {before[0].precision}" if before else "waits for its turn"
        case "loading":
            return f"loading · {100 * _share(column):.0f} %" if column.total else "loading"
        case "warming":
            return "warming up"
        case "writing":
            return f"writing · {_count(column.tokens)}"
        case "timing":
            return f"timing again · {_count(column.tokens)}"
        case "done":
            return _count(column.tokens)
        case "stopped":
            return f"stopped · {_count(column.tokens)}"
        case _:
            return "failed"


def _share(column: Column) -> float:
    return min(max(column.done / column.total, 0.0), 1.0)


def _count(tokens: int) -> str:
    return f"{tokens} token{'' if tokens == 1 else 's'}"


def _progress(column: Column) -> str:
    """A bar of fixed height: it keeps its place when it has nothing to show."""
    if column.state != "loading":
        return '<div class="bar" aria-hidden="true"></div>'
    label = f'aria-label="loading {escape(column.precision)}" title="{escape(column.what)}"'
    if not column.total:
        return f'<div class="bar"><progress {label}></progress></div>'
    return f'<div class="bar"><progress {label} max="{column.total}" value="{column.done}"></progress></div>'


def _answer(column: Column, view: View) -> str:
    """The text so far; once both have ended, with what differs from the reference marked."""
    reference = view.reference_run
    if column.run is not None and reference is not None and column.precision != view.reference and column.run.tokens:
        return _marked(column.run, reference)
    if column.text:
        return escape(column.text)
    if column.state == "loading" and column.what:
        return f'<span class="faint">{escape(column.what)}</span>'
    return '<span class="faint">(no text)</span>' if column.state == "done" else ""


def _marked(run: Run, reference: Run) -> str:
    html = []
    for text, mark in diff(_said(run), _said(reference)):
        if mark is None:
            html.append(escape(text))
        elif mark == OURS:
            html.append(f'<ins title="only in this answer">{escape(text)}</ins>')
        else:
            # Folded to its mark unless the visitor wants to see the words; the title says them either way.
            said = escape(f"{reference.precision} says here: {text.strip()}")
            html.append(f'<del title="{said}"><span>{escape(text)}</span></del>')
    return "".join(html)


def _said(run: Run) -> tuple[str, ...]:
    """A run's tokens without the end-of-text token, which its text leaves out."""
    return run.tokens[:-1] if "".join(run.tokens[:-1]).strip() == run.text.strip() else run.tokens


def _parting(column: Column, view: View) -> str:
    """Where the answer first parts from the reference's, with the five likeliest tokens of both there."""
    if column.precision == view.reference:
        return '<p class="faint">The others are compared with this one.</p>'
    run, reference = column.run, escape(view.reference) or "the reference"
    if run is None:
        return '<p class="faint">The first difference will appear here.</p>'
    if view.reference_run is None:
        return '<p class="faint">There is no answer of the reference to compare with.</p>'
    if run.stopped and not run.tokens:
        return '<p class="faint">Stopped before it answered.</p>'
    where = run.first_divergence
    if where is None and (run.stopped or view.reference_run.stopped):
        return f'<p class="faint">The same as {reference} as far as both were written.</p>'
    if where is None:
        return f'<p class="same">Says the same as {reference}, token for token.</p>'
    return _divergence(where, run, reference)


def _divergence(where: Divergence, run: Run, reference: str) -> str:
    before = escape(_end_of("".join(run.tokens[: where.index]), 34))
    after = f' after “<span class="iso">{before}</span>”' if before else ""
    return (
        f'<p><b title="first_divergence; tokens are counted from 0">First differs from {reference} '
        f"at token {where.index}</b>{after}</p>"
        f'<div class="tops">{_top(run.precision, where.ours)}{_top(reference, where.reference, escaped=True)}</div>'
    )


def _end_of(text: str, length: int) -> str:
    """The last words of a text, in about `length` characters."""
    text = text.strip()
    if len(text) <= length:
        return text
    end = text[-length:]
    return "…" + (end.partition(" ")[2] or end)


def _top(name: str, candidates: tuple[Candidate, ...], *, escaped: bool = False) -> str:
    rows = "".join(
        f'<tr><td><code title="token {item.token_id}">{escape(visible(item.text))}</code></td>'
        f'<td class="num" title="{item.probability!r}" style="--p:{min(max(item.probability, 0), 1):.4f}">'
        f"{_percent(item.probability)}</td></tr>"
        for item in candidates
    )
    caption = name if escaped else escape(name)
    return (
        f'<table class="top"><caption>{caption} would say</caption><thead class="hush"><tr><th scope="col">token</th>'
        f'<th scope="col">probability</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _percent(probability: float) -> str:
    percent = 100 * probability
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.1f} %" if percent >= 0.095 else "< 0.1 %"


def _figures(run: Run | None, column: Column, view: View) -> str:
    more = figures.details(run, column.load)
    greedy = view.comparison is not None and not view.comparison.settings.sample
    remarks = figures.remarks(run, column.load, greedy)
    notes = "".join(f'<p class="note">{escape(text)}</p>' for text in remarks)
    # The line is there from the start, so that nothing moves when it gets its figures.
    later = '<p class="more-later">All figures</p>'
    folded = (
        f'<details class="more"><summary>All figures</summary>{_table(more)}{notes}{_stored(column.load)}</details>'
    )
    line = f'<p class="load-line">{escape(figures.load_line(column.load))}</p>'
    return line + _table(figures.headline(run, column.load, view.reference)) + (folded if run else later)


def _stored(load: Load | None) -> str:
    """What a checkpoint says of itself: file, revision, group size, tensor types."""
    if load is None or not load.details:
        return ""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in load.details.items())
    return f'<p class="stored-head">What is stored</p><dl class="stored">{rows}</dl>'


def _table(rows: tuple[Figure, ...]) -> str:
    body = "".join(
        f'<tr><th scope="row" title="{escape(row.term)}">{_name(row)}</th>'
        f'<td class="{"word" if row.text else "num"}" title="{escape(row.exact or row.term)}">'
        f"{escape(row.value)}</td></tr>"
        for row in rows
    )
    return f'<table class="figures"><tbody>{body}</tbody></table>'


def _name(row: Figure) -> str:
    """The figure's name, leading to its definition at the foot of the page."""
    name = escape(row.name)
    return f'<a class="define" href="#{row.anchor}">{name}</a>' if row.anchor else name


def _failed(run: Run | None) -> str:
    """The card of a variant that failed, in plain words."""
    what = escape((run.error if run else "") or "It could not run.")
    advice = f'<p class="advice">{escape(run.advice)}</p>' if run and run.advice else ""
    return (
        f'<div class="fault" role="alert"><p class="fault-what"><span aria-hidden="true">✕</span> {what}</p>{advice}'
        '<p class="faint">The other columns are not touched by this.</p></div>'
    )
