"""Results that take a pass of their own over the calibration samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ...evaluators.base import Feed
from ..calibration.collect import OpenSession
from .results import Wanted

Feeds = Callable[[], Iterable[Feed]]
"""The calibration samples, from the beginning at every call."""
Compute = Callable[[Feeds, OpenSession, Callable[[int], None] | None], np.ndarray]
"""From calibration samples (feeds, open_session, progress) to a result."""


@dataclass(frozen=True, kw_only=True)
class Sweep(Wanted):
    """Something that a pass of its own over the calibration samples tells.

    Attributes:
        asked: The recipe's parameter that asks for it.
        run: Computes it; its errors are those of `collect`.
    """

    asked: str
    run: Compute

    @property
    def parameter(self) -> str:
        """The recipe's parameter that asks for it."""
        return self.asked
