"""The front of cost against drop: which trials are on it, how good it is, what a further point would add."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .base import History, Outcome

FLOAT_COST = 1.0
"""The float file's own cost: it is on every front, with no drop, and needs no trial."""


def front(history: History) -> tuple[Outcome, ...]:
    """The non-dominated complete trials, from the least drop to the least cost."""
    return front_of(history.trials)


def front_of(trials: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """The trials that no other one matches in drop at a lower cost, from the least drop to the least cost.

    A cost difference inside the noise is no difference: each point is cheaper beyond noise than those before it, and
    the first cheaper than the float file. So a point that is merely lucky with the clock does not join, and among
    equals the one of least drop stays.
    """
    known = [trial for trial in trials if trial.state == "complete" and trial.drop is not None]
    found: list[Outcome] = []
    for trial in sorted(known, key=lambda trial: (trial.drop, trial.cost, trial.number)):
        if cheaper(trial, found[-1] if found else None):
            found.append(trial)
    return tuple(found)


def cheaper(trial: Outcome, than: Outcome | None) -> bool:
    """Whether a cost is lower beyond the noise of both. `than` None: than the float file."""
    if trial.cost is None:
        return False
    if than is None or than.cost is None:
        return trial.cost * (1.0 + trial.cost_noise) < FLOAT_COST
    noise = math.hypot(trial.cost * trial.cost_noise, than.cost * than.cost_noise)
    return trial.cost + noise < than.cost


def loss(drop: float, target: float) -> float:
    """A drop on a scale from 0 (none) over ½ (the target) to 1 (everything): drop ÷ (drop + target).

    The bound of interest gets half of the axis and hopeless points crowd at its end, whatever they lose.
    """
    lost = max(0.0, drop)
    return lost / (lost + target)


def volume(points: Iterable[tuple[float, float]]) -> float:
    """Area between a front and the float file's cost, 0 … 1 (hypervolume, Zitzler & Thiele 1999).

    Args:
        points: (loss, cost) in any order; dominated ones add nothing.
    """
    area, cost, place = 0.0, FLOAT_COST, 0.0
    for lost, price in sorted(points):
        if price < cost:
            area += (FLOAT_COST - cost) * (lost - place)
            cost, place = price, lost
    return area + (FLOAT_COST - cost) * (1.0 - place)


def gain(point: tuple[float, float], points: Sequence[tuple[float, float]], before: float | None = None) -> float:
    """What one more (loss, cost) adds to a front's volume. `before`: that of `points`, if it is known."""
    return volume([*points, point]) - (volume(points) if before is None else before)
