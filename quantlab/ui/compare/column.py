"""One column as HTML: what it says is made here, its markup is in column.html."""

from dataclasses import dataclass

from quantlab.records import Candidate, Divergence, Run
from quantlab.reporting.advice import one_prompt
from quantlab.reporting.templates import Pieces
from quantlab.reporting.text import cut_at, holds_code, said, tokens, visible
from quantlab.ui.compare import figures
from quantlab.ui.compare.diff import OURS, THEIRS, diff
from quantlab.ui.compare.view import Column, View

_HTML, _PIECES = Pieces("ui/compare/column.html"), Pieces("ui/common/pieces.html")
#: Lines that a column keeps for its text from the start, by the tokens of a line: three beside each other are narrow.
_TOKENS_PER_LINE, _TOKENS_OF_NARROW, _MIN_LINES, _MAX_LINES = 13, 8, 4, 16


def render(column: Column, view: View, *, colour: str, new_tokens: int) -> str:
    """The card of one column: header, text, where it parts from the reference, figures. An error is a card too."""
    badges = [
        *(["reference"] if column.precision == view.reference else []),
        *(["text meaningless"] if view.meaningless else []),
    ]
    in_a_line = _TOKENS_PER_LINE if len(view.columns) < 3 else _TOKENS_OF_NARROW
    return _HTML.card(
        column,
        look=colour,
        badges=badges,
        told=_state(column, view),
        body=_failed(column.run) if column.state == "failed" else _body(column, view, new_tokens),
        lines=min(_MAX_LINES, max(_MIN_LINES, -(-new_tokens // in_a_line))),
        # Once nothing streams any more, the places kept free for what did not come are given up.
        settled=view.comparison is not None,
        is_code=holds_code(column.text),
    )


def _body(column: Column, view: View, new_tokens: int) -> str:
    return _HTML.body(
        answer=_answer(column, view),
        cut=_cut(column, view, new_tokens),
        verdict=_verdict(column, view),
        parting=_parting(column, view),
        figures=_figures(column.run, column, view),
    )


def _cut(column: Column, view: View, new_tokens: int) -> str:
    """The limit at which an answer ended, where it did not end by itself: that of the run, if it is another day's."""
    limit = new_tokens if view.comparison is None else view.comparison.settings.max_new_tokens
    cut = cut_at(column.run, limit) if column.run is not None and column.state == "done" else 0
    return tokens(cut) if cut else ""


def _verdict(column: Column, view: View) -> str:
    """The column in a line, before its details."""
    if column.run is None:
        return ""
    runs = tuple(one.run for one in view.columns if one.run is not None)
    floor = one_prompt.noise_floor(runs, view.reference)
    return one_prompt.line(column.run, view.reference_run, None if view.meaningless else floor)


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
            return f"writing · {tokens(column.tokens)}"
        case "timing":
            return f"timing again · {tokens(column.tokens)}"
        case "done":
            return tokens(column.tokens)
        case "stopped":
            return f"stopped · {tokens(column.tokens)}"
        case _:
            return "failed"


def _share(column: Column) -> float:
    return min(max(column.done / column.total, 0.0), 1.0)


def _answer(column: Column, view: View) -> str:
    """The text so far; once both have ended, with what differs from the reference marked."""
    reference = view.reference_run
    if column.run is not None and reference is not None and column.precision != view.reference and column.run.tokens:
        return marked(column.run, reference)
    if column.text:
        return column.text
    if column.state == "loading" and column.what:
        return _HTML.remark(column.what)
    return _HTML.remark("(no text)") if column.state == "done" else ""


def marked(run: Run, reference: Run) -> str:
    """An answer with what differs from the reference's marked."""
    pieces = [(text, mark == OURS, mark == THEIRS) for text, mark in diff(said(run), said(reference))]
    return _HTML.marked(pieces, reference.precision)


def _parting(column: Column, view: View) -> str:
    """Where the answer first parts from the reference's, with the five likeliest tokens of both there."""
    if column.precision == view.reference:
        return _PIECES.faint("The others are compared with this one.")
    run, reference = column.run, view.reference or "the reference"
    if run is None:
        return _PIECES.faint("The first difference will appear here.")
    if view.reference_run is None:
        return _PIECES.faint("There is no answer of the reference to compare with.")
    if run.stopped and not run.tokens:
        return _PIECES.faint("Stopped before it answered.")
    where = run.first_divergence
    if where is None and (run.stopped or view.reference_run.stopped):
        return _PIECES.faint(f"The same as {reference} as far as both were written.")
    return _HTML.same(reference) if where is None else divergence(where, run, reference)


def divergence(where: Divergence, run: Run, reference: str) -> str:
    """After which words two answers part, and the five likeliest tokens of both there."""
    before = _end_of("".join(run.tokens[: where.index]), 34)
    tops = [(run.precision, map(_likely, where.ours)), (reference, map(_likely, where.reference))]
    return _HTML.parts(where.index, before, tops, reference)


def _end_of(text: str, length: int) -> str:
    """The last words of a text, in about `length` characters."""
    text = text.strip()
    if len(text) <= length:
        return text
    end = text[-length:]
    return "…" + (end.partition(" ")[2] or end)


@dataclass(frozen=True)
class Likely:
    """One of the likeliest tokens. `exact` is shown on hover, `share` is as long as its bar, in [0, 1]."""

    token_id: int
    text: str
    percent: str
    exact: str
    share: str


def _likely(it: Candidate) -> Likely:
    share = f"{min(max(it.probability, 0), 1):.4f}"
    return Likely(it.token_id, visible(it.text), _percent(it.probability), repr(it.probability), share)


def _percent(probability: float) -> str:
    percent = 100 * probability
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.1f} %" if percent >= 0.095 else "< 0.1 %"


def _figures(run: Run | None, column: Column, view: View) -> str:
    greedy = view.comparison is not None and not view.comparison.settings.sample
    return _HTML.numbers(
        figures.load_line(column.load),
        figures.headline(run, column.load, view.reference),
        figures.details(run, column.load) if run else None,
        figures.remarks(run, column.load, greedy) if run else (),
        # What a checkpoint says of itself: file, revision, group size, tensor types.
        column.load.details if column.load else {},
    )


def _failed(run: Run | None) -> str:
    """The card of a variant that failed, in plain words."""
    return _HTML.failed((run.error if run else "") or "It could not run.", run.advice if run else "")
