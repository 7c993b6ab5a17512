"""Where the time went, over all runs of a study."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

PARTS = ("total", "baseline", "calibration", "speed", "sensitivity", "search", "materialize")


class Clock:
    """Seconds per part of a run, added to what earlier runs of the study took."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._parts = dict.fromkeys(PARTS, 0.0)
        self._before: Mapping[str, float] = {}

    def resume(self, before: Mapping[str, float]) -> None:
        """Count on from an earlier run's seconds."""
        self._before = before

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside towards a part."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._parts[name] += time.monotonic() - began

    @property
    def elapsed(self) -> float:
        """Seconds of this run."""
        return time.monotonic() - self._began

    def seconds(self) -> dict[str, float]:
        """Part → seconds over all runs."""
        now = {**self._parts, "total": self.elapsed}
        return {name: round(self._before.get(name, 0.0) + now[name], 3) for name in PARTS}
