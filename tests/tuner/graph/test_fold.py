from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import zoo
from tests.tuner.graph.running import check, constants, load_proto, ops


def conv_then(*build: Callable[[zoo.Sketch, str, str], None], rank: int = 4, bias: bool = True) -> zoo.Sketch:
    """x → Conv (4 channels) → each of `build` in turn → y."""
    g = zoo.Sketch(1)
    w = g.weight("conv.w", 4, 3, *[3] * (rank - 2))
    names = ["conv", *(f"t{i}" for i in range(1, len(build))), "y"] if build else ["y"]
    g.add("Conv", ["x", w, g.bias("conv.b", 4)] if bias else ["x", w], names[0], name="conv")
    for step, (x, y) in zip(build, pairwise(names), strict=True):
        step(g, x, y)
    return g


def close(g: zoo.Sketch, *outputs: str, opset: int = 17, rank: int = 4) -> onnx.ModelProto:
    shape = ["N", 3, *[8] * (rank - 2)]
    return g.model([zoo.value("x", shape)], [zoo.value(y, [None] * rank) for y in outputs or ["y"]], opset=opset)


def constant(op: str, shape: tuple[int, ...], *, swapped: bool = False) -> Callable[[zoo.Sketch, str, str], None]:
    def step(g: zoo.Sketch, x: str, y: str) -> None:
        c = g.put(f"{y}.c", g.rng.uniform(0.5, 2.0, shape))
        g.add(op, [c, x] if swapped else [x, c], y)

    return step


def batch_norm(g: zoo.Sketch, x: str, y: str) -> None:
    scale, shift = g.put(f"{y}.scale", g.rng.uniform(0.5, 1.5, 4)), g.bias(f"{y}.shift", 4)
    mean, var = g.bias(f"{y}.mean", 4), g.put(f"{y}.var", g.rng.uniform(0.1, 2.0, 4))
    g.add("BatchNormalization", [x, scale, shift, mean, var], y, epsilon=1e-3)


def relu(g: zoo.Sketch, x: str, y: str) -> None:
    g.add("Relu", [x], y)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rank", [3, 4, 5])
def test_batch_normalization(rank: int, bias: bool, tmp_path: Path) -> None:
    model = check(close(conv_then(batch_norm, relu, rank=rank, bias=bias), rank=rank), tmp_path)
    assert ops(model) == ["Conv", "Relu"]
    assert model.notes == ("1 operator (BatchNormalization) folded into the Conv beside it, as ONNX Runtime would.",)


@pytest.mark.parametrize("shape", [(), (1,), (4, 1, 1), (1, 4, 1, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_a_constant_per_channel(op: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    assert ops(check(close(conv_then(constant(op, shape), relu)), tmp_path)) == ["Conv", "Relu"]


def test_a_whole_chain_in_any_order(tmp_path: Path) -> None:
    steps = [
        constant("Mul", (4, 1, 1)),
        batch_norm,
        constant("Add", (1,)),
        constant("Mul", (), swapped=True),
        batch_norm,
    ]
    model = check(close(conv_then(*steps)), tmp_path)
    assert ops(model) == ["Conv"]
    assert model.proto.graph.node[0].output[0] == "y"


@pytest.mark.parametrize(
    "step",
    [
        constant("Sub", (1,), swapped=True),
        constant("Div", (1,), swapped=True),
        constant("Add", (6,)),
        constant("Add", (1, 1, 6, 6)),
        constant("Mul", (2, 4, 1, 1)),
    ],
)
def test_other_constants_stay(step: Callable[[zoo.Sketch, str, str], None], tmp_path: Path) -> None:
    assert len(ops(check(close(conv_then(step)), tmp_path))) == 2


def test_a_zero_divisor_stays(tmp_path: Path) -> None:
    def divide(g: zoo.Sketch, x: str, y: str) -> None:
        g.add("Div", [x, g.put("c", np.reshape([1, 0, 2, 3], (4, 1, 1)))], y)

    proto = close(conv_then(divide))
    assert ops(load_proto(proto, tmp_path)) == ["Conv", "Div"]


def test_a_training_batch_normalization_stays(tmp_path: Path) -> None:
    g = conv_then(batch_norm)
    node = g.nodes[-1]
    node.attribute.append(helper.make_attribute("training_mode", 1))
    node.output.extend(["mean.out", "var.out"])
    assert "BatchNormalization" in ops(check(close(g), tmp_path))


def test_a_conv_others_read_stays(tmp_path: Path) -> None:
    g = conv_then(batch_norm)
    g.add("Relu", ["conv"], "z")
    assert ops(check(close(g, "y", "z"), tmp_path)) == ["Conv", "BatchNormalization", "Relu"]
    assert ops(check(close(conv_then(batch_norm), "y", "conv"), tmp_path)) == ["Conv", "BatchNormalization"]


def test_a_conv_a_body_reads_stays(tmp_path: Path) -> None:
    g = conv_then(batch_norm)
    body = helper.make_graph([helper.make_node("Relu", ["conv"], ["r"])], "b", [], [zoo.value("r", [None] * 4)])
    g.put("always", True, np.bool_)
    g.add("If", ["always"], "z", then_branch=body, else_branch=body)
    assert ops(check(close(g, "y", "z"), tmp_path)) == ["Conv", "BatchNormalization", "If"]


def test_a_shared_weight_is_folded_into_a_copy(tmp_path: Path) -> None:
    g = conv_then(batch_norm)
    g.add("Conv", ["x", "conv.w", "conv.b"], "z")
    model = check(close(g, "y", "z"), tmp_path)
    assert ops(model) == ["Conv", "Conv"]
    first, second = model.proto.graph.node
    assert first.input[1] != second.input[1] == "conv.w"
    assert first.input[2] != second.input[2] == "conv.b"


def test_large_weights_are_folded_too(tmp_path: Path) -> None:
    g = zoo.Sketch(2)
    g.conv("x", "c", 3, 64)
    g.add("Mul", ["c", g.put("s", g.rng.uniform(0.5, 2.0, (64, 1, 1)))], "y")
    model = check(g.model([zoo.value("x", ["N", 3, 8, 8])], [zoo.value("y", ["N", 64, 8, 8])]), tmp_path)
    assert ops(model) == ["Conv"]
    expected = g_array(g, "c.w") * g_array(g, "s").reshape(64, 1, 1, 1)
    np.testing.assert_allclose(model.weights["c.w"], expected, rtol=1e-6)
    assert model.weights["c.w"].dtype == np.float32


def g_array(g: zoo.Sketch, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(tensor for tensor in g.initializers if tensor.name == name))


def padded(
    pads: list[int],
    *,
    opset: int = 17,
    axes: list[int] | None = None,
    conv_pads: list[int] | None = None,
    value: float | None = 0.0,
    mode: str = "constant",
    auto_pad: str | None = None,
) -> zoo.Sketch:
    g = zoo.Sketch(3)
    inputs = ["x", g.put("pads", pads, np.int64)]
    if value is not None or axes is not None:
        inputs.append(g.put("value", value) if value is not None else "")
    if axes is not None:
        inputs.append(g.put("axes", axes, np.int64))
    g.add("Pad", inputs, "padded", mode=mode)
    attributes = {"pads": conv_pads} if conv_pads else {}
    attributes |= {"auto_pad": auto_pad} if auto_pad else {}
    g.add("Conv", ["padded", g.weight("w", 4, 3, 3, 3)], "y", **attributes)
    return g


def test_zero_padding(tmp_path: Path) -> None:
    model = check(close(padded([0, 0, 1, 2, 0, 0, 3, 0])), tmp_path)
    assert ops(model) == ["Conv"]
    assert list(model.proto.graph.node[0].attribute[0].ints) == [1, 2, 3, 0]
    assert "pads" not in constants(model)


def test_zero_padding_adds_to_the_conv_s_own(tmp_path: Path) -> None:
    model = check(close(padded([0, 0, 1, 2, 0, 0, 3, 0], conv_pads=[1, 1, 0, 1])), tmp_path)
    assert ops(model) == ["Conv"]
    assert ops(check(close(padded([0, 0, 1, 1, 0, 0, 1, 1], auto_pad="VALID", value=None)), tmp_path)) == ["Conv"]


def test_zero_padding_of_some_axes(tmp_path: Path) -> None:
    assert ops(check(close(padded([1, 2], axes=[-1], value=None), opset=18), tmp_path)) == ["Conv"]


@pytest.mark.parametrize(
    "g",
    [
        padded([0, 1, 0, 0, 0, -1, 0, 0]),
        padded([0, 0, -1, 0, 0, 0, 1, 0]),
        padded([0, 0, 1, 1, 0, 0, 1, 1], value=1.0),
        padded([0, 0, 1, 1, 0, 0, 1, 1], mode="reflect"),
        padded([0, 0, 1, 1, 0, 0, 1, 1], auto_pad="SAME_UPPER"),
    ],
)
def test_other_padding_stays(g: zoo.Sketch, tmp_path: Path) -> None:
    assert ops(check(close(g), tmp_path)) == ["Pad", "Conv"]


def test_padding_others_read_stays(tmp_path: Path) -> None:
    g = padded([0, 0, 1, 1, 0, 0, 1, 1])
    g.add("Relu", ["padded"], "z")
    assert ops(check(close(g, "y", "z"), tmp_path)) == ["Pad", "Conv", "Relu"]


def test_a_double_conv_stays(tmp_path: Path) -> None:
    g = zoo.Sketch(4)
    g.add("Conv", ["x", g.weight("w", 4, 3, 3, 3, dtype=np.float64)], "c")
    g.add("Mul", ["c", g.put("s", 2.0, np.float64)], "y")
    kinds = [zoo.value("x", ["N", 3, 8, 8], TensorProto.DOUBLE)], [zoo.value("y", [None] * 4, TensorProto.DOUBLE)]
    assert ops(load_proto(g.model(*kinds), tmp_path)) == ["Conv", "Mul"]
