"""Names of points: near their own, off the others, within the frame."""

import random

import pytest

from quantlab.reporting.charts.placing import FRAMES, places


def boxes(points, names, frame):
    found = places(points, names)
    for (x, y), name, place in zip(points, names, found, strict=True):
        middle, half = (x * frame[0] + place.right, y * frame[1] + place.down), 3.1 * len(name)
        yield middle[0] - half, middle[1] - 6, middle[0] + half, middle[1] + 6


def covered(one, other) -> bool:
    return min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(one[1], other[1])


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("seed", range(4))
def test_thirteen_names_cover_none_another(frame, seed: int):
    draw = random.Random(seed)
    points = [(draw.uniform(0.1, 0.9), draw.uniform(0.1, 0.9)) for _ in range(13)]
    found = list(boxes(points, ["q4_k_m"] * 13, frame))
    assert not [(i, j) for i in range(13) for j in range(i) if covered(found[i], found[j])]


def test_a_crowd_on_one_spot_is_still_readable():
    points = [(0.3 + 0.01 * i, 0.4 + 0.015 * i) for i in range(6)]
    found = list(boxes(points, ["gptq-4"] * 6, FRAMES[0]))
    assert not [(i, j) for i in range(6) for j in range(i) if covered(found[i], found[j])]
    assert all(left >= 0 and top >= 0 and right <= FRAMES[0][0] and bottom <= FRAMES[0][1]
               for left, top, right, bottom in found)  # fmt: skip


def test_a_point_alone_has_its_name_beside_it():
    (place,) = places([(0.5, 0.5)], ["nf4"])
    assert place.down == 0 and place.right > 0 and not place.leader
    (edge,) = places([(0.98, 0.5)], ["nf4"])
    assert edge.right < 0


def test_names_keep_off_lines():
    level = [((0.0, 0.5), (1.0, 0.5))]
    (place,) = places([(0.5, 0.5)], ["nf4"], level)
    assert abs(place.down) >= 7
    assert places([], []) == []
