"""An output or another reader between an integer kernel and the activation it would swallow."""

from __future__ import annotations

import pytest

from tests import zoo
from tests.tuner.quantization.building import case, differences, distance


@pytest.mark.parametrize("after", ["float", "int8"])
@pytest.mark.parametrize("bias", ["gemm", "add", "none"])
def test_a_relu_behind_an_output_does_not_undo_the_kernel(bias, after, tmp_path):
    """ONNX Runtime takes the only reader for part of the kernel, though the kernel's own output is wanted too."""
    g = zoo.Sketch(4)
    if bias == "gemm":
        g.add("Gemm", ["x", g.weight("w", 8, 8), g.bias("b", 8)], "m")
    elif bias == "add":
        g.linear("x", "m", 8, 8)
    else:
        g.add("MatMul", ["x", g.weight("w", 8, 8)], "m")
    g.add("Relu", ["m"], "r")
    if after == "int8":
        g.add("Gemm", ["r", g.weight("w2", 8, 8)], "y")
    else:
        g.add("Tanh", ["r"], "y")
    outputs = [zoo.value(name, ["N", 8]) for name in ("y", "m")]
    made = case(g.model([zoo.value("x", ["N", 8])], outputs), tmp_path)
    candidate = made.builder.build(made.recipe())
    assert set(candidate.layers.values()) == {"int8"}
    assert differences(made, candidate) == {}
    assert distance(made.float_outputs(), made.outputs(candidate)) < 1e-3


@pytest.mark.parametrize("op_type", ["Relu", "Clip"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_relu_among_several_readers_does_not_either(side, op_type, tmp_path):
    """ONNX Runtime drops it before a Q, and does not fuse a MatMul that is read by a Q and another."""
    g = zoo.Sketch(4)
    w = g.weight("w", 8, 8)
    g.add("MatMul", [w, "x"] if side == "left" else ["x", w], "m")
    bounds = [g.put("low", 0.0), g.put("high", 2.0)] if op_type == "Clip" else []
    g.add(op_type, ["m", *bounds], "r")
    g.add("MatMul", ["r", g.weight("w2", 8, 8)], "n")
    g.add("Concat", ["n", "m"], "y", axis=1)
    made = case(g.model([zoo.value("x", [2, 8, 8])], [zoo.value("y", [2, 16, 8])]), tmp_path)
    candidate = made.builder.build(made.recipe())
    assert set(candidate.layers.values()) == {"int8"}
    assert differences(made, candidate) == {}
    assert distance(made.float_outputs(), made.outputs(candidate)) < 1e-3
