"""What spares the tests of whole runs time, and none of what they test: fixtures for a folder's `conftest.py`."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator

import pytest
from alembic.script import ScriptDirectory
from autoquant.evaluators import latency, stopwatch
from autoquant.tuner.calibration.calibrators import CALIBRATORS, Calibrator
from autoquant.tuner.calibration.histogram import Bins
from optuna.storages._rdb.storage import _VersionManager


@pytest.fixture(scope="module", autouse=True)
def short_timings() -> Iterator[None]:
    """A timing is of fewer runs, and another program on the machine is not waited for (`tests/evaluators` does)."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(latency, "_LEAST_MS", 0.1)
        patched.setattr(stopwatch, "_PAUSE", 0.0)
        patched.setattr(stopwatch, "_LONGER_PAUSE", 0.0)
        yield


@pytest.fixture(scope="module", autouse=True)
def migrations_read_once() -> Iterator[None]:
    """Optuna imports its migrations anew for every database it opens, two times more to make one: always the same."""
    create = _VersionManager._create_alembic_script

    def once(manager: _VersionManager) -> ScriptDirectory:
        if not _MIGRATIONS:
            _MIGRATIONS.append(create(manager))
        return _MIGRATIONS[0]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_VersionManager, "_create_alembic_script", once)
        yield


@pytest.fixture(scope="module", autouse=True)
def ranges_found_once() -> Iterator[None]:
    """The dear calibrators, pure functions, look once at each histogram: most runs are of one model and its data."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("entropy", "mse"):
            patched.setitem(CALIBRATORS, name, _remembered(name, CALIBRATORS[name]))
        yield


_MIGRATIONS: list[ScriptDirectory] = []
_FOUND: dict[tuple[str, bytes, bool], tuple[float, float]] = {}


def _remembered(name: str, calibrator: Calibrator) -> Calibrator:
    @functools.wraps(calibrator)
    def found(bins: Bins, symmetric: bool) -> tuple[float, float]:
        parts = b"".join(part.tobytes() for part in (bins.lower, bins.upper, bins.counts))
        key = name, hashlib.sha256(parts).digest(), symmetric
        if key not in _FOUND:
            _FOUND[key] = calibrator(bins, symmetric)
        return _FOUND[key]

    return found
