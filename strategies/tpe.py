"""Plain TPE over the whole space."""

from __future__ import annotations

from .base import History, Recipe
from .sampled import Sampled


class Tpe(Sampled):
    """Multivariate TPE from Optuna, the preferred settings at all-int8 first. Ends with the budget alone."""

    name = "tpe"

    def _draw(self, history: History) -> Recipe | None:
        return self._sampling.tpe(history)
