"""Corrections computed from calibration samples: passes over these, made when a result is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from ...evaluators.base import Feed
from ..calibration.collect import OpenSession
from ..calibration.draw import draw
from ..calibration.moments import Moment, moments
from ..calibration.rows import Form
from .empirical import Chain
from .results import Kept, Wanted
from .sweep import Sweep

HESSIAN_BYTES = 1 << 30
"""Hessians held at once. What does not fit is left to another pass."""
FEW, FEWEST = 32, 4
"""Samples that a chain of corrections is computed from; as many as fit into memory."""
HELD_BYTES = 1 << 30
"""About what a chain holds: four times the largest tensor, of each sample."""


class Passes:
    """A source that computes. One pass brings all means; the first layer that needs a Hessian, those behind it too.

    What depends on the recipe takes a few samples, run piece by piece (`empirical.py`).

    Args:
        feeds: The calibration samples, from the beginning at every call.
        open_session: As for `collect`; of quantized models too, whose float layers must stay float.
        samples: As for `moments`.
        seed: As for `moments`.
        progress: As for `moments`.

    Attributes:
        costs: Key → seconds that it took.
        seconds: All of them.
    """

    def __init__(
        self,
        feeds: Callable[[], Iterable[Feed]],
        open_session: OpenSession,
        samples: int,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._feeds = feeds
        self._open_session = open_session
        self._samples = samples
        self._seed = seed
        self._progress = progress
        self._few: list[Feed] = []
        self._means: dict[Form, Moment] = {}
        self._with_hessian: dict[Form, Moment] = {}
        self.costs: dict[str, float] = {}
        self.seconds = 0.0

    def get(self, wanted: Wanted) -> Kept:
        """The result.

        Raises:
            CalibrationError: As `collect`.
        """
        began, before = time.perf_counter(), self.seconds
        try:
            if isinstance(wanted, Sweep):
                return Kept(wanted.run(self._feeds, self._open_session, self._progress))
            if wanted.chain is not None:
                quantized = wanted.chain.quantized()  # what that takes has costs of its own
                began, before = time.perf_counter(), self.seconds
                return Kept(wanted.chain.compute(quantized, self._some(wanted.chain), self._open_session))
            return Kept(wanted.compute(self._known(wanted)))
        finally:
            self.costs[wanted.key] = time.perf_counter() - began
            self.seconds = before + self.costs[wanted.key]  # what it asked for itself included

    def _some(self, chain: Chain) -> list[Feed]:
        """A few samples, kept: every recipe has a chain of its own."""
        if not self._few:
            count = max(FEWEST, min(FEW, HELD_BYTES // max(1, 4 * chain.largest)))
            self._few = draw(self._feeds(), chain.model.inputs, self._samples, count, self._seed)
        return self._few

    def _known(self, wanted: Wanted) -> Mapping[Form, Moment]:
        """The moments it needs, after a pass where some are missing."""
        known, needed = self._means, [wanted.form] if wanted.form else []
        if wanted.rounding is not None:
            known, needed = self._with_hessian, list(wanted.readers)
        if any(form not in known for form in needed):
            self._with_hessian.clear()  # before the next ones need the room
            hessians = _fitting(wanted, needed)
            found = moments(
                wanted.model,
                wanted.forms,
                self._feeds(),
                open_session=self._open_session,
                hessians=hessians,
                samples=self._samples,
                seed=self._seed,
                progress=self._progress,
            )
            self._means.update((form, Moment(moment.mean)) for form, moment in found.items())
            self._with_hessian.update((form, found[form]) for form in hessians)
        return known


def _fitting(wanted: Wanted, needed: Sequence[Form]) -> list[Form]:
    """The forms whose Hessians are collected together: the needed ones, and as many behind them as there is room."""
    every = list(wanted.hessians)
    chosen = [form for form in needed if form in wanted.hessians]
    start = min((every.index(form) for form in chosen), default=0)
    room = HESSIAN_BYTES // 4 - sum(wanted.hessians[form] for form in chosen)
    for form in [*every[start:], *every[:start]]:
        if form not in chosen and wanted.hessians[form] <= room:
            chosen.append(form)
            room -= wanted.hessians[form]
    return chosen
