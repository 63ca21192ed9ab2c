"""Shades for the cells of heat maps that hold figures: from pale, nothing, to strong, everything.

Every shade is light enough for INK to stand at 4.5:1 or more (WCAG 2.2), because cells lie on light and on dark pages.
"""

INK = "#111111"
SHADES = ((0.0, "#f1f2f4"), (0.45, "#f8d9a7"), (0.75, "#f08a45"), (1.0, "#e2568f"))


def colour_scale() -> list[list]:
    """The shades as plotly takes them."""
    return [list(stop) for stop in SHADES]


def colour_bar(title: str, ticks: dict[float, str]) -> dict:
    """A colour bar under the chart, with `ticks` from places on the scale to their names.

    Not quite as long as the chart: plotly leaves out a name that reaches past the figure's edge.
    """
    return {
        "orientation": "h", "thickness": 10, "len": 0.92, "x": 0, "xanchor": "left", "y": 0, "yanchor": "bottom",
        "yref": "container", "ypad": 4, "xpad": 0, "outlinewidth": 0, "tickmode": "array", "tickvals": list(ticks),
        "ticktext": list(ticks.values()), "title": {"text": title, "side": "bottom"},
    }  # fmt: skip
