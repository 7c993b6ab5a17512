"""What a recipe will lose and cost, interpolated between the trials under the same settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .base import History, Outcome, Recipe
from .front import FLOAT_COST
from .recipes import price

_GUESS = 4.0

Priced = Callable[[Recipe], float]


class Expectation:
    """The drop over the summed sensitivity of what is int8: piecewise linear through the trials, none at its float end.

    It is made monotone (its running maximum): a layer more in int8 is not expected to help. Without a trial all that
    may be int8 is guessed to lose four times the target.

    Args:
        sensitivity: Layer or glue type → what it costs in accuracy.
        known: Trials under the settings this is of.
    """

    def __init__(self, history: History, sensitivity: Mapping[str, float], known: Sequence[Outcome]) -> None:
        self._sensitivity = sensitivity
        told = [trial for trial in known if trial.state == "complete" and trial.drop is not None]
        curve = [(self._lost(trial.recipe), trial.drop or 0.0) for trial in told]
        curve = curve or [(sum(sensitivity.values()), _GUESS * history.target)]
        if min(lost for lost, _ in curve) > 0.0:
            curve.append((0.0, 0.0))
        self._curve = np.array(sorted(curve)).T
        self._curve[1] = np.maximum.accumulate(self._curve[1])

    def drop(self, recipe: Recipe) -> float:
        """The expected drop of a recipe under these settings."""
        return float(np.interp(self._lost(recipe), *self._curve))

    def _lost(self, recipe: Recipe) -> float:
        return math.fsum(value for name, value in self._sensitivity.items() if recipe[name] == "int8")


def priced(history: History) -> Priced:
    """Recipe → its expected cost, where costs are computed: linear between the trials in the summed shares in int8."""
    prices = {name: price(history.space, name) for name in history.space.free_layers}

    def saved(recipe: Recipe) -> float:
        return math.fsum(value for name, value in prices.items() if recipe[name] == "int8")

    known = [(saved(trial.recipe), trial.cost) for trial in history.trials if trial.cost is not None]
    known = known or [(sum(prices.values()), FLOAT_COST / 2)]
    if min(where for where, _ in known) > 0.0:
        known.append((0.0, FLOAT_COST))
    curve = np.array(sorted(known)).T
    return lambda recipe: float(np.interp(saved(recipe), *curve))
