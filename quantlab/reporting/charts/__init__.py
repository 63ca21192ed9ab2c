"""Comparisons, quality runs and plans as charts and tables. Pure: records in, a plotly Figure or a `Table` out.

Every chart has a table twin with the same figures for those who cannot see it:

| chart | twin |
|---|---|
| `memory.figure` | `memory.table` |
| `latency.figure` | `latency.table` |
| `difference.figure` (heat map), `difference.summary` | `difference_table.table` |
| `difference.probabilities` | `difference_table.token_table` |
| `quality_map.figure` | `quality_map.table` |
| `kld_spread.figure` | `kld_spread.table`, with the other figures of fidelity and the perplexity |
| `confidence.figure` | `confidence.table` |
| `flips.figure`, of one task | `flips.table`, of all |
| `layers.figure`, of one precision | `layers.table` |
| `planned.figure` | `planned.table` |
| `sweep_front.figure` | `sweep_front.table` |
| `inside.figure` | `inside.table`; `inside.values` and `inside.methods` are tables of their own |
| `outliers.channels`, `outliers.losses` | `outliers.table` |

The first four take a Comparison, `planned` a Plan, `sweep_front` a Front, `inside` and `outliers` what lies inside a
matrix, the others a Quality; `token_table` and `layers` take the precision's name too.
`style` holds the colour and symbol of each precision; how tokens and names are shown is in `reporting.text`.
"""
