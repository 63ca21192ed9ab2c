"""The table twins of the difference charts."""

from quantlab.measure import trust
from quantlab.measure.statistics import mean, percentile
from quantlab.records import Comparison, Run, units
from quantlab.reporting.charts.table import Table, absent, reason
from quantlab.reporting.text import visible

COLUMNS = ("precision", "mean KLD", "median KLD", "largest KLD", "same most likely token",
           "first different token", "note")  # fmt: skip
TOKEN_COLUMNS = ("token", "text", "probability", "probability by the reference", "same most likely token",
                 "rank under the reference", "KLD")  # fmt: skip


def table(comparison: Comparison) -> Table:
    """The twin of the heat map and of the summary: one row for each variant."""
    caption = (
        f"How far each precision lies from {comparison.reference} on the tokens of {comparison.reference}'s answer. "
        "Tokens are counted from 0."
    )
    return Table(COLUMNS, tuple(_row(comparison, run) for run in comparison.runs), caption)


def _row(comparison: Comparison, run: Run) -> tuple[str, ...]:
    if run.error is not None:
        return absent(run, len(COLUMNS), "")
    if run.precision == comparison.reference:
        return absent(run, len(COLUMNS), "the reference")
    if not run.differences:
        return absent(run, len(COLUMNS), "not compared")
    klds = [it.kld for it in run.differences]
    return (
        run.precision,
        units.nats(mean(klds)),
        units.nats(percentile(klds, 50)),
        units.nats(percentile(klds, 100)),
        units.percent(mean([it.same_top for it in run.differences])),
        "none" if run.first_divergence is None else f"token {run.first_divergence.index}",
        reason(run, trust.few(len(run.differences))),
    )


def token_table(comparison: Comparison, precision: str) -> Table:
    """The twin of the heat map's row and of the probability line of one variant: one row for each token.

    Raises KeyError where the comparison has no such precision.
    """
    run = comparison.run(precision)
    rows = tuple(
        (str(i), visible(it.token), units.percent(it.probability), units.percent(it.reference_probability),
         "yes" if it.same_top else "no", str(it.rank), units.nats(it.kld))
        for i, it in enumerate(run.differences)
    )  # fmt: skip
    about = f"{precision} on the tokens of {comparison.reference}'s answer, counted from 0."
    return Table(TOKEN_COLUMNS, rows, about if rows else f"{about} {reason(run, 'Not compared.')}")
