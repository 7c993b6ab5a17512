"""What int8 is worth per layer and what each border costs: a Bayesian linear model of the latency.

latency(recipe) = that of the float graph + Σ over int8 layers and glue types of what they gain or lose + Σ over the
borders between int8 and float of a conversion. The runtime's profiles of a float and of int8 candidates give the prior
means; every measured candidate corrects them (conjugate posterior: Bishop, Pattern Recognition and Machine Learning,
2006, §3.3). Kernel times add up only roughly: a neighbour's fusion, a layout change, a cache. So no effect is taken
from the profile alone, and what a decision rests on is timed.

The recipe of least predicted latency, of all 2^n, is a minimum cut (`cut.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .base import Border, Profile, Recipe, Space
from .cut import cheapest
from .words import LAYER

NOISE = 0.01
"""Standard deviation of a measured cost, relative, where the clock says nothing better."""
_DOUBT = 0.4
_ELEMENTS = 4000.0
"""What a conversion costs beside its elements, in elements: starting a kernel."""
_TINY = 1e-9

Term = tuple[str, str]
"""A border by its two ends; one end may be empty: always float."""


@dataclass(frozen=True)
class Prior:
    """What the profiles say, and what was measured.

    Attributes:
        mean: Of the effects, float64 [n].
        spread: Their standard deviations, float64 [n].
        rows: Which effects each measured recipe has, float64 [measured, n].
        costs: Measured cost less that of the float graph, float64 [measured].
        noise: Standard deviations of the measurements, float64 [measured].
    """

    mean: np.ndarray
    spread: np.ndarray
    rows: np.ndarray
    costs: np.ndarray
    noise: np.ndarray

    def drawn(self, gain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A draw from the posterior: one from the prior, moved by what it misses (Matheron's rule)."""
        effects = self.mean + self.spread * rng.standard_normal(len(self.mean))
        seen = self.rows @ effects + self.noise * rng.standard_normal(len(self.costs))
        moved: np.ndarray = effects + gain @ (self.costs - seen)
        return moved


@dataclass(frozen=True)
class TimeModel:
    """The posterior of all effects, in units of the float file's latency.

    Attributes:
        space: Of the recipes.
        ground: Cost with everything in float.
        variables: The layers and glue types (`layer/…`, `op/…`) that may be int8.
        borders: The borders with one of them at an end.
        mean: Posterior mean of the effects of both, float64 [n].
        prior: Their prior.
        gain: What the posterior makes of a residual of the measured costs, float64 [n, measured].
    """

    space: Space
    ground: float
    variables: tuple[str, ...]
    borders: tuple[Term, ...]
    mean: np.ndarray
    prior: Prior
    gain: np.ndarray

    def cost(self, recipe: Mapping[str, str]) -> float:
        """Predicted cost of a recipe."""
        return self.ground + float(_row(self.variables, self.borders, recipe) @ self.mean)

    def predicted(self, on: Collection[str]) -> float:
        """Predicted cost with just these variables in int8."""
        return self.cost(dict.fromkeys(on, "int8"))

    def faster(self, on: Collection[str], other: Collection[str], margin: float) -> float:
        """Probability that `other` in int8 costs less than `on` by more than a margin."""
        rows = [_row(self.variables, self.borders, dict.fromkeys(chosen, "int8")) for chosen in (on, other)]
        change = rows[1] - rows[0]
        spread = self.prior.spread**2 * change
        variance = float(change @ spread - (change @ self.gain) @ (self.prior.rows @ spread))
        deviation = math.sqrt(max(variance, 0.0) + NOISE**2)
        return 0.5 * math.erfc((float(change @ self.mean) + margin) / (deviation * math.sqrt(2.0)))

    @property
    def required(self) -> frozenset[str]:
        """The variables that can be nothing but int8."""
        return frozenset(name for name in self.variables if self.space.offered[name] == ("int8",))

    def fastest(
        self, penalty: Mapping[str, float] | None = None, draw: np.random.Generator | None = None
    ) -> frozenset[str]:
        """The variables in int8 for the least predicted cost + Σ penalty.

        Args:
            penalty: Variable → what its int8 form costs beside time (λ · sensitivity).
            draw: Take a draw from the posterior instead of its mean (Thompson 1933).
        """
        effects = self.mean if draw is None else self.prior.drawn(self.gain, draw)
        penalty = penalty or {}
        price = {name: effects[i] + penalty.get(name, 0.0) for i, name in enumerate(self.variables)}
        borders = []
        for term, weight in zip(self.borders, effects[len(self.variables) :], strict=True):
            one, other = term
            weight = max(0.0, float(weight))
            if one and other:
                borders.append((one, other, weight))
            else:  # its other end is float whatever is chosen
                price[one or other] += weight
        for name in self.variables:
            offered = self.space.offered[name]
            if "int8" not in offered:
                price[name] = float("inf")
            elif len(offered) == 1:
                price[name] = float("-inf")
        return cheapest(price, borders)


def fit(
    space: Space,
    floated: tuple[Recipe, Profile, float],
    integers: Iterable[tuple[Recipe, Profile, float]],
    measured: Mapping[Recipe, float],
) -> TimeModel:
    """The model of a study's recipes that share all but the precisions.

    Args:
        space: Of the recipes, with its borders.
        floated: The recipe with everything in float, its profile and cost.
        integers: Recipes with all layers, and with layers and glue, in int8, likewise.
        measured: Recipe → cost, all that was timed (theirs included).
    """
    variables = (*space.layers, *space.ops)
    weights = _borders(space.borders, variables)
    borders = tuple(weights)
    means = np.zeros(len(variables) + len(borders))
    place = {name: index for index, name in enumerate(variables)}
    sizes = np.array(list(weights.values()))
    recipe_of_ground, profile, ground = floated
    scale = ground / max(profile.total, _TINY)
    conversions = 0.0
    for recipe, other, cost in integers:
        theirs = cost / max(other.total, _TINY)
        for name in variables:
            if recipe[name] != "int8" or means[place[name]]:
                continue
            if name.startswith(LAYER):
                means[place[name]] = other.layers.get(name, 0.0) * theirs - profile.layers.get(name, 0.0) * scale
            else:
                kind = name.partition("/")[2]
                means[place[name]] = other.glue.get(kind, 0.0) * theirs - profile.glue.get(kind, 0.0) * scale
        row = _row(variables, borders, recipe)
        elements = float(row[len(variables) :] @ sizes)
        if elements and not conversions:
            # All that the kernels alone do not explain: conversions, and fusions that the borders prevent.
            conversions = max(0.0, cost - ground - float(row @ means)) / elements
    means[len(variables) :] = conversions * sizes
    ground -= float(_row(variables, borders, recipe_of_ground) @ means)  # what cannot be float is in it
    # Where the profile says nothing, an effect may still be as large as an even share of the whole.
    count = max(1, len(variables))
    typical = max(float(np.abs(means[: len(variables)]).sum()) / count, ground / count)
    spread = _DOUBT * np.abs(means)
    spread[: len(variables)] = np.hypot(spread[: len(variables)], _DOUBT * typical) + _TINY
    spread[len(variables) :] += _DOUBT * typical / 10
    rows = np.array([_row(variables, borders, recipe) for recipe in measured]).reshape(len(measured), len(means))
    costs = np.array(list(measured.values()))
    prior = Prior(means, spread, rows, costs - ground, NOISE * costs)
    total = (rows * spread**2) @ rows.T + np.diag(prior.noise**2)
    gain = np.linalg.solve(total, rows * spread**2).T if len(measured) else np.zeros((len(means), 0))
    return TimeModel(space, ground, variables, borders, means + gain @ (prior.costs - rows @ means), prior, gain)


def _borders(found: Iterable[Border], variables: tuple[str, ...]) -> dict[Term, float]:
    """Borders with a variable at an end → their size in elements, those with the same ends together."""
    known = frozenset(variables)
    sizes: dict[Term, float] = {}
    for border in found:
        ends = [end if end in known else "" for end in (border.writer, border.reader)]
        if ends[0] != ends[1]:
            term = (min(ends), max(ends))
            sizes[term] = sizes.get(term, 0.0) + border.elements + _ELEMENTS
    return sizes


def _row(variables: tuple[str, ...], borders: tuple[Term, ...], recipe: Mapping[str, str]) -> np.ndarray:
    """Which effects a recipe has, float64 [n]."""
    on = {name for name in variables if recipe.get(name) == "int8"}
    return np.array([float(name in on) for name in variables] + [float((a in on) != (b in on)) for a, b in borders])
