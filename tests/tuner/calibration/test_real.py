"""Fifty tensors of the public models, against references computed from the raw values."""

from __future__ import annotations

import importlib.util
import os
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from autoquant.evaluators.session import open_session
from autoquant.tuner.calibration.calibrators import calibrate
from autoquant.tuner.calibration.collect import collect, with_outputs
from autoquant.tuner.calibration.entropy import bin_width
from autoquant.tuner.calibration.histogram import Bins
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load

TASKS = os.environ.get("AUTOQUANT_TASKS")
NAMES = ("cls180", "ocr_v4", "minilm_sentiment", "effnet_lite0", "ocr_v6s")
TENSORS = 10

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(TASKS is None, reason="AUTOQUANT_TASKS names no folder of tasks"),
]

Sample = tuple[np.ndarray, Bins]


@pytest.fixture(scope="module", params=NAMES)
def samples(request: pytest.FixtureRequest) -> dict[str, Sample]:
    """Tensor → its raw values over one calibration feed, flat, and what `collect` made of them."""
    folder = Path(str(TASKS)) / request.param
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location(f"calibration_of_{request.param}", folder / "eval.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        feeds = [{name: value[:2] for name, value in feed.items()} for feed in islice(module.calibration(), 1)]
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if name == "eval":  # each task has its own module of that name
                del sys.modules[name]
    model = load(folder / "model.onnx")
    layers = analyse(model).layers
    tensors = list(dict.fromkeys(tensor for layer in layers for tensor in (*layer.inputs, layer.output)))
    tensors = tensors[:: max(1, len(tensors) // TENSORS)][:TENSORS]
    statistics = collect(model, tensors, feeds, open_session=open_session)
    session = open_session(with_outputs(model.proto, tensors), weights=model.weights)
    return {
        name: (
            np.ravel(feeds[0][name] if name in feeds[0] else session.run([name], feeds[0])[0]),
            statistics.tensors[name].histogram.bins(),
        )
        for name in tensors
    }


def best_cut(counts: np.ndarray, levels: int, beyond: float = 0.0, shortest: int = 0) -> int:
    """The reference: P and Q built anew for every cut."""
    best, least = len(counts), np.inf
    for keep in range(len(counts), max(levels, shortest) - 1, -1):
        inside = counts[:keep].astype(np.float64)
        p = inside.copy()
        p[0] += beyond
        p[-1] += counts[keep:].sum()
        edges = np.arange(levels + 1) * keep // levels
        filled = np.add.reduceat(p > 0, edges[:-1], dtype=np.float64)
        share = np.add.reduceat(inside, edges[:-1]) / np.maximum(filled, 1)
        held = p > 0
        q = np.repeat(share, np.diff(edges))[held]
        p = p[held]
        if (q == 0).any():
            continue
        p, q = p / p.sum(), q / q.sum()
        divergence = float((p * np.log(p / q)).sum())
        if divergence < least - 1e-13:
            best, least = keep, divergence
    return best


def test_entropy_symmetric(samples: dict[str, Sample]) -> None:
    for name, (values, bins) in samples.items():
        magnitude = np.abs(values[values != 0]).astype(np.float64)
        width = bin_width(magnitude.max())
        counts = np.histogram(magnitude, np.arange(int(magnitude.max() / width) + 2) * width)[0]
        cut = best_cut(counts, 128 if values.min() < 0 else 256)
        want = magnitude.max() if cut == len(counts) else cut * width
        assert calibrate(bins, "entropy", symmetric=True)[1] == pytest.approx(want, abs=width), name


def test_entropy_asymmetric(samples: dict[str, Sample]) -> None:
    for name, (values, bins) in samples.items():
        low, high = float(values.min()), float(values.max())
        if low >= 0 or high <= 0:
            continue  # one grid, tested above
        width = bin_width(high - low)
        below = int(-low / width) + 1
        exact = values[values != 0].astype(np.float64)
        negative = np.histogram(-exact[exact < 0], np.arange(below + 1) * width)[0]
        positive = np.histogram(exact[exact > 0], np.arange(int(high / width) + 2) * width)[0]
        long, short = (negative, positive) if -low > high else (positive, negative)
        counts = np.concatenate([short[::-1], long])
        end = best_cut(counts, 256, shortest=len(short) + (1 if long is positive else 0))
        rest = counts[:end][::-1]
        kept = best_cut(
            rest, 256, float(counts[end:].sum()), shortest=end - len(short) + (0 if long is positive else 1)
        )
        ends = [
            abs(extreme) if whole else cut * width
            for extreme, whole, cut in (
                (low if long is negative else high, end == len(counts), end - len(short)),
                (high if long is negative else low, kept == end, kept - (end - len(short))),
            )
        ]
        want = (-ends[0], ends[1]) if long is negative else (-ends[1], ends[0])
        got = calibrate(bins, "entropy", symmetric=False)
        assert got == pytest.approx(want, abs=width * 1.0001), name


@pytest.mark.parametrize("inside", [99.9, 99.99, 99.999])
def test_percentile(samples: dict[str, Sample], inside: float) -> None:
    for name, (values, bins) in samples.items():
        ordered = np.sort(values).astype(np.float64)
        beyond = len(values) // round(2 * 100 / (100 - inside))
        want = (min(ordered[beyond], 0), max(ordered[-1 - beyond], 0))
        got = calibrate(bins, f"percentile_{inside:g}", symmetric=False)
        assert got == pytest.approx(want, abs=(want[1] - want[0]) / 255 / 10), name


def test_mse(samples: dict[str, Sample]) -> None:
    """No symmetric range of a coarse grid is better by 1 %."""
    for name, (values, bins) in samples.items():
        one_sided = values.min() >= 0
        levels = (0, 255) if one_sided else (-127, 127)
        distinct, counts = np.unique(values, return_counts=True)
        exact, weights = distinct.astype(np.float64), counts / len(values)

        def error(
            top: float,
            exact: np.ndarray = exact,
            weights: np.ndarray = weights,
            levels: tuple[int, int] = levels,
        ) -> float:
            step = top / levels[1]
            return float(weights @ (exact - np.clip(np.rint(exact / step), *levels) * step) ** 2)

        ours = error(calibrate(bins, "mse", symmetric=True)[1])
        assert ours <= 1.01 * min(error(c * np.abs(values).max()) for c in np.linspace(1, 0.02, 50)), name
