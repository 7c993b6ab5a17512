"""NNCF's accuracy control (nncf/quantization/algorithms/accuracy_control: `Ranker`, `QuantizationAccuracyRestorer`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..base import Action, History, Outcome
from ..recipes import Settings, drop_of, holds
from ..replay import Procedure, distance, score
from .units import fallen, has_int8, plain, settled, units


class Nncf:
    """Rank by restoring one unit at a time in the int8 model, revert greedily until the target holds.

    As in the source: everything in int8 and scored; each unit restored to float by itself in the current model and
    the models ranked; the unit whose return helps most is reverted for good and the model scored with the metric;
    the ranking is kept as long as the drop shrinks, one increase in a row is tolerated, and after a second the last
    unit is taken back and what is left ranked anew on the model as it then stands. The first that holds the target
    ends it. Nothing is ever quantized again, latency does not count, and there are no rewrites.

    The ranking: there by the metric on the up to 300 samples on which the int8 model errs most, or, where the metric
    is not per sample, by the error of the model's outputs (`LogitsBasedRanker`, normalized mean squared error).
    Here always the latter, by our label-free `distance` probe, which is that error: a subset's metric would be a trial
    that is none, and the probe needs no per-sample scores. It favours the strategy, if anything: 300 samples cost
    it a good part of an evaluation for each unit.

    Where it differs besides: its units are groups of quantizers that fall together; ours are layers (or groups that
    share a weight) and types of glue. The source gives up when the last unit is reverted even if that model holds;
    here it counts, unless no layer is left in int8. A candidate that fails counts as an infinite drop.
    """

    name = "nncf-greedy"

    def next(self, history: History) -> Action:
        """The next action."""
        return settled(
            _restored(history),
            history,
            "the greedy reverts reached the target",
            "all layers were reverted and the target does not hold",
        )


def _restored(history: History) -> Procedure[Outcome | None]:
    space = history.space
    settings = plain(space)
    outcome = yield from score(fallen(space, settings, ()), "quantized")
    if holds(history, outcome):
        return outcome
    floats: list[str] = []
    previous, stepped_back = drop_of(outcome), True
    ranked = yield from _rank(history, settings, floats, units(space))
    while ranked:
        name = ranked.pop()
        recipe = fallen(space, settings, [*floats, name])
        if not has_int8(space, recipe):
            return None
        outcome = yield from score(recipe, "revert")
        if holds(history, outcome):
            return outcome
        drop = drop_of(outcome)
        if drop <= previous or stepped_back:
            floats.append(name)
            previous, stepped_back = drop, False
            continue
        # the source compares with the drop of the model it has just left, not of the one it goes back to
        previous, stepped_back = drop, True
        ranked = yield from _rank(history, settings, floats, [*ranked, name])
    return None


def _rank(history: History, settings: Settings, floats: Sequence[str], names: Sequence[str]) -> Procedure[list[str]]:
    """Names by the distance that is left when each returns to float, the one that helps most last."""
    left = {}
    for name in names:
        value = yield from distance(fallen(history.space, settings, [*floats, name]), "rank")
        left[name] = value if math.isfinite(value) else math.inf
    return sorted(names, key=lambda name: -left[name])
