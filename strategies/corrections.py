"""Corrections of weights and biases: better rounding for the recipe as it is, chosen by label-free probes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .base import History, Outcome, Probe, Recipe
from .recipes import best_of, holds, int8_in
from .replay import WORTH, Procedure, closeness, score
from .scaling import scaled, turned
from .words import BIAS, BIASES, EMPIRICAL, ROUNDING, ROUNDINGS, UNCORRECTED, WEIGHT_RANGE, WEIGHT_RANGES, WEIGHTS

CORRECTIONS = {WEIGHT_RANGE: WEIGHT_RANGES[1], BIAS: BIASES[1], ROUNDING: ROUNDINGS[1]}
"""Parameter → what corrects, the cheapest first."""
_SHARE = 0.25


def correct(history: History, outcome: Outcome, others: Sequence[Outcome] = ()) -> Procedure[Outcome]:
    """Correct a recipe that misses the target, and score it: weights and biases (`mend`), then channels (`rescale`).

    Args:
        history: What is known.
        outcome: The recipe's own.
        others: Of other recipes that were scored and miss the target too.

    Returns:
        The best of the outcomes; the given one where it holds, or where nothing was on offer or of use.
    """
    mended = yield from mend(history, outcome, others)
    proposal = yield from rescale(history, mended)
    return mended if proposal is None else (yield from settle(history, proposal, mended))


def mend(history: History, outcome: Outcome, others: Sequence[Outcome] = ()) -> Procedure[Outcome]:
    """Correct weights and biases of a recipe that misses the target, and score it.

    Nothing is tried where a probe says that rounding the weights causes less than a quarter of the distance. Which
    settings are the best can change with corrections: of the given recipe and the others the one goes on that has the
    least distance with its biases corrected, or as it is. Each correction is probed alone on it; from the best one on,
    each other one is added that lowers the distance by 1 % or more, the best first. Only the combination is a trial:
    corrections cost no latency, but a pass over the calibration samples and, GPTQ, as much time as several
    evaluations. Where biases were corrected and the target is still missed, what they must take back is measured.

    Args and result as of `correct`.
    """
    if not _missed(history, outcome):
        return outcome
    best = yield from _combined(history, outcome.recipe, others)
    if best == outcome.recipe:
        return outcome
    return (yield from settle(history, best, outcome))


def rescale(history: History, mended: Outcome) -> Procedure[Recipe | None]:
    """The recipe with channels scaled, where mending was not enough and this lowers the distance; not yet scored.

    It is worked out from the uncorrected recipe: with the channels alike, other corrections of the weights, and another
    symmetry of the activations, are of use (equalized channels have larger errors of the mean, which bias correction
    takes back). Which calibrator matters less then, and each would take passes over the samples: it stays. A scaled
    tensor that an operator in float reads too takes a Mul, which is why this comes after what costs no latency.
    """
    if not _missed(history, mended):
        return None
    space = history.space
    plain = space.canonical(mended.recipe.replace(UNCORRECTED))
    start = yield from scaled(space, plain)
    if start == plain:
        return None
    best = yield from turned(space, (yield from _combined(history, start, ())))
    return best if (yield from _nearer(best, mended.recipe)) else None


def settle(history: History, recipe: Recipe, outcome: Outcome) -> Procedure[Outcome]:
    """Score a recipe, with its biases measured where that helps; the better of its outcome and the given one."""
    again = best_of(history, ((yield from score(recipe, "correct")), outcome))
    return (yield from measured(history, again))


def _missed(history: History, outcome: Outcome) -> bool:
    """Whether a recipe misses the target and there is something to correct in it."""
    on = int8_in(outcome.recipe)
    return not holds(history, outcome) and any(name in on for name in history.space.layers)


def _nearer(recipe: Recipe, other: Recipe) -> Procedure[bool]:
    """Whether a recipe's distance is below that of another one, by 1 % at least."""
    least: float = (yield from closeness(other, "correct")) * (1.0 - WORTH)
    return (yield from closeness(recipe, "correct")) < least


def _combined(history: History, start: Recipe, others: Sequence[Outcome]) -> Procedure[Recipe]:
    """The recipe, or one of the others, with all that lowers its distance; nothing is scored."""
    space = history.space
    left = [name for name, choice in CORRECTIONS.items() if choice in space.offered.get(name, ())]
    left = [name for name in left if start[name] != CORRECTIONS[name]]
    if not left:
        return start
    best, least = start, (yield from closeness(start, "correct"))
    if (yield Probe(WEIGHTS, start, "correct")) < _SHARE * least:
        return start
    if BIAS in left and others:
        reached = math.inf
        for base in dict.fromkeys((start, *(other.recipe for other in others))):
            plain = yield from closeness(base, "correct")
            biased = yield from closeness(space.canonical(base.replace({BIAS: CORRECTIONS[BIAS]})), "correct")
            if min(plain, biased) < reached:
                best, least, reached = base, plain, min(plain, biased)
    while left:
        tried = []
        for name in left:
            corrected = space.canonical(best.replace({name: CORRECTIONS[name]}))
            tried.append(((yield from closeness(corrected, "correct")), name, corrected))
        value, name, corrected = min(tried, key=lambda entry: entry[0])
        if not value < least * (1.0 - WORTH):
            break
        best, least = corrected, value
        left.remove(name)
    return best


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
    if not (yield from _nearer(changed, recipe)):
        return outcome
    return best_of(history, ((yield from score(changed, "correct")), outcome))
