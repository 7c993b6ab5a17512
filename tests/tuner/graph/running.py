"""Running original and loaded models side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.model import Model
from autoquant.tuner.graph.serialize import inline, write

from tests import zoo


def session(model: Path | bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(model: Path | bytes, feeds: list[dict[str, np.ndarray]]) -> list[list[np.ndarray]]:
    opened = session(model)
    return [opened.run(None, feed) for feed in feeds]


def load_proto(proto: onnx.ModelProto, folder: Path) -> Model:
    return load(zoo.save(proto, folder / "original.onnx"))


def difference(path: Path, folder: Path, feeds: list[dict[str, np.ndarray]]) -> float:
    """Largest difference between the outputs of a file and of the same file loaded and written again."""
    model = load(path)
    again = folder / "again.onnx"
    write(model.proto, model.weights, again)
    pairs = zip(run(path, feeds), run(again, feeds), strict=True)
    worst = 0.0
    for before, after in ((b, a) for x, y in pairs for b, a in zip(x, y, strict=True)):
        assert before.dtype == after.dtype
        assert before.shape == after.shape
        worst = max(worst, float(np.abs(before.astype(np.float64) - after.astype(np.float64)).max(initial=0.0)))
    return worst


def check(proto: onnx.ModelProto, folder: Path, tolerance: float = 1e-5) -> Model:
    """Load a model, see that it still computes the same, and return it."""
    path = zoo.save(proto, folder / "original.onnx")
    assert difference(path, folder, zoo.feeds(proto)) <= tolerance
    return load(path)


def ops(model: Model) -> list[str]:
    return [node.op_type for node in model.proto.graph.node]


def full(model: Model) -> bytes:
    return bytes(inline(model.proto, model.weights).SerializeToString())


def constants(model: Model) -> Mapping[str, np.ndarray]:
    """Every initializer's data."""
    proto = inline(model.proto, model.weights)
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
