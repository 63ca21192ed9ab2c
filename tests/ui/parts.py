"""The components of a page by their names: what a handler would fill shows as the keys of its updates."""

from types import SimpleNamespace

from quantlab.ui.compare.form import FIELDS


def parts() -> SimpleNamespace:
    """As much of `compare_tab.Parts` as the handlers of the tick list fill; each component is its own name."""
    inputs = {name: f"inputs.{name}" for name in FIELDS}
    return SimpleNamespace(
        inputs=SimpleNamespace(**inputs, listed=lambda: list(inputs.values())),
        my_card=SimpleNamespace(**{name: f"my_card.{name}" for name in ("card", "context", "said", "kept")}),
        adding=SimpleNamespace(spec="adding.spec", add="adding.add", said="adding.said"),
        **{name: name for name in ("offered", "about", "problem", "status", "link")},
        examples=(),
    )
