"""The rewrites on the five public models: the same answers, the same layers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from autoquant.evaluators.base import Feed
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.model import Model
from autoquant.tuner.graph.rewrite.registry import rewritten
from autoquant.tuner.graph.serialize import inline

from benchmarks.measure import load_task

TASKS = os.environ.get("AUTOQUANT_TASKS", "")
WANTED = {
    "cls180": {"softmax": 1, "hardswish": 18, "channels": 20},
    "ocr_v4": {"softmax": 3, "shapes": 6, "hardswish": 28, "silu": 7, "layernorm": 5, "scales": 25, "channels": 4},
    "minilm_sentiment": {"shapes": 24, "gelu": 6, "attention": 6},
    "effnet_lite0": {"shapes": 1, "channels": 2},
    "ocr_v6s": {"shapes": 2, "gelu": 13, "silu": 5, "layernorm": 5, "pooling": 5, "scales": 2, "channels": 2},
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TASKS, reason="AUTOQUANT_TASKS names no folder with the public tasks"),
]


def answers(model: Model, feed: Feed, level: ort.GraphOptimizationLevel) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.graph_optimization_level = 1, level
    proto = inline(model.proto, model.weights).SerializeToString()
    return ort.InferenceSession(proto, options, providers=["CPUExecutionProvider"]).run(None, dict(feed))


@pytest.mark.parametrize("name", WANTED)
def test_answers_differ_no_more_than_from_ones_own_optimizer(name):
    folder = Path(TASKS) / name
    model = load(folder / "model.onnx")
    feed = {key: array[:2] for key, array in next(iter(load_task(folder).calibration())).items()}
    plain, own = (
        answers(model, feed, level)
        for level in (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    )
    every = tuple(rewritten(model).sites)
    for names in (*((each,) for each in every), every):
        made = answers(rewritten(model, names).model, feed, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
        for ours, exact, theirs in zip(made, plain, own, strict=True):
            size = np.abs(exact).max()
            allowed = max(1e-5, 3 * np.abs(theirs - exact).max() / size)
            assert np.abs(ours - exact).max() / size <= allowed, names


@pytest.mark.parametrize("name", WANTED)
def test_sites_and_layers(name):
    model = load(Path(TASKS) / name / "model.onnx")
    found = rewritten(model)
    assert dict(found.sites) == WANTED[name]
    before, after = analyse(model), analyse(found.model)
    assert [layer.name for layer in after.layers] == [layer.name for layer in before.layers]
    assert [layer.group for layer in after.layers] == [layer.group for layer in before.layers]
    assert len(found.model.proto.graph.node) < len(model.proto.graph.node)
