"""AIMET's automatic mixed precision (aimet_common/amp/mixed_precision_algo.py: `GreedyMixedPrecisionAlgo`)."""

from __future__ import annotations

import math

from ..base import Action, History, Outcome, Recipe
from ..recipes import Settings, holds
from ..replay import Procedure, distance, score
from ..words import LAYER
from .units import fallen, plain, settled, units


class Aimet:
    """Phase 1: each unit's sensitivity, quantized alone. Phase 2: binary search on the list they make.

    As in the source: the model of the lowest candidate (all int8) is scored and ends it where it holds. Phase 1
    quantizes each unit by itself, all others in float, and sorts them into the accuracy list: the least sensitive
    first, then the larger saving of bit operations, then graph order. Point i of the Pareto list has the first i
    units of it in int8 and the rest in the high candidate. Phase 2 is a binary search (the default search) on the
    list, taken as monotone, with the real metric: both ends first, then the middle, until two neighbours are left.
    There are no rewrites, latency does not count; the calibrator is `mse`, which is what `tf_enhanced`, the default
    there, minimises.

    Where it differs: phase 1 here takes the label-free `distance` probe. The source leaves the choice of that
    measure to its user and offers the metric and the signal-to-noise ratio of the outputs
    (`EvalCallbackFactory.sqnr`, advised for speed); our distance is the inverse of the latter and ranks as it
    does. The high candidate is the target's float precision (fp16 where offered), whose drop is zero here by
    definition, so that it needs no evaluation. Units are layers (or groups that share a weight) and types of glue,
    not quantizer groups. The optional phase 3 (fewer conversions) is left out. The first point of the source's list
    is returned even if it does not hold, as the high candidate; here that is the end without a result.
    """

    name = "aimet-amp"

    def next(self, history: History) -> Action:
        """The next action."""
        return settled(
            _amp(history),
            history,
            "the binary search on the accuracy list is done",
            "not even the least sensitive layer holds the target by itself",
        )


def _amp(history: History) -> Procedure[Outcome | None]:
    space = history.space
    settings = plain(space, calibrator="mse")
    lowest = yield from score(fallen(space, settings, ()), "phase 1")
    if holds(history, lowest):
        return lowest
    listed = yield from accuracy_list(history, settings)
    # The first layer of the list, with the glue before it, is the least that is a result at all.
    first = next((place for place, name in enumerate(listed) if name.startswith(LAYER)), len(listed))
    low, high = first + 1, len(listed)  # numbers of units in int8: `high` does not hold
    if low >= high:
        return None
    found = yield from score(_point(history, settings, listed, low), "phase 2")
    if not holds(history, found):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        outcome = yield from score(_point(history, settings, listed, middle), "phase 2")
        if holds(history, outcome):
            low, found = middle, outcome
        else:
            high = middle
    return found


def accuracy_list(history: History, settings: Settings) -> Procedure[list[str]]:
    """All units, the first to be quantized first."""
    space = history.space
    names = units(space)
    caused = {}
    for name in names:
        value = yield from distance(fallen(space, settings, set(names) - {name}), "phase 1")
        caused[name] = value if math.isfinite(value) else math.inf
    return sorted(names, key=lambda name: (caused[name], -space.shares.get(name, 0.0), names.index(name)))


def _point(history: History, settings: Settings, listed: list[str], count: int) -> Recipe:
    return fallen(history.space, settings, listed[count:])
