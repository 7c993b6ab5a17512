"""Which glue to make int8, where latency is what counts."""

from __future__ import annotations

import math

from .base import History, Outcome
from .recipes import compose, floats_of, free_glue, glue_of, holds, settings_of
from .replay import Procedure, distance, score

MARGIN = 0.01
"""A measured cost must be lower by this part to count as lower: the clock's own noise."""
_TOGGLES = 3
_HARMLESS = 2.0


def cheaper(outcome: Outcome, than: Outcome) -> bool:
    """Whether a measured cost is lower beyond noise."""
    return outcome.cost is not None and (than.cost is None or outcome.cost < than.cost * (1.0 - MARGIN))


def explore(history: History, start: Outcome) -> Procedure[Outcome]:
    """From a feasible outcome with float glue, find glue types whose int8 form is faster and holds the target.

    Probes first: a type that alone doubles the distance (a Softmax, say) stays in float. Then all others at once;
    if that is not faster, int8 glue does not pay here. If it is, but loses too much, the longest feasible prefix
    in order of the distance each adds. Then single types are turned over, at most three, each kept if the model is
    faster for it: int8 glue pays where it lets integer kernels follow each other, and costs conversions elsewhere;
    only the clock tells.
    """
    space = history.space
    settings, floats = settings_of(start.recipe), floats_of(space, start.recipe)
    types = free_glue(space)
    if not types:
        return start
    ground = yield from distance(start.recipe, "glue")
    added = {}
    for name in types:
        added[name] = yield from distance(compose(space, settings, floats=floats, glue=[name]), "glue")
    ranked = sorted(
        (name for name in types if added[name] <= _HARMLESS * ground or not math.isfinite(ground)),
        key=lambda name: (added[name], types.index(name)),
    )
    if not ranked:
        return start
    together = yield from score(compose(space, settings, floats=floats, glue=ranked), "glue")
    if not cheaper(together, start):
        return start
    best = start
    if holds(history, together):
        best = together
    low, high = 0, 0 if holds(history, together) else len(ranked)
    while high - low > 1:
        middle = (low + high) // 2
        outcome = yield from score(compose(space, settings, floats=floats, glue=ranked[:middle]), "glue")
        if holds(history, outcome):
            low = middle
            best = outcome if cheaper(outcome, best) else best
        else:
            high = middle
    for name in ranked[:_TOGGLES]:
        glue = set(glue_of(space, best.recipe)) ^ {name}
        outcome = yield from score(compose(space, settings, floats=floats, glue=glue), "glue")
        if holds(history, outcome) and cheaper(outcome, best):
            best = outcome
    return best
