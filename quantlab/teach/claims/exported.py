"""Verdicts as plain data for JSON, and back."""

import json
from typing import Any

from quantlab.errors import BadInput
from quantlab.export import codec
from quantlab.records.claims import Claims, ClaimVerdict, Figure

SCHEMA = "quantlab.claims/1"


def claims_data(found: Claims) -> dict[str, Any]:
    """`quantlab.claims/1`: docs/claims.md."""
    return {"schema": SCHEMA, **codec.plain(found)}


def to_json(found: Claims) -> str:
    """JSON without NaN and Infinity, so that every reader takes it."""
    return json.dumps(claims_data(found), indent=1, ensure_ascii=False, allow_nan=False)


def read_json(content: str | bytes) -> Claims:
    """What `to_json` wrote. Raises BadInput naming the field that is not as it must be."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"This file is no JSON ({error}).", "Choose one that quantlab claims --json wrote.") from None
    held = codec.obj(data, "", ("schema", *codec.names(Claims)))
    if codec.member(held, "schema", str, "") != SCHEMA:
        raise codec.wrong("schema", f"{SCHEMA} is needed")
    verdicts = codec.member(held, "verdicts", tuple[Any, ...], "")
    read = tuple(_verdict(item, f"verdicts[{at}]") for at, item in enumerate(verdicts))
    return codec.members(Claims, held, "", verdicts=read)


def _verdict(data: Any, where: str) -> ClaimVerdict:
    held = codec.obj(data, where, codec.names(ClaimVerdict))
    figures = codec.member(held, "figures", tuple[Any, ...], where)
    read = tuple(_figure(item, f"{where}.figures[{at}]") for at, item in enumerate(figures))
    return codec.members(ClaimVerdict, held, where, figures=read)


def _figure(data: Any, where: str) -> Figure:
    """A figure's value is a whole number, another number or words, as its type in the JSON says.

    Whole ones may be below zero, as codes are; those of other exports are counts.
    """
    held = codec.obj(data, where, codec.names(Figure))
    value = held.get("value")
    if type(value) is not int:
        value = codec.member(held, "value", str if isinstance(value, str) else float, where)
    return codec.members(Figure, held, where, value=value)
