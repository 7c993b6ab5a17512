"""Layers' own calibrators: another range for what the most sensitive layers read, chosen by label-free probes."""

from __future__ import annotations

import math

from .base import History, Outcome, Recipe
from .recipes import best_of, holds, settings_of
from .replay import WORTH, Procedure, distance, score
from .sensitivity import sensitivities
from .words import CALIBRATOR_OF, LAYER

LAYERS = 12
"""Layers that are tried. Each takes a probe for every other calibrator, and most of the error stems from a few."""


def recalibrate(history: History, outcome: Outcome, layers: int = LAYERS) -> Procedure[Outcome]:
    """Give the most sensitive layers of a recipe that misses the target calibrators of their own, and score it.

    Layer by layer, the most sensitive first, each other calibrator is probed on the recipe as it then stands, and
    what lowers the distance most (by 1 % or more) is kept. Only the combination is a trial. A layer that reads what
    another one has already decided shows no difference and inherits.

    Args:
        history: What is known.
        outcome: The recipe's own, by any settings.
        layers: How many are tried.

    Returns:
        The better of the two outcomes; the given one where it holds, or where nothing was on offer or of use.
    """
    space = history.space
    names = {LAYER + name[len(CALIBRATOR_OF) :]: name for name in space.calibrators}
    if not names or holds(history, outcome):
        return outcome
    sensitivity = yield from sensitivities(history, settings_of(outcome.recipe))
    ranked = sorted(
        (name for name in space.layers if name in names and outcome.recipe[name] == "int8"),
        key=lambda name: -sensitivity.get(name, 0.0),
    )
    best = outcome.recipe
    least = yield from distance(best, "calibrate")
    for name in ranked[:layers]:
        tried: list[tuple[float, int, Recipe]] = []
        for place, calibrator in enumerate(space.offered[names[name]]):
            recipe = space.canonical(best.replace({names[name]: calibrator}))
            if recipe != best:
                tried.append(((yield from distance(recipe, "calibrate")), place, recipe))
        value, _, recipe = min(tried, key=lambda entry: entry[:2], default=(math.inf, 0, best))
        if value < least * (1.0 - WORTH):
            best, least = recipe, value
    if best == outcome.recipe:
        return outcome
    again = yield from score(best, "calibrate")
    return best_of(history, (again, outcome))
