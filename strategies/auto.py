"""The default strategy: few trials to a model that holds the target, then as few float layers as possible."""

from __future__ import annotations

from .base import Action, History, Outcome, Recipe, Score, Space, Stop
from .bisection import bisect, prefixes
from .calibrators import recalibrate
from .corrections import correct
from .pareto import Pareto
from .polish import incumbent, polish
from .pruning import prune
from .recipes import holds, settings_of
from .refinement import refine, unmet
from .replay import Procedure, Unknown, replay, score
from .sampling import Sampling
from .screening import screen
from .sensitivity import order, sensitivities
from .speed import with_int8
from .squeeze import squeezable, squeeze
from .timed import Timed, hold
from .widening import WIDE, has_wide, widen
from .words import INTEGER_ACTIVATIONS, LAYER, WEIGHT_ONLY


class Auto:
    """As few evaluations as possible to a recipe that holds the target at the least cost.

    Where the cost is computed (objectives `ops` and `size`), all layers in int8 cost least:

    1. Screening: calibrators and symmetries at all-int8, ranked by a label-free probe, the best few scored.
    2. Where none holds the target: each layer's sensitivity by a probe, and a bisection with the metric along
       sensitivity per price to the shortest list of fallbacks that holds.
    3. Pruning: needless fallbacks made int8 again, in halving chunks, then singly.
    4. Refinement: exchanges of fallbacks by a model of the drop, a check that no single fallback is needless, and
       TPE around the best. It ends when the cost is within 2 % of all layers in int8, or when 20 trials have brought
       nothing.

    Where weights alone may be on integers (objective `size`), float layers get 8-bit weights and then as many layers
    as hold it 4-bit ones, in place of 4 (`squeeze.py`). Where layers fall back to 16-bit activations and even these do
    not hold, the worst of them go on to float (`widening.py`).

    Where it is measured (`latency`), the clock comes first:

    1. Speed: the fastest recipe whatever it loses, by latency probes and a model of them (`speed.py`).
    2. Screening on that recipe.
    3. Where none holds: sensitivities, and a bisection along time gained against sensitivity (`tradeoff.py`).
    4. Polish: what two models, of time and drop, still hold for faster; then each float layer by itself (`polish.py`).

    With layers' own calibrators on offer the most sensitive layers get theirs after the screening (`calibrators.py`).
    Where the target is still missed, weights and biases are corrected before any layer falls back (`corrections.py`).
    Where the front of cost against drop is asked for, all this is `pareto`'s business instead.

    The last step is a function of the history as it stands, all before is replayed from it at each call.
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
            if history.objective == "latency":
                return self._timed(history, replay(hold(history), history))
            best = replay(_procedures(history), history)
        except Unknown as missing:
            return missing.action
        if best is not None and _beyond_int8(history.space, best.recipe):
            return Stop("fewer bits for more weights, or fewer layers in float, no longer hold the target")
        return refine(history, self._sampling)

    def _timed(self, history: History, found: Timed) -> Action:
        best = incumbent(history)
        if best is not None:
            return polish(history, found, best)
        # Not even a few layers: perhaps the rewrites alone are faster.
        floated = with_int8(history.space, found.clock.settings, ())
        return unmet(history, self._sampling) if floated in history.scored else Score(floated, "float")


def _procedures(history: History) -> Procedure[Outcome | None]:
    space = history.space
    screened = yield from screen(history)
    best = yield from recalibrate(history, screened.outcome)
    best = yield from correct(history, best, screened.tried)
    sensitivity: dict[str, float] = {}
    infeasible: tuple[Recipe, ...] = ()
    if not holds(history, best):
        if not space.free_layers:
            return None
        settings = settings_of(best.recipe)
        sensitivity = yield from sensitivities(history, settings)
        ranking = order(space, sensitivity, space.free_layers)
        allowance = None if history.max_trials is None else max(1, history.max_trials - screened.scores)
        path = prefixes(space, settings, ranking, sensitivity)
        bisected = yield from bisect(history, *path, best, allowance)
        infeasible = bisected.infeasible
        found = bisected.outcome
        if found is None and has_wide(space):
            found = yield from widen(history, settings, sensitivity)
        elif found is None and squeezable(space):
            found = yield from score(path[0][-1], "float")
        if found is None or not holds(history, found):
            return None
        best = found
    if not _beyond_int8(space, best.recipe) and not _stored_anyway(history, best.recipe):
        best = yield from prune(history, best, sensitivity, infeasible)
    return (yield from squeeze(history, best)) if squeezable(space) else best


def _beyond_int8(space: Space, recipe: Recipe) -> bool:
    """Whether a recipe has more than int8 and one fallback, which is all that pruning and refinement know."""
    return any(
        recipe[name] in WEIGHT_ONLY or (WIDE in offered and recipe[name] not in INTEGER_ACTIVATIONS)
        for name, offered in space.offered.items()
        if name.startswith(LAYER)
    )


def _stored_anyway(history: History, recipe: Recipe) -> bool:
    """Whether every fallback can have its weights on integers, and bytes are all that counts: int8 gains no more."""
    space = history.space
    floats = [name for name in space.free_layers if recipe[name] != "int8"]
    return history.objective == "size" and all(not set(WEIGHT_ONLY).isdisjoint(space.offered[name]) for name in floats)
