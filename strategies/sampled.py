"""What the strategies that are an Optuna sampler and nothing else have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .base import Action, History, Recipe, Score, Stop
from .sampling import Sampling


class Sampled(ABC):
    """The preferred settings at all-int8 first, then one draw after the other. Ends with the budget alone."""

    name: str

    def __init__(self) -> None:
        self._sampling = Sampling()

    def next(self, history: History) -> Action:
        """The next draw that was not tried yet."""
        first = history.space.canonical(history.space.default())
        if first not in history.scored:
            return Score(first, "search")
        recipe = self._draw(history)
        return Score(recipe, "search") if recipe else Stop("every recipe has been scored")

    @abstractmethod
    def _draw(self, history: History) -> Recipe | None:
        """A recipe not tried yet; None when every one was."""
