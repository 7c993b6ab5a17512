from __future__ import annotations

from typing import Any

import pytest
from autoquant.evaluators import stopwatch
from autoquant.evaluators.base import Latency
from autoquant.evaluators.session import open_session
from autoquant.evaluators.stopwatch import Stopwatch

from tests import zoo


def told(monkeypatch: pytest.MonkeyPatch, baselines: list[float]) -> list[float]:
    """Timings whose baselines take these milliseconds, in order; returns what is left to be told."""
    monkeypatch.setattr(stopwatch, "_PAUSE", 0.0)

    def compare(*_: Any, pairs: int, **__: Any) -> Latency:
        ms = baselines.pop(0)
        return Latency(ms, ms / 2, 2.0, (1.9, 2.1), pairs)

    monkeypatch.setattr(stopwatch, "compare", compare)
    return baselines


def test_a_calm_timing_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    left = told(monkeypatch, [10.0, 10.5, 9.0])
    watch = Stopwatch(None, {})
    assert watch.compare(None, pairs=21).baseline_ms == 10.0
    assert watch.compare(None, pairs=21).baseline_ms == 10.5
    assert left == [9.0]


def test_a_busy_one_is_taken_again_until_it_is_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    left = told(monkeypatch, [10.0, 30.0, 11.0, 99.0])
    watch = Stopwatch(None, {})
    watch.compare(None, pairs=21)
    assert watch.compare(None, pairs=21).baseline_ms == 11.0
    assert left == [99.0]


def test_where_it_stays_busy_the_last_timing_is_whole_and_known_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, [10.0, *[30.0] * 8, 25.0])
    watch = Stopwatch(None, {})
    watch.compare(None, pairs=21)
    latency = watch.compare(None, pairs=21)
    assert latency.baseline_ms == 25.0
    assert watch.slowdown(latency) == 2.5


def test_a_disturbance_that_slows_the_baseline_more_flatters_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, [10.0, *[25.0] * 9])
    watch = Stopwatch(None, {})
    watch.compare(None, pairs=21)
    latency = watch.compare(None, pairs=21)
    assert latency.speedup == pytest.approx(0.8)  # the candidate took 12.5, the float model 10 when it was calm
    assert latency.speedup_ci == pytest.approx((0.76, 0.84))


def test_a_machine_that_is_always_busy_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    left = told(monkeypatch, [10.0, *[25.0] * 200])
    watch = Stopwatch(None, {})
    for _ in range(21):
        watch.compare(None, pairs=21)
    assert len(left) >= 200 - 9 * 3 - 4 * 18


def test_real_sessions() -> None:
    proto = zoo.conv_net()
    feed = zoo.feeds(proto, 1, batch=1)[0]
    session = open_session(proto.SerializeToString(), threads=1)
    latency = Stopwatch(session, feed).compare(session, pairs=9)
    assert latency.pairs == 9
    assert latency.baseline_ms > 0
