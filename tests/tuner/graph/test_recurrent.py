from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.tuner.graph.analysis import Analysis
from autoquant.tuner.graph.recurrent import GATES

from tests.tuner.graph.test_analyse import analysed, floats, one

GATED = pytest.mark.parametrize(("kind", "gates"), GATES.items())


def made(kind: str, gates: int, **changes: object) -> onnx.ModelProto:
    constants = {"w": floats(1, gates * 4, 8), "r": floats(1, gates * 4, 4)}
    return one(kind, {"x": (5, "N", 8)}, constants, hidden_size=4, **changes)


@GATED
def test_recurrent_layers_have_two_weights_of_one_axis(kind: str, gates: int, tmp_path: Path) -> None:
    found = analysed(made(kind, gates), tmp_path)
    (layer,) = found.layers
    assert (layer.op_type, layer.weights, layer.more) == (kind, ("w", "r"), (("r", 2),))
    assert (layer.weight_input, layer.weight_axis, layer.inputs, layer.output) == (1, 1, ("x",), "y")
    assert layer.reduction == gates * (8 + 4)  # products for one element of the hidden state
    assert found.refusals == ()
    assert found.tensors == ("x", "y")


def refused(found: Analysis) -> str:
    assert found.layers == ()
    (refusal,) = found.refusals
    return refusal.reason


@GATED
def test_weights_that_are_no_constants(kind: str, gates: int, tmp_path: Path) -> None:
    proto = one(kind, {"x": (5, "N", 8), "w": (1, gates * 4, 8)}, {"r": floats(1, gates * 4, 4)}, hidden_size=4)
    assert refused(analysed(proto, tmp_path)) == "its weights are not constant"


def test_infinite_weights(tmp_path: Path) -> None:
    constants = {"w": floats(1, 4, 8), "r": np.full((1, 4, 4), np.inf, np.float32)}
    proto = one("RNN", {"x": (5, "N", 8)}, constants, hidden_size=4)
    assert refused(analysed(proto, tmp_path)) == "its weights hold infinities or NaN"


def test_batch_first(tmp_path: Path) -> None:
    reason = "its batch comes first, which ONNX Runtime does not run"
    assert refused(analysed(made("LSTM", 4, layout=1), tmp_path)) == reason
