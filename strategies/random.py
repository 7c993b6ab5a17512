"""Uniform random search, the yardstick."""

from __future__ import annotations

from . import sampling
from .base import Action, History, Score, Stop


class Random:
    """Independent uniform draws from what is offered, without repetition. Ends with the budget alone."""

    name = "random"

    def next(self, history: History) -> Action:
        """The next draw."""
        recipe = sampling.random(history)
        return Score(recipe, "search") if recipe else Stop("every recipe has been scored")
