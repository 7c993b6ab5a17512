"""Our own sampler: draws recipes by what is known of each layer's sensitivity and gain."""

from __future__ import annotations

import math

from .arms import Probed, fit
from .base import Action, History, Score, Stop
from .calibrators import recalibrate
from .corrections import correct
from .draws import best_draw
from .recipes import Settings, activation_settings, compose, drop_of, floats_of, holds, settings_of
from .replay import Procedure, Unknown, distance, replay, score
from .sampling import random
from .sensitivity import sensitivities
from .words import WEIGHT_GRANULARITY, WEIGHT_SYMMETRY

PATIENCE = 30
_CAP = 4.0
_TINY = 1e-9


class Informed:
    """Draws from a distribution over recipes that follows from sensitivities, gains and all trials so far.

    1. Probes: every calibrator and symmetry at all-int8, and the other forms of weights; the best is scored. Where
       layers may have calibrators of their own and it misses the target, the probes choose some (`calibrators.py`);
       then corrections of weights and biases (`corrections.py`). Then each layer's sensitivity.
    2. Two Bayesian linear models, of the drop and of the cost, start from these (a layer's effect on the drop is its
       sensitivity, its gain its share of the work) and learn from every trial.
    3. Settings are a bandit's arms: their factor of the drop is drawn from what is known of it (Thompson sampling).
       Each draw takes settings with a chance that falls with the fourth power of that, and puts layer i in float
       with the chance (λ·sᵢ)² / ((λ·sᵢ)² + gᵢ²), s its effect on the drop and g its gain: the relaxed form of
       choosing by λ in max Σ(gain − λ·sensitivity). λ is what makes the expected drop 0.9 of the target, by the
       models as they stand: it follows the frontier of what holds. Half of the draws change only a few layers of the
       best recipe that way. Where the clock counts, glue types and rewrites are turned by draws of their effect.
    4. Of 48 such draws the one is scored whose expected gain times its chance to hold is highest.

    Everything follows from the history. It ends when the cost cannot fall any further, after 30 trials without
    improvement where there is no budget, and with the budget.
    """

    name = "informed"

    def next(self, history: History) -> Action:
        """The next probe or draw."""
        try:
            probed = replay(_probe(history), history)
        except Unknown as missing:
            return missing.action
        space = history.space
        best = history.best
        if history.objective != "latency" and best is not None and not floats_of(space, best.recipe):
            return Stop("every layer that may be int8 is, and the target holds")
        if history.max_trials is None and _idle(history) >= (history.patience or PATIENCE):
            return Stop(f"no better recipe in the last {_idle(history)} trials")
        recipe = best_draw(history, probed, fit(history, probed)) or random(history)
        return Score(recipe, "search") if recipe else Stop("every recipe has been scored")


def _probe(history: History) -> Procedure[Probed]:
    space = history.space
    found = []
    for settings in activation_settings(space):
        found.append((yield from _screened(history, settings)))
    best = min(found, key=lambda entry: entry[1])
    for name in (WEIGHT_GRANULARITY, WEIGHT_SYMMETRY):
        for value in space.offered.get(name, ())[1:]:
            found.append((yield from _screened(history, {**best[0], name: value})))
    best = min(found, key=lambda entry: entry[1])
    outcome = yield from score(compose(space, best[0]), "screen")
    own = yield from correct(history, (yield from recalibrate(history, outcome)), [outcome])
    if own.recipe != outcome.recipe:
        best = yield from _screened(history, settings_of(own.recipe))
        found.append(best)
    sensitivity = yield from sensitivities(history, best[0])
    total = sum(sensitivity.values()) or 1.0
    ground = max(best[1], _TINY)
    ranked = sorted(found, key=lambda entry: (entry[0] != best[0], entry[1]))
    arms = tuple((settings, max(value, _TINY) / ground) for settings, value in ranked if math.isfinite(value))
    whole = drop_of(own)
    whole = min(max(whole, 0.2 * history.target), _CAP * history.target) if math.isfinite(whole) else 2 * history.target
    shares = {name: value / total for name, value in sensitivity.items()}
    return Probed(arms or ((best[0], 1.0),), shares, whole, own)


def _screened(history: History, settings: Settings) -> Procedure[tuple[Settings, float]]:
    recipe = compose(history.space, settings)
    value = yield from distance(recipe, "screen")
    return settings_of(recipe), value


def _idle(history: History) -> int:
    """Trials since the last one that was better than all before it."""
    count, cost = 0, math.inf
    for trial in history.trials:
        better = holds(history, trial) and trial.cost is not None and trial.cost < cost * (1.0 - trial.cost_noise)
        count, cost = (0, trial.cost or 0.0) if better else (count + 1, cost)
    return count
