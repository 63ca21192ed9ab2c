"""The nodes of a cluster: what a variant takes of one, and which could hold it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from quantlab.errors import Unavailable
from quantlab.methods import method_of
from quantlab.records import Variant, units
from quantlab.runs import estimates

#: Of a card's memory so much is counted on for weights, as on one machine.
_SHARE = estimates.BUDGET_SHARE


@dataclass(frozen=True)
class Node:
    """A node as the cluster knows it. Memory is the share that its Ray gives to tasks; None: free ones are not told.

    `card_bytes` is the memory of one of its cards, where that was told (a resource `card_bytes`), else None.
    """

    id: str
    address: str
    cpus: float
    cards: float
    memory: int
    free_cards: float | None = None
    free_memory: int | None = None
    card_bytes: int | None = None

    @property
    def said(self) -> str:
        """What is free where, in words."""
        free = self.memory if self.free_memory is None else self.free_memory
        cards = self.cards if self.free_cards is None else self.free_cards
        with_cards = f" and {cards:.0f} of {self.cards:.0f} GPUs" if self.cards else " and no GPU"
        return f"{self.address} has {units.size(free)} of {units.size(self.memory)}{with_cards} free"


@dataclass(frozen=True)
class Need:
    """What a column takes of a node: bytes of its memory (none of it for what lies on cards), cards."""

    memory: int
    cards: int
    stored: int

    @property
    def said(self) -> str:
        cards = f"{self.cards} GPU{'' if self.cards == 1 else 's'} for " if self.cards else ""
        return f"{cards}{units.size(self.stored)}"


def need_of(variant: Variant, nodes: Sequence[Node]) -> Need:
    """By the estimate of its stored bytes. On cards it is as many as it takes; several only where it may spread."""
    stored, placement = estimates.estimated_bytes(variant), variant.placement
    if not placement.device.startswith("cuda"):
        return Need(stored, 0, stored)
    if isinstance(placement.device_map, tuple):
        return Need(0, max(1, len({where for _, where in placement.device_map if "cuda" in where})), stored)
    spreads = placement.device_map == "auto" and method_of(variant.precision).spreads
    sizes = [node.card_bytes for node in nodes if node.card_bytes]
    cards = ceil(stored / (_SHARE * max(sizes))) if sizes and spreads else 1
    return Need(0, max(1, cards), stored)


def holders(need: Need, nodes: Sequence[Node], without: str = "") -> list[Node]:
    """The nodes that could hold it when nothing else is on them, those with the most room first."""
    found = [node for node in nodes if node.memory >= need.memory and node.cards >= need.cards and node.id != without]
    if need.cards:
        room = need.stored / need.cards
        found = [node for node in found if not node.card_bytes or room <= _SHARE * node.card_bytes]
    return sorted(found, key=lambda node: (-(node.free_cards or 0), -(node.free_memory or 0), node.address))


def refused(column: str, need: Need, nodes: Sequence[Node]) -> Unavailable:
    """That no node can hold it, with what is free where."""
    where = "; ".join(node.said for node in nodes) or "it has no nodes"
    return Unavailable(
        f"No node of the cluster can hold {column}: it takes {need.said}, and {where}.",
        "Choose one with fewer bits, or add a larger node.",
    )


def node_of(told: Mapping, free: Mapping | None) -> Node:
    """A node from what Ray tells of it: resources and, where they are known, the free ones."""
    total = told.get("Resources", {})
    return Node(
        told["NodeID"],
        told.get("NodeManagerAddress", "?"),
        float(total.get("CPU", 0)),
        float(total.get("GPU", 0)),
        int(total.get("memory", 0)),
        None if free is None else float(free.get("GPU", 0)),
        None if free is None else int(free.get("memory", 0)),
        int(total["card_bytes"]) if total.get("card_bytes") else None,
    )
