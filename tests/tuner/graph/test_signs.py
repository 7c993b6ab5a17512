"""What a graph alone says of signs, against what its tensors really hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from autoquant.tuner.calibration.collect import with_outputs
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.model import Model
from autoquant.tuner.graph.serialize import inline
from autoquant.tuner.graph.signs import nonnegative

from tests import zoo


def seen(model: Model) -> dict[str, float]:
    """Tensor → the least value met."""
    names = analyse(model).tensors
    full = inline(model.proto, model.weights)
    session = ort.InferenceSession(with_outputs(full, names), providers=["CPUExecutionProvider"])
    least: dict[str, float] = {}
    for feed in zoo.feeds(full):
        values = dict(zip((o.name for o in session.get_outputs()), session.run(None, feed), strict=True))
        for name, value in {**values, **feed}.items():
            if np.asarray(value).dtype == np.float32 and np.asarray(value).size:
                least[name] = min(least.get(name, np.inf), float(value.min()))
    return least


@pytest.mark.parametrize("name", ["conv_net", "transformer", "hardswish_net", "two_input_net", "constant_weight_net"])
def test_nothing_said_to_be_nonnegative_is_negative(name: str, tmp_path: Path) -> None:
    model = load(zoo.save(zoo.ALL[name](), tmp_path / "model.onnx"))
    least = seen(model)
    found = nonnegative(model)
    assert not {tensor: least[tensor] for tensor in found & least.keys() if least[tensor] < 0}
    plain = {"Relu", "Sigmoid", "Softmax"}
    written = {name for node in model.proto.graph.node if node.op_type in plain for name in node.output}
    assert written <= found
    inputs = {value.name for value in model.proto.graph.input}
    assert not found & inputs


def test_signs_are_handed_on(tmp_path: Path) -> None:
    model = load(zoo.save(zoo.conv_net(), tmp_path / "model.onnx"))
    found = nonnegative(model)
    assert {"relu", "relu6", "residual_relu"} <= found
    assert not {"pointwise", "residual", "down", "flat", "y"} & found
