"""Plain NSGA-II over the whole space."""

from __future__ import annotations

from .base import History, Recipe
from .sampled import Sampled


class Nsga2(Sampled):
    """Optuna's NSGA-II on cost and drop, the preferred settings at all-int8 first. Ends with the budget alone."""

    name = "nsga2"

    def _draw(self, history: History) -> Recipe | None:
        return self._sampling.nsga2(history)
