"""Where the names of points stand, so that they cover neither each other nor the points.

Greedy with repair: every label takes its cheapest place given the others, for a few rounds. Overlaps are counted at
several widths of the chart at once, as one figure is drawn on narrow and on wide pages.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Width and height in pixels of the frames that the labels must suit: a telephone's, a desktop's.
FRAMES = ((290.0, 300.0), (960.0, 300.0))
_HEIGHT, _PER_CHARACTER, _MARKER, _LINE = 14.0, 6.3, 13.0, 4.0
_ROUNDS = 6
# Costs: a square pixel of overlap, one that lies outside the frame, a pixel between the label and its point.
_OVERLAP, _OUTSIDE, _DISTANCE = 1.0, 3.0, 0.8

Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Place:
    """The centre of a label, in pixels right of and below its point. `leader`: far enough to need a line to it."""

    right: float
    down: float
    leader: bool


def places(points: Sequence[Point], names: Sequence[str], lines: Sequence[tuple[Point, Point]] = ()) -> list[Place]:
    """A place for each name. `points` are shares of the frame, from its left and from its top, in [0, 1].

    `lines` are level or upright ones that the labels should not cover either.
    """
    widths = [_PER_CHARACTER * len(name) + 2 for name in names]
    chosen = [next(_candidates(width)) for width in widths]
    fixed = [[_around(frame, point, point, _MARKER) for point in points]
             + [_around(frame, *line, _LINE) for line in lines] for frame in FRAMES]  # fmt: skip
    for _ in range(_ROUNDS):
        for own, width in enumerate(widths):
            taken = [
                [_label(frame, points[i], chosen[i], widths[i]) for i in range(len(points)) if i != own] + obstacles
                for frame, obstacles in zip(FRAMES, fixed, strict=True)
            ]
            costs = {place: _cost(points[own], place, width, taken) for place in _candidates(width)}
            chosen[own] = min(costs, key=costs.__getitem__)
    return chosen


def _candidates(width: float) -> Iterator[Place]:
    """Places for a label of that width, the most natural first."""
    beside = _MARKER / 2 + width / 2 + 1
    for down in (0.0, -10.0, 10.0):
        for right in (beside, -beside):
            yield Place(right, down, False)
    for down in (-15.0, 15.0):
        yield Place(0.0, down, False)
    for steps in range(-6, 7):
        for more in (14.0, 34.0, 60.0):
            for right in (beside + more, -beside - more):
                yield Place(right, 14.0 * steps, True)
        if abs(steps) > 1:
            yield Place(0.0, 14.0 * steps, True)


def _cost(point: Point, place: Place, width: float, taken: Sequence[Sequence[Box]]) -> float:
    gap = math.hypot(max(0.0, abs(place.right) - width / 2), max(0.0, abs(place.down) - _HEIGHT / 2))
    total = _DISTANCE * gap * len(FRAMES)
    for frame, others in zip(FRAMES, taken, strict=True):
        box = _label(frame, point, place, width)
        total += _OUTSIDE * (_area(box) - _common(box, (0.0, 0.0, *frame)))
        total += _OVERLAP * sum(_common(box, other) for other in others)
    return total


def _label(frame: Point, point: Point, place: Place, width: float) -> Box:
    x, y = point[0] * frame[0] + place.right, point[1] * frame[1] + place.down
    return (x - width / 2, y - _HEIGHT / 2, x + width / 2, y + _HEIGHT / 2)


def _around(frame: Point, one: Point, other: Point, thickness: float) -> Box:
    """The box around a point, or a level or upright line, of that thickness."""
    left, right = sorted((one[0] * frame[0], other[0] * frame[0]))
    top, bottom = sorted((one[1] * frame[1], other[1] * frame[1]))
    half = thickness / 2
    return (left - half, top - half, right + half, bottom + half)


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _common(one: Box, other: Box) -> float:
    """The area that two boxes share, in square pixels."""
    return _area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))
