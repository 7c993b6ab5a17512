"""Time two sessions against each other so that the ratio can be believed."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Sequence

import onnxruntime as ort

from ..errors import EvaluationError
from .base import Feed, Latency
from .session import explain

_LEAST_PAIRS = 7
_PRECISE_PAIRS = 11
_LOOK = 5
"""Pairs after which a busy machine shows."""
# A timing shorter than this is made of several runs: the clock and the call cost microseconds.
_LEAST_MS, _MOST_REPEATS = 1.0, 50


def compare(
    baseline: ort.InferenceSession,
    candidate: ort.InferenceSession,
    feed: Feed,
    *,
    pairs: int = 21,
    warmup: int = 5,
    max_seconds: float | None = None,
    precision: float = 0.0,
    beat: float = 0.0,
    busy_ms: float = math.inf,
) -> Latency:
    """Time `candidate` against `baseline` in alternation.

    Whatever slows the machine for a while slows both halves of a pair; which of the two goes first alternates.

    Args:
        baseline: A session of `open_session`: its threads must stop spinning between runs, or each slows the other.
        candidate: Likewise.
        feed: Inputs that both take.
        pairs: Pairs to time.
        warmup: Runs of each before the clock starts.
        max_seconds: Stop after this time, with at least 7 pairs.
        precision: Stop once half the ratio's interval is at most this part of it, with at least 11 pairs.
        beat: Stop once the ratio is known to be less than this (its interval lies below), with at least 7 pairs.
        busy_ms: Stop once the baseline's median is above this, with at least 5 pairs: such a timing is worth nothing.

    Returns:
        Medians in milliseconds, the median ratio and its interval.

    Raises:
        ValueError: A session that keeps its threads spinning.
        EvaluationError: A model fails on the feed.
    """
    sessions = (baseline, candidate)
    for session in sessions:
        _require_quiet(session)
    start = time.perf_counter()
    last = [0.0, 0.0]
    for _ in range(max(1, warmup)):
        for which, session in enumerate(sessions):
            last[which] = _timed(session, feed, 1)
    repeats = [min(_MOST_REPEATS, math.ceil(_LEAST_MS / max(ms, 1e-6))) for ms in last]
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(max(1, pairs)):
        late = max_seconds is not None and time.perf_counter() - start > max_seconds
        if late and number >= _LEAST_PAIRS:
            break
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            times[which].append(_timed(sessions[which], feed, repeats[which]))
        done = number + 1
        if precision and done >= _PRECISE_PAIRS and _is_precise(times, precision):
            break
        if beat and done >= _LEAST_PAIRS and median_interval(_ratios(times))[1] < beat:
            break
        if done >= _LOOK and statistics.median(times[0]) > busy_ms:
            break
    ratios = _ratios(times)
    return Latency(
        baseline_ms=statistics.median(times[0]),
        candidate_ms=statistics.median(times[1]),
        speedup=statistics.median(ratios),
        speedup_ci=median_interval(ratios),
        pairs=len(ratios),
    )


def measure(session: ort.InferenceSession, feed: Feed, *, runs: int = 11, warmup: int = 3) -> float:
    """Median time of one run alone, milliseconds.

    Raises:
        EvaluationError: The model fails on the feed.
    """
    last = 0.0
    for _ in range(max(1, warmup)):
        last = _timed(session, feed, 1)
    repeats = min(_MOST_REPEATS, math.ceil(_LEAST_MS / max(last, 1e-6)))
    return statistics.median(_timed(session, feed, repeats) for _ in range(max(1, runs)))


def median_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Distribution-free interval of a median from order statistics (Conover 1999, section 3.2).

    The widest pair of order statistics whose coverage, from the binomial distribution with p = ½, is at least
    `level`; the extremes where there are too few values (below 6 for 95 %).
    """
    ordered = sorted(values)
    count = len(ordered)
    tail, rank = 0.0, 0
    while rank < count // 2:
        tail += math.comb(count, rank) / 2.0**count
        if 2.0 * tail > 1.0 - level:
            break
        rank += 1
    rank = max(rank, 1)
    return ordered[rank - 1], ordered[count - rank]


def _ratios(times: tuple[list[float], list[float]]) -> list[float]:
    return [base / mine for base, mine in zip(*times, strict=True)]


def _is_precise(times: tuple[list[float], list[float]], precision: float) -> bool:
    ratios = _ratios(times)
    low, high = median_interval(ratios)
    return high - low <= 2.0 * precision * statistics.median(ratios)


def _timed(session: ort.InferenceSession, feed: Feed, repeats: int) -> float:
    """Milliseconds of one run, the mean of `repeats` in a row."""
    inputs = dict(feed)
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter_ns()
        for _ in range(repeats):
            session.run(None, inputs)
        return (time.perf_counter_ns() - start) / 1e6 / repeats
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise EvaluationError(f"The model fails on the inputs to time: {explain(error)}") from error
    finally:
        if collecting:
            gc.enable()


def _require_quiet(session: ort.InferenceSession) -> None:
    key = "session.force_spinning_stop"
    try:
        value = session.get_session_options().get_session_config_entry(key)
    except RuntimeError:  # the entry was never set
        value = "0"
    if value != "1":
        raise ValueError(f"sessions to compare must be opened with {key} = 1 (open_session does)")
