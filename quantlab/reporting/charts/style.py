"""How every chart looks: one place on one colour scale for each precision, and one layout.

The scale runs from many bits to few: violet, blue, green, olive, orange, red, magenta. Its colours were searched so
that those ticked together by default stay apart by 0.09 and more in Oklab for normal sight, protanopia, deuteranopia
and tritanopia (Machado et al. 2009), those of six methods at 4 bits by 0.04, any two by 0.02, for normal sight any two
also by 9 in CIEDE2000, and each has a contrast of 3:1 or more on white, on #0b0f19 and on #27272a. Colour is never the
only cue: each precision has a symbol too.
"""

import hashlib
import itertools
import math
import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantlab.reporting.text import escaped, shortened

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Text must be read on white and on dark blocks. No grey reaches 4.5:1 on both; this one has 3.9 on white, 3.8 on
# #27272a and 4.9 on #0b0f19. TEXT_CSS gives full contrast where the page can set a style.
GREY = "#808080"
GRID = "rgba(128,128,128,0.22)"
CLEAR = "rgba(0,0,0,0)"

#: For a page's stylesheet: the text of charts takes the page's own colour, in either theme.
TEXT_CSS = (
    '.js-plotly-plot :is([class$="tick"], .cbaxis, .infolayer, .textpoint) text'
    " { fill: var(--body-text-color) !important; }"
)

_SCALE = {
    "fp32": ("#8166ff", "circle", "●"),
    "fp16": ("#7f83a2", "circle-open", "○"),
    "bf16": ("#029ddc", "square", "■"),
    "f16": ("#006fd9", "cross", "✚"),
    "int8": ("#0b825d", "triangle-up", "▲"),
    "int8-plain": ("#66955f", "triangle-up-open", "△"),
    "rtn-8": ("#7f9901", "square-open", "□"),
    "q8_0": ("#0a8395", "cross-open", "✛"),
    "gptq-8": ("#519a81", "triangle-left", "◀"),
    "ao-int8": ("#00a29f", "square-x-open", "⊠"),
    "ao-float8": ("#21a647", "circle-cross-open", "⊕"),
    "q6_k": ("#4f7d00", "x", "✖"),
    "q5_k_m": ("#a4903f", "x-open", "✕"),
    "nf4": ("#8f9875", "diamond", "◆"),
    "nf4-dq": ("#e07914", "diamond-open", "◇"),
    "fp4": ("#c04b1c", "triangle-down", "▼"),
    "fp4-dq": ("#ff576e", "triangle-down-open", "▽"),
    "q4_k_m": ("#ef6551", "star-diamond", "✦"),
    "q4_0": ("#c47965", "star-diamond-open", "✧"),
    "ao-int4": ("#9d6335", "circle-x-open", "⊗"),
    "gptq-4": ("#7e7148", "triangle-right", "▶"),
    "hqq-4": ("#bd8398", "triangle-ne", "◥"),
    "awq-4": ("#f10d3c", "pentagon", "⬟"),
    "rtn-4": ("#d8276d", "star", "★"),
    "q3_k_m": ("#ff49b8", "hourglass", "⧗"),
    "gptq-3": ("#6b6aac", "triangle-right-open", "▷"),
    "hqq-3": ("#995abb", "triangle-se", "◢"),
    "rtn-3": ("#cb74c6", "star-open", "☆"),
    "iq3_xxs": ("#997fb4", "hourglass-open", "⧖"),
    "q2_k": ("#6584e2", "bowtie", "⧓"),
    "gptq-2": ("#a55f89", "triangle-left-open", "◁"),
    "hqq-2": ("#cb29a9", "triangle-sw", "◣"),
    "rtn-2": ("#b00ef8", "hexagon", "⬢"),
    "iq2_xxs": ("#ef05f0", "bowtie-open", "⋈"),
    "hqq-1": ("#ba69ff", "triangle-nw", "◤"),
    "stored": ("#777275", "asterisk-open", "✱"),
}
_TICKED = ("fp32", "bf16", "int8", "nf4", "nf4-dq", "fp4")
# The places by which other names are put among these, from many bits to few.
_COLOURS = tuple(_SCALE[name][0] for name in (
    "fp32", "fp16", "bf16", "int8", "int8-plain", "rtn-8", "nf4", "nf4-dq", "fp4", "fp4-dq", "rtn-4", "rtn-3", "rtn-2",
))  # fmt: skip
_OTHER_SYMBOLS = (
    ("diamond-dot", "◈"), ("square-dot", "▣"), ("circle-dot", "◉"), ("hexagram", "✶"), ("hexagon-open", "⬡"),
    ("pentagon-open", "⬠"), ("square-cross-open", "⊞"), ("circle-open-dot", "◎"),
)  # fmt: skip
# Where a name tells its bits. In others a number may be anything: billions of weights, a version.
_BITS = re.compile(r"(?:i?q|[a-z]{0,2}fp|b?f|(?:ao-)?(?:u?int|float)|(?:rtn|gptq|awq|hqq|quanto)-)(\d{1,2})(?!\d)")
#: With keys and values in a type of their own: behind any name. Such columns stand beside the same one without it and
#: beside those ticked by default, so that they have colours apart from these, and from each other, by 0.048 and more in
#: Oklab for each kind of sight; searched as those above.
_KV = re.compile(r"(.+)\+kv-([^+]+)", re.DOTALL)
_KV_COLOURS = ("#b334d1", "#db2e92", "#b383ab", "#a365ba", "#e558dd", "#837096", "#df0756")
_KV_TYPES = ("int8", "int4", "int2", "q8_0", "q4_0", "f16", "q5_0", "q5_1", "q4_1", "f32")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
# log2 of the bits against the place on the scale, for precisions without a place of their own.
_ANCHORS = ((1.0, 12.0), (math.log2(3), 11.0), (2.0, 8.5), (3.0, 4.0), (4.0, 1.5), (5.0, 0.0))


@dataclass(frozen=True)
class Look:
    """Colour (#rrggbb), plotly marker symbol, the same symbol as a character, and the dash of lines."""

    colour: str
    symbol: str
    glyph: str
    dash: str


def look(precision: str) -> Look:
    """How a precision looks, by its name alone, so that it is the same in every chart, column and table.

    With keys and values in a type of their own (nf4+kv-int8) the base and the type give it. Another name without a
    place of its own gets one by the bits that it tells (gptq-4-g32), and else, as a published
    checkpoint's, by a hash.
    """
    if precision in _SCALE:
        colour, symbol, glyph = _SCALE[precision]
        return Look(colour, symbol, glyph, _DASHES[list(_SCALE).index(precision) % len(_DASHES)])
    if (kept := _KV.fullmatch(precision)) is not None:
        return _with_cache(kept[1], kept[2])
    digest = _digest(precision)
    fraction = digest[0] / 256
    number = _BITS.match(precision)
    # The hash moves names of equal bits apart, by at most a step and a half.
    place = _place(max(1, int(number[1]))) + 3 * (fraction - 0.5) if number else fraction * (len(_COLOURS) - 1)
    symbol, glyph = _OTHER_SYMBOLS[digest[1] % len(_OTHER_SYMBOLS)]
    return Look(_between(place), symbol, glyph, _DASHES[digest[2] % len(_DASHES)])


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


def _with_cache(base: str, kind: str) -> Look:
    """How a precision looks whose keys and values are kept in `kind`. Those ticked by default come first, so that no
    two of them meet in one colour at the same type."""
    order = list(dict.fromkeys((*_TICKED, *_SCALE)))
    first = order.index(base) if base in order else _digest(base)[0]
    second = _KV_TYPES.index(kind) if kind in _KV_TYPES else _digest(kind)[0]
    symbol, glyph = _OTHER_SYMBOLS[(first + 3 * second) % len(_OTHER_SYMBOLS)]
    colour = _KV_COLOURS[(first + 3 * second) % len(_KV_COLOURS)]
    return Look(colour, symbol, glyph, _DASHES[(first + second) % len(_DASHES)])


def colour(precision: str) -> str:
    """The colour of a precision as #rrggbb."""
    return look(precision).colour


def _place(bits: int) -> float:
    x = min(max(math.log2(bits), _ANCHORS[0][0]), _ANCHORS[-1][0])
    for (x0, y0), (x1, y1) in itertools.pairwise(_ANCHORS):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return _ANCHORS[-1][1]


def _between(place: float) -> str:
    """The colour at a place of the scale. Mixed in linear light: luminance stays between that of its neighbours."""
    place = min(max(place, 0.0), len(_COLOURS) - 1.0)
    low = min(int(place), len(_COLOURS) - 2)
    pairs = zip(linear(_COLOURS[low]), linear(_COLOURS[low + 1]), strict=True)
    mixed = [a + (b - a) * (place - low) for a, b in pairs]
    encoded = [12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in mixed]
    return "#" + "".join(f"{round(255 * c):02x}" for c in encoded)


def linear(colour: str) -> tuple[float, float, float]:
    """#rrggbb in linear light, each in [0, 1] (sRGB, IEC 61966-2-1)."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return red, green, blue


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours #rrggbb, from 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def label(precision: str, second_line: str = "") -> str:
    """Name of a row for plotly: symbol in the precision's colour, name, and a figure beneath."""
    seen = look(precision)
    name = f'<span style="color:{seen.colour}">{seen.glyph}</span> {escaped(shortened(precision, 14))}'
    return f"{name}<br>{escaped(second_line)}" if second_line else name


def axis(**more: object) -> dict:
    """An axis in the common look."""
    return {"gridcolor": GRID, "zeroline": False, "automargin": True, "fixedrange": True, "title_standoff": 8, **more}


def rows_axis(precisions: list[str], labels: list[str], fixed: bool = False) -> dict:
    """The vertical axis with one row for each precision, the first on top; `fixed` also where a row has no data."""
    extent = {"range": [len(precisions) - 0.5, -0.5], "autorange": False} if fixed else {"autorange": "reversed"}
    return axis(type="category", categoryorder="array", categoryarray=precisions, tickmode="array", ticks="",
                tickvals=precisions, ticktext=labels, ticklabelstandoff=6, showgrid=False, **extent)  # fmt: skip


def legend_height(entries: int) -> int:
    """Pixels that a legend takes where a chart is narrowest: on a phone two entries stand in a line."""
    return 19 * math.ceil(entries / 2)


NARROW = 26


def laid_out(figure: "go.Figure", height: int, note: str = "", wide: int = 40) -> "go.Figure":
    """`figure` in the common layout, `height` pixels high and as wide as its place, with `note` under the chart.

    `wide` are the characters of the note's lines: beside long names of rows a phone has room for `NARROW`.
    """
    lines = textwrap.wrap(note, wide)
    figure.update_layout(
        template="none", paper_bgcolor=CLEAR, plot_bgcolor=CLEAR, autosize=True, height=height + 16 * len(lines),
        font={"color": GREY, "size": 12}, margin={"l": 8, "r": 16, "t": 32, "b": 44 + 16 * len(lines)},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "bgcolor": CLEAR,
                "entrywidthmode": "pixels", "entrywidth": 0, "font": {"size": 11}, "traceorder": "normal",
                "itemclick": False, "itemdoubleclick": False},
        hoverlabel={"bgcolor": "#1f2937", "bordercolor": GREY, "font": {"color": "#ffffff"}, "align": "left"},
        dragmode=False, hovermode="closest",
    )  # fmt: skip
    if lines:
        figure.add_annotation(
            text="<br>".join(map(escaped, lines)), name="note", showarrow=False, align="left",
            xref="paper", x=0, xanchor="left", yref="paper", y=0, yanchor="top", yshift=-30,
        )  # fmt: skip
    return figure


def empty(message: str) -> "go.Figure":
    """A figure without data that says why, and what to do."""
    import plotly.graph_objects as go  # here alone, so that a colour is had without plotly

    figure = laid_out(go.Figure(), 150)
    text = "<br>".join(map(escaped, textwrap.wrap(message, 40)))
    figure.add_annotation(text=text, name="empty", showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    return figure.update_layout(xaxis={"visible": False}, yaxis={"visible": False}, margin={"b": 12})
