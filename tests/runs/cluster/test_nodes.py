"""What a column takes of a node, and which node could hold it: no Ray is needed to decide that."""

from dataclasses import replace

import pytest

from quantlab import models
from quantlab.methods import precision, variant_of
from quantlab.records import Calibration, ResolvedPlacement
from quantlab.runs.cluster.nodes import Need, Node, holders, need_of, node_of, refused
from quantlab.runs.estimates import estimated_bytes
from quantlab.settings import app_settings

GB = 10**9
SMALL = Node("a", "10.0.0.1", 8, 0, 16 * GB, 0.0, 12 * GB)
LARGE = Node("b", "10.0.0.2", 8, 0, 64 * GB, 0.0, 60 * GB)
CARDS = Node("c", "10.0.0.3", 16, 4, 64 * GB, 3.0, 64 * GB, 24 * GB)


def a_variant(device: str, device_map=None, name: str = "fp32"):
    model = models.resolve("demo", app_settings())
    return variant_of(model, precision(name), ResolvedPlacement(device, "float32", device_map), Calibration())


def test_on_a_processor_it_takes_its_stored_bytes_of_memory():
    variant = a_variant("cpu")
    assert need_of(variant, [SMALL]) == Need(estimated_bytes(variant), 0, estimated_bytes(variant))


@pytest.mark.parametrize(
    ("device_map", "card_bytes", "cards"),
    [
        (None, 10**6, 1),
        ("auto", 24 * GB, 1),
        ("auto", 4_000_000, 3),  # 8.85 MB of which each card takes 3.2 MB
        ("auto", None, 1),
        ((("model.layers.0", "cuda:0"), ("", "cuda:1"), ("lm_head", "cpu")), 24 * GB, 2),
    ],
)
def test_on_cards_it_takes_as_many_as_hold_it(device_map, card_bytes, cards):
    need = need_of(a_variant("cuda", device_map), [replace(CARDS, card_bytes=card_bytes)])
    assert (need.cards, need.memory) == (cards, 0)


def test_those_that_could_hold_it_come_with_the_most_room_first():
    nodes = [SMALL, LARGE, CARDS]
    assert holders(Need(10 * GB, 0, 10 * GB), [SMALL, LARGE]) == [LARGE, SMALL]
    assert holders(Need(20 * GB, 0, 20 * GB), [SMALL, LARGE]) == [LARGE]
    assert holders(Need(20 * GB, 0, 20 * GB), [SMALL, LARGE], without="b") == []
    assert holders(Need(0, 2, 30 * GB), nodes) == [CARDS]
    assert holders(Need(0, 5, 30 * GB), nodes) == []
    assert holders(Need(0, 1, 30 * GB), nodes) == [], "one card of 24 GB cannot"


def test_the_refusal_says_what_is_free_where():
    told = str(refused("nf4", Need(0, 2, 90 * GB), [SMALL, CARDS]))
    assert "No node of the cluster can hold nf4: it takes 2 GPUs for 90" in told
    assert "10.0.0.1 has 12.0 GB of 16.0 GB and no GPU free" in told
    assert "10.0.0.3 has 64.0 GB of 64.0 GB and 3 of 4 GPUs free" in told


def test_a_node_is_read_from_what_ray_tells():
    told = {"NodeID": "x", "NodeManagerAddress": "10.0.0.9", "Resources": {"CPU": 4.0, "memory": 5e9, "GPU": 1.0}}
    assert node_of(told, {"memory": 2e9}) == Node("x", "10.0.0.9", 4, 1, 5 * GB, 0.0, 2 * GB)
    assert node_of(told | {"Resources": {}}, None) == Node("x", "10.0.0.9", 0, 0, 0)
