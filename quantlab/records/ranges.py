"""Types of figures that can only lie in a range: readers of exported files hold them to it."""

from typing import Annotated

from annotated_types import Interval

#: Times, rates, divergences, errors: none is below zero, and the sum of a million of them is still a number.
Amount = Annotated[float, Interval(ge=0, le=1e300)]
Share = Annotated[float, Interval(ge=0, le=1)]
PercentPoints = Annotated[float, Interval(ge=-100, le=100)]
Cosine = Annotated[float, Interval(ge=-1, le=1)]
