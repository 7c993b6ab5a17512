"""Corrections of weights and biases: better rounding for the recipe as it is, chosen by label-free probes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .base import History, Outcome, Probe, Recipe, Space
from .recipes import drop_of, holds, int8_in
from .replay import Procedure, distance, score
from .words import (
    ACTIVATION_SYMMETRY,
    BIAS,
    BIASES,
    EMPIRICAL,
    EQUALIZATION,
    EQUALIZATIONS,
    ROUNDING,
    ROUNDINGS,
    SMOOTH,
    SMOOTHS,
    WEIGHT_RANGE,
    WEIGHT_RANGES,
    WEIGHTS,
)

CORRECTIONS = {WEIGHT_RANGE: WEIGHT_RANGES[1], BIAS: BIASES[1], ROUNDING: ROUNDINGS[1]}
"""Parameter → what corrects, the cheapest first."""
SCALINGS = ({SMOOTH: SMOOTHS[-1]}, {SMOOTH: SMOOTHS[-1], EQUALIZATION: EQUALIZATIONS[1]})
"""What makes channels alike before anything is rounded; together they can do what neither does alone."""
_WORTH = 0.01
_SHARE = 0.25


def correct(history: History, outcome: Outcome, others: Sequence[Outcome] = ()) -> Procedure[Outcome]:
    """Correct a recipe that misses the target, and score it.

    Channels are scaled first, where that lowers the distance. Then weights and biases are corrected, unless a probe
    says that rounding the weights causes less than a quarter of the distance. Which settings are the best can change
    with that: of the given recipe and the others the one goes on that has the least distance with its biases corrected,
    or as it is. Each correction is probed alone on it; from the best one on, each other one is added that lowers the
    distance by 1 % or more, the best first. Only the combination is a trial: corrections cost no latency (scaling now
    and then a Mul), but a pass over the calibration samples and, GPTQ, as much time as several evaluations. Where
    biases were corrected and the target is still missed, what they must take back is measured (`measured`).

    Args:
        history: What is known.
        outcome: The recipe's own.
        others: Of other recipes that were scored and miss the target too.

    Returns:
        The better of the two outcomes; the given one where it holds, or where nothing was on offer or of use.
    """
    space, recipe = history.space, outcome.recipe
    left = [name for name, choice in CORRECTIONS.items() if choice in space.offered.get(name, ())]
    left = [name for name in left if recipe[name] != CORRECTIONS[name]]
    if holds(history, outcome) or not any(name in int8_in(recipe) for name in space.layers):
        return outcome
    scalings = [found for found in SCALINGS if _adds(space, recipe, found)]
    if not left and not scalings:
        return outcome
    least: float = yield from distance(recipe, "correct")
    best, least = yield from _scaled(space, recipe, least, scalings)
    if left:
        of_weights: float = yield Probe(WEIGHTS, best, "correct")
        left = left if of_weights >= _SHARE * least else []
    scaling = {name: best[name] for name in (EQUALIZATION, SMOOTH) if name in best}
    if BIAS in left and others:
        reached = math.inf
        for one in dict.fromkeys((recipe, *(other.recipe for other in others))):
            base = space.canonical(one.replace(scaling))
            plain = yield from distance(base, "correct")
            biased = yield from distance(space.canonical(base.replace({BIAS: CORRECTIONS[BIAS]})), "correct")
            if min(plain, biased) < reached:
                best, least, reached = base, plain, min(plain, biased)
    while left:
        tried = []
        for name in left:
            corrected = space.canonical(best.replace({name: CORRECTIONS[name]}))
            tried.append(((yield from distance(corrected, "correct")), name, corrected))
        value, name, corrected = min(tried, key=lambda entry: entry[0])
        if not value < least * (1.0 - _WORTH):
            break
        best, least = corrected, value
        left.remove(name)
    if best == recipe:
        return outcome
    if any(best.get(name) != recipe.get(name) for name in (EQUALIZATION, SMOOTH)):
        best = yield from _turned(space, best, least)  # other channels had the say when it was chosen
    again = _better(history, (yield from score(best, "correct")), outcome)
    return (yield from measured(history, again))


def _adds(space: Space, recipe: Recipe, scaling: Mapping[str, str]) -> bool:
    """Whether a scaling is on offer and not the recipe's own."""
    offered = all(choice in space.offered.get(name, ()) for name, choice in scaling.items())
    return offered and any(recipe[name] != choice for name, choice in scaling.items())


def _scaled(
    space: Space, recipe: Recipe, least: float, scalings: Sequence[Mapping[str, str]]
) -> Procedure[tuple[Recipe, float]]:
    """The recipe with the channels scaled that lower its distance most, by 1 % at least, and that distance."""
    best = recipe
    for scaling in scalings:
        best, least = yield from _lower(space, recipe, scaling, best, least)
    return best, least


def _turned(space: Space, recipe: Recipe, least: float) -> Procedure[Recipe]:
    """The recipe, or with activations of another symmetry, whose distance is the least."""
    best = recipe
    for symmetry in space.offered[ACTIVATION_SYMMETRY]:
        if symmetry != recipe[ACTIVATION_SYMMETRY]:
            best, least = yield from _lower(space, recipe, {ACTIVATION_SYMMETRY: symmetry}, best, least)
    return best


def _lower(
    space: Space, recipe: Recipe, changes: Mapping[str, str], best: Recipe, least: float
) -> Procedure[tuple[Recipe, float]]:
    """The changed recipe and its distance, where that is 1 % below the least so far; else the best so far."""
    changed = space.canonical(recipe.replace(changes))
    found: float = yield from distance(changed, "correct")
    return (changed, found) if found < least * (1.0 - _WORTH) else (best, least)


def measured(history: History, outcome: Outcome) -> Procedure[Outcome]:
    """Measure what biases must take back, where correcting them helped and the target is still missed.

    It takes some samples of every recipe through the quantized graph, so it is not tried for less.

    Returns:
        The better of the two outcomes.
    """
    space, recipe = history.space, outcome.recipe
    if holds(history, outcome) or recipe.get(BIAS) != BIASES[1] or EMPIRICAL not in space.offered[BIAS]:
        return outcome
    changed = space.canonical(recipe.replace({BIAS: EMPIRICAL}))
    plain = yield from distance(recipe, "correct")
    if not (yield from distance(changed, "correct")) < plain * (1.0 - _WORTH):
        return outcome
    return _better(history, (yield from score(changed, "correct")), outcome)


def _better(history: History, one: Outcome, other: Outcome) -> Outcome:
    return min(one, other, key=lambda found: (not holds(history, found), found.state == "failed", drop_of(found)))
