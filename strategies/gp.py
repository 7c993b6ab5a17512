"""Bayesian optimisation by a Gaussian process over the whole space; an optional extra."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import OptionError
from .base import History, Recipe
from .sampled import Sampled


class Gp(Sampled):
    """Optuna's GPSampler under the constraint drop ≤ target, the preferred settings at all-int8 first.

    Slow: 2.5 seconds a proposal at 100 layers (`tpe` takes a fiftieth), and many times that while other work holds
    the cores; so for evaluations that take minutes. Needs torch, which the extra `gp` brings. Ends with the budget
    alone.
    """

    name = "gp"

    def __init__(self) -> None:
        """Raises OptionError without torch."""
        if find_spec("torch") is None:
            raise OptionError("--strategy gp needs PyTorch, which is not installed.\npip install 'autoquant[gp]'")
        super().__init__()

    def _draw(self, history: History) -> Recipe | None:
        return self._sampling.gp(history)
