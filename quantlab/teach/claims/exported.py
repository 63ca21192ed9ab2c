"""Verdicts as plain data for JSON."""

from typing import Any

from quantlab.export.codec import plain
from quantlab.records.claims import Claims


def claims_data(found: Claims) -> dict[str, Any]:
    """`quantlab.claims/1`: docs/export.md."""
    return {"schema": "quantlab.claims/1", **plain(found)}
