"""Comparisons as charts and tables. Pure: records in, a plotly Figure or a `Table` out.

Every chart has a table twin with the same figures for those who cannot see it:

| chart | twin |
|---|---|
| `memory.figure` | `memory.table` |
| `latency.figure` | `latency.table` |
| `difference.figure` (heat map), `difference.summary` | `difference.table` |
| `difference.probabilities` | `difference.token_table` |

All take a Comparison; `token_table` takes the precision's name too. `style` holds the colour and symbol of each
precision, `units` the formatting of numbers, `text` how a token is shown; these three import no plotly.
"""
