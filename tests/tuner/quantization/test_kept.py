"""A graph output between an integer kernel and the activation it would swallow."""

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
