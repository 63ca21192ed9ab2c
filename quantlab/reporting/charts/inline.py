"""A chart inside an HTML page of its own: plotly.js as text, and a figure as JSON that fits into a script element."""

import plotly.graph_objects as go


def library() -> str:
    """The source of plotly.js, some 4.8 MB."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def figure_json(figure: go.Figure) -> str:
    """`figure` as JSON in which nothing ends a script element: a browser looks for `</script>` before it reads JSON.

    Any text can be in it: the other engine refuses half of a surrogate pair.
    """
    return figure.to_json(engine="json").translate(_ESCAPES)


_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
