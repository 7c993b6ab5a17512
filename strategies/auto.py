"""The default strategy: few trials to a model that holds the target, then as few float layers as possible."""

from __future__ import annotations

from . import glue
from .base import Action, History, Outcome, Recipe
from .bisection import bisect
from .pareto import Pareto
from .pruning import prune
from .recipes import holds, settings_of
from .refinement import refine
from .replay import Procedure, Unknown, replay
from .sampling import Sampling
from .screening import screen
from .sensitivity import order, sensitivities


class Auto:
    """Screen, probe, bisect, prune, refine.

    1. Screening: calibrators and symmetries at all-int8, ranked by a label-free probe, the best few scored.
    2. Where none holds the target: each layer's sensitivity by a probe, and a bisection with the metric along
       sensitivity per price to the shortest list of fallbacks that holds.
    3. Objective latency: which glue is faster in int8.
    4. Pruning: needless fallbacks made int8 again, in halving chunks, then singly.
    5. Refinement: exchanges of fallbacks by a model of the drop, a check that no single fallback is needless, and
       TPE around the best. It ends when the cost is within 2 % of all layers in int8, or when 20 trials have brought
       nothing (8 where the cost is measured).

    Where the front of cost against drop is asked for, all this is `pareto`'s business instead.

    All of 1–4 is replayed from the history at each call, 5 is a function of the history as it stands.
    """

    name = "auto"

    def __init__(self) -> None:
        self._sampling = Sampling()
        self._pareto = Pareto()

    def next(self, history: History) -> Action:
        """The next action."""
        if history.pareto:
            return self._pareto.next(history)
        try:
            replay(_procedures(history), history)
        except Unknown as missing:
            return missing.action
        return refine(history, self._sampling)


def _procedures(history: History) -> Procedure[Outcome | None]:
    space = history.space
    screened = yield from screen(history)
    best = screened.outcome
    sensitivity: dict[str, float] = {}
    infeasible: tuple[Recipe, ...] = ()
    if not holds(history, best):
        if not space.free_layers:
            return None
        settings = settings_of(best.recipe)
        sensitivity = yield from sensitivities(history, settings)
        ranking = order(space, sensitivity, space.free_layers)
        allowance = None if history.max_trials is None else max(1, history.max_trials - screened.scores)
        bisected = yield from bisect(history, settings, ranking, sensitivity, best, allowance)
        if bisected.outcome is None:
            return None
        infeasible = bisected.infeasible
        best = bisected.outcome
    if history.objective == "latency":
        best = yield from glue.explore(history, best)
    return (yield from prune(history, best, sensitivity, infeasible))
