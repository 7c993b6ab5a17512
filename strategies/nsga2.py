"""Plain NSGA-II over the whole space."""

from __future__ import annotations

from .base import Action, History, Score, Stop
from .sampling import Sampling


class Nsga2:
    """Optuna's NSGA-II on cost and drop, the preferred settings at all-int8 first. Ends with the budget alone."""

    name = "nsga2"

    def __init__(self) -> None:
        self._sampling = Sampling()

    def next(self, history: History) -> Action:
        """The next recipe of the current generation."""
        first = history.space.canonical(history.space.default())
        if first not in history.scored:
            return Score(first, "search")
        recipe = self._sampling.nsga2(history)
        return Score(recipe, "search") if recipe else Stop("every recipe has been scored")
