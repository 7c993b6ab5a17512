"""Plain TPE over the whole space."""

from __future__ import annotations

from .base import Action, History, Score, Stop
from .sampling import Sampling


class Tpe:
    """Multivariate TPE from Optuna, the preferred settings at all-int8 first. Ends with the budget alone."""

    name = "tpe"

    def __init__(self) -> None:
        self._sampling = Sampling()

    def next(self, history: History) -> Action:
        """The next recipe TPE would try."""
        first = history.space.canonical(history.space.default())
        if first not in history.scored:
            return Score(first, "search")
        recipe = self._sampling.tpe(history)
        return Score(recipe, "search") if recipe else Stop("every recipe has been scored")
