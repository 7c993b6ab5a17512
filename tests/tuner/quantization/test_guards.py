"""Arrangements in which ONNX Runtime would run a float layer on integers, or an integer one in float."""

import numpy as np
import pytest
from autoquant.strategies.words import LAYER
from autoquant.tuner.quantization import guards
from autoquant.tuner.quantization.kernels import optimized

from tests.tuner.quantization.building import case, differences
from tests.zoo import Sketch, value


def chain(tmp_path, middle, *, batch="N", height=8):
    """Conv, whatever `middle` adds to the graph, Conv; what is between is kept in float."""
    g = Sketch(1)
    g.conv("x", "first", 3, 8)
    g.add("Relu", ["first"], "first.relu")
    last = middle(g, "first.relu")
    g.conv(last, "y", 8, 4)
    proto = g.model([value("x", [batch, 3, height, height])], [value("y", [batch, 4, "h", "w"])])
    made = case(proto, tmp_path)
    ends = {"first", "y"}
    recipe = made.recipe().replace(
        {LAYER + layer.group: "int8" if layer.name in ends else "fp32" for layer in made.analysis.layers}
    )
    return made, made.builder.build(recipe)


def conv(g, x):
    g.conv(x, "middle", 8, 8)
    return g.add("Relu", ["middle"], "middle.relu")


def transposed(g, x):
    return g.add("ConvTranspose", [x, g.weight("middle.w", 8, 8, 3, 3), g.bias("middle.b", 8)], "middle", pads=[1] * 4)


def behind_pool(g, x):
    g.add("MaxPool", [x], "pooled", kernel_shape=[3, 3], pads=[1] * 4)
    return conv(g, "pooled")


def before_transposes(g, x):
    conv(g, x)
    g.add("Transpose", ["middle.relu"], "there", perm=[0, 1, 3, 2])
    return g.add("Transpose", ["there"], "back", perm=[0, 1, 3, 2])


def matmul(g, x):
    return g.linear(x, "middle", 8, 8)  # along the width


def gemm(g, x):
    g.add("GlobalAveragePool", [x], "pooled")
    g.add("Flatten", ["pooled"], "flat")
    g.linear("flat", "middle", 8, 8)
    g.put("image", [-1, 8, 1, 1], np.int64)
    return g.add("Reshape", ["middle", "image"], "reshaped")


def attention(g, x):
    g.add("Transpose", [x], "turned", perm=[0, 1, 3, 2])
    g.add("MatMul", [x, "turned"], "middle")
    return "middle"


MIDDLES = [conv, transposed, behind_pool, before_transposes, matmul, gemm, attention]


@pytest.mark.parametrize("batch", ["N", 2])
@pytest.mark.parametrize("middle", MIDDLES, ids=lambda f: f.__name__)
def test_float_layer_between_integer_ones_runs_in_float(middle, batch, tmp_path):
    made, candidate = chain(tmp_path, middle, batch=batch)
    assert sorted(candidate.layers.values()) == ["fp32", "int8", "int8"]
    assert not differences(made, candidate)


@pytest.mark.parametrize(
    "middle", [conv, transposed, behind_pool, before_transposes, attention], ids=lambda f: f.__name__
)
def test_without_guards_it_would_not(middle, tmp_path, monkeypatch):
    """If this fails ONNX Runtime has changed: the guards may have become needless."""
    monkeypatch.setattr(guards.Guards, "find", lambda self, placement: iter(()))
    made, candidate = chain(tmp_path, middle)
    wrong = differences(made, candidate)
    if middle is transposed:  # it has no integer kernel to run on, but is quantized all the same
        kinds = [node.op_type for node in optimized(candidate).graph.node]
        assert not wrong
        assert kinds.count("DequantizeLinear") > 2
    else:
        assert list(wrong.values()) == [("fp32", "int8")]


def test_guard_costs_no_operator(tmp_path):
    _, candidate = chain(tmp_path, conv)
    kinds = [node.op_type for node in candidate.proto.graph.node]
    assert "Max" not in kinds
    assert kinds.count("DequantizeLinear") == kinds.count("QuantizeLinear") + 4  # two weights, two biases


@pytest.mark.parametrize("shape", [["N", 8], [2, 8], ["N", 5, 8], [2, 5, 8]], ids=str)
@pytest.mark.parametrize("behind", ["bias", "relu", "bias relu", "residual", "relu6", "bias relu6", "nothing"])
@pytest.mark.parametrize("second", ["int8", "fp32"])
def test_matmul_runs_as_built_whatever_is_behind_it(shape, behind, second, tmp_path):
    g = Sketch(3)
    last = g.add("MatMul", ["x", g.weight("w", 8, 8)], "mm")
    if "bias" in behind:
        last = g.add("Add", [last, g.bias("b", 8)], "biased")
    if behind == "residual":
        last = g.add("Add", [last, "x"], "sum")
    if "relu6" in behind:
        last = g.add("Clip", [last, g.put("zero", 0.0), g.put("six", 6.0)], "clip")
    elif "relu" in behind:
        last = g.add("Relu", [last], "relu")
    g.add("MatMul", [last, g.weight("w2", 8, 4)], "y")
    made = case(g.model([value("x", shape)], [value("y", [*shape[:-1], 4])]), tmp_path)
    for first in ("int8", "fp32"):
        recipe = made.recipe().replace({LAYER + "mm": first, LAYER + "y": second})
        candidate = made.builder.build(recipe)
        assert list(candidate.layers.values()) == [first, second]
        assert not differences(made, candidate)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", ["none", "vector", "row", "scalar"])
@pytest.mark.parametrize("relu", [False, True])
def test_gemm_runs_as_built(transposed, bias, relu, tmp_path):
    g = Sketch(4)
    shapes = {"vector": (6,), "row": (1, 6), "scalar": (1,)}
    extra = [g.put("b", g.rng.standard_normal(shapes[bias]))] if bias != "none" else []
    weight = g.weight("w", *((6, 8) if transposed else (8, 6)))
    last = g.add("Gemm", ["x", weight, *extra], "fc", transB=transposed)
    if relu:
        last = g.add("Relu", [last], "relu")
    g.add("MatMul", [last, g.weight("w2", 6, 4)], "y")
    made = case(g.model([value("x", ["N", 8])], [value("y", ["N", 4])]), tmp_path)
    for first in ("int8", "fp32"):
        for second in ("int8", "fp32"):
            candidate = made.builder.build(made.recipe().replace({LAYER + "fc": first, LAYER + "y": second}))
            assert not differences(made, candidate)


@pytest.mark.parametrize("symmetry", ["asymmetric", "symmetric"])
@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 1.0), (-0.02, 2.0), (0.0, 0.3)])
def test_conv_and_clip_fuse(low, high, symmetry, tmp_path):
    g = Sketch(5)
    g.conv("x", "c", 3, 8)
    g.add("Clip", ["c", g.put("low", low), g.put("high", high)], "clip")
    g.conv("clip", "y", 8, 4)
    made = case(g.model([value("x", ["N", 3, 8, 8])], [value("y", ["N", 4, 8, 8])]), tmp_path)
    for calibrator in ("minmax", "percentile_99.9", "entropy"):
        recipe = made.recipe(activation_symmetry=symmetry, activation_calibrator=calibrator)
        candidate = made.builder.build(recipe)
        assert set(candidate.layers.values()) == {"int8"}
        assert not differences(made, candidate)


def test_constant_on_the_left_of_a_matmul(tmp_path):
    g = Sketch(6)
    g.add("MatMul", [g.weight("w", 5, 8), "x"], "y")
    made = case(g.model([value("x", ["N", 8, 3])], [value("y", ["N", 5, 3])]), tmp_path)
    candidate = made.builder.build(made.recipe())
    assert set(candidate.layers.values()) == {"int8"}
    assert not differences(made, candidate)


def test_transposes_that_cancel_out_behind_a_matmul(tmp_path):
    g = Sketch(7)
    g.add("MatMul", ["x", g.weight("w", 8, 8)], "mm")
    g.add("Transpose", ["mm"], "there", perm=[0, 2, 1])
    g.add("Transpose", ["there"], "back", perm=[0, 2, 1])
    g.add("MatMul", ["back", "there"], "y")
    made = case(g.model([value("x", ["N", 5, 8])], [value("y", ["N", 5, 5])]), tmp_path)
    candidate = made.builder.build(made.recipe())
    assert set(candidate.layers.values()) == {"int8"}
    assert not differences(made, candidate)


@pytest.mark.parametrize(("op_type", "constant"), [("Add", 0.0), ("Sub", 0.0), ("Mul", 1.0), ("Div", 1.0)])
def test_an_operator_that_changes_nothing_does_not_part_a_float_layer_from_integers(op_type, constant, tmp_path):
    g = Sketch(8)
    g.linear("x", "one", 8, 8)
    for side in "ab":
        g.add("Mul", ["one", "one"], f"{side}0")
        g.add(op_type, [f"{side}0", g.put(f"{side}c", [constant])], side)
    g.add("Transpose", ["b"], "turned", perm=[0, 2, 1])
    g.add("MatMul", ["a", "turned"], "y")
    made = case(g.model([value("x", ["N", 5, 8])], [value("y", ["N", 5, 5])]), tmp_path)
    glue = {f"op/{kind}": "int8" for kind in ("Mul", "Transpose") if kind != op_type}
    candidate = made.builder.build(made.recipe().replace({LAYER + "y": "fp32", **glue}))
    assert candidate.layers["y"] == "fp32"
    assert not differences(made, candidate)
