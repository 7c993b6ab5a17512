"""Calibration without data, and of other data than the evaluation's, on the public tasks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from autoquant.evaluators.base import Feed
from autoquant.evaluators.evaluation import load_evaluation
from autoquant.evaluators.session import open_session
from autoquant.tuner.calibration.batchnorm import imposed, statistics_of
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.mismatch import mismatch
from autoquant.tuner.calibration.ranges import Ranges
from autoquant.tuner.calibration.synthetic import synthesised
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.model import Model

TASKS = os.environ.get("AUTOQUANT_TASKS")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(TASKS is None, reason="AUTOQUANT_TASKS is not set")]


def prepared(name: str) -> tuple[Model, list[Feed]]:
    folder = Path(TASKS or "") / name
    given = load_evaluation(str(folder / "eval.py"), model_path=folder / "model.onnx").calibration()
    assert given is not None
    return load(folder / "model.onnx"), list(given)


def ranges(model: Model, feeds: Sequence[Feed], tensors: Sequence[str]) -> Ranges:
    """The smallest and largest values alone."""
    statistics = collect(model, tensors, feeds, open_session=partial(open_session, threads=1))
    values = {}
    for name, tensor in statistics.tensors.items():
        low, high = min(tensor.histogram.min, 0.0), max(tensor.histogram.max, 0.0)
        most = max(-low, high)
        values[name] = {"minmax": {"asymmetric": (low, high), "symmetric": (-most, most)}}
    return Ranges(values, samples=statistics.samples)


def misfit(made: Ranges, real: Ranges) -> float:
    """Mean magnitude of the logarithm of the ranges' ratio."""
    spans = [
        (made.get(name, "minmax", "symmetric")[1], real.get(name, "minmax", "symmetric")[1]) for name in real.values
    ]
    return float(np.mean([abs(np.log(max(mine, 1e-6) / max(theirs, 1e-6))) for mine, theirs in spans]))


def test_imposed_statistics_bring_ranges_near_those_of_data() -> None:
    model, feeds = prepared("cls180")
    tensors = analyse(model).tensors
    shapes = {name: array.shape for name, array in feeds[0].items()}
    made = list(synthesised(model, count=32, shapes=shapes))
    real = ranges(model, feeds, tensors)
    noise = misfit(ranges(model, made, tensors), real)
    known = misfit(ranges(imposed(model, statistics_of(model)), made, tensors), real)
    assert known < 0.6 * noise, (known, noise)


@pytest.mark.parametrize("name", ["cls180", "ocr_v4"])
def test_halves_of_a_calibration_are_alike_and_wrong_scales_are_not(name: str) -> None:
    model, feeds = prepared(name)
    tensors = analyse(model).tensors
    opened = partial(open_session, threads=1)
    met = collect(model, tensors, feeds[::8], open_session=opened)
    rest = [feed for place, feed in enumerate(feeds) if place % 8]
    assert not mismatch(met, ranges(model, rest[:6], tensors)).unlike(48)
    for factor in (255.0, 1 / 255):
        wrong = [{key: (factor * array).astype(array.dtype) for key, array in feed.items()} for feed in rest[:6]]
        assert mismatch(met, ranges(model, wrong, tensors)).unlike(48), factor
