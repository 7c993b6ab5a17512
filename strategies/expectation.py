"""What a recipe of a sweep will lose and cost, interpolated between the trials of that sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .base import History, Outcome, Recipe, Space
from .front import FLOAT_COST
from .recipes import Settings, compose, glue_of, price, settings_of

_GUESS = 4.0

Key = tuple[tuple[tuple[str, str], ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Variant:
    """What all recipes of one sweep share.

    Attributes:
        glue: `op/…` parameters that are int8.
        worse: Its drop relative to the first variant's, by the probes, until it has a trial of its own.
    """

    settings: Settings
    glue: tuple[str, ...] = ()
    worse: float = 1.0

    def key(self, space: Space) -> Key:
        """What tells its recipes from those of other variants."""
        return key(space, compose(space, self.settings, glue=self.glue))


def key(space: Space, recipe: Recipe) -> Key:
    """Which variant a recipe is of: its settings and its glue."""
    return tuple(settings_of(recipe).items()), glue_of(space, recipe)


class Expectation:
    """Drop over summed sensitivity, and cost over summed price, of what is int8: piecewise linear through the trials.

    Both begin at the float end: no drop, the cost of the float file, or of the rewritten one where that was scored.
    The drop is made monotone (its running maximum): a layer more in int8 is not expected to help.
    """

    def __init__(
        self, history: History, variant: Variant, sensitivity: Mapping[str, float], known: Sequence[Outcome]
    ) -> None:
        self._sensitivity = {name: sensitivity.get(name, 0.0) for name in history.space.free_layers}
        self._price = {name: price(history.space, name) for name in history.space.free_layers}
        self.known = [trial for trial in known if trial.state == "complete" and trial.drop is not None]
        end = history.scored.get(compose(history.space, variant.settings, floats=history.space.free_layers))
        plain = end is None or end.cost is None
        drops = [(self._lost(trial.recipe), trial.drop or 0.0) for trial in self.known]
        costs = [(self._saved(trial.recipe), trial.cost or 0.0) for trial in self.known]
        if not drops:
            drops = [(sum(self._sensitivity.values()), _GUESS * history.target)]
            costs = [(sum(self._price.values()), FLOAT_COST / 2)]
        if min(lost for lost, _ in drops) > 0.0:
            drops.append((0.0, 0.0))
        if min(saved for saved, _ in costs) > 0.0:
            costs.append((0.0, FLOAT_COST if plain or end is None else end.cost or FLOAT_COST))
        self._drops = np.array(sorted(drops)).T
        self._costs = np.array(sorted(costs)).T
        self._drops[1] = np.maximum.accumulate(self._drops[1])

    def drop(self, recipe: Recipe) -> float:
        """The expected drop of a recipe of this variant."""
        return float(np.interp(self._lost(recipe), *self._drops))

    def cost(self, recipe: Recipe) -> float:
        """Its expected cost."""
        return float(np.interp(self._saved(recipe), *self._costs))

    def _lost(self, recipe: Recipe) -> float:
        return math.fsum(value for name, value in self._sensitivity.items() if recipe[name] == "int8")

    def _saved(self, recipe: Recipe) -> float:
        return math.fsum(value for name, value in self._price.items() if recipe[name] == "int8")
