"""Channels in whole blocks."""

from __future__ import annotations

import numpy as np
import pytest
from autoquant.tuner.graph.model import Model
from autoquant.tuner.graph.rewrite.registry import rewritten
from onnx import helper

from tests.tuner.graph.rewrite.making import model, same
from tests.zoo import Sketch

IMAGE = {"x": [2, 3, 8, 8]}


def weights(made: Model) -> dict[str, list[int]]:
    return {t.name: list(t.dims) for t in made.proto.graph.initializer if t.name.endswith(".w")}


def block(g: Sketch, x: str, name: str, width: int, out: int) -> str:
    """Pointwise, depthwise, squeeze-and-excitation, pointwise."""
    g.conv(x, f"{name}/wide", 8, width, kernel=1)
    g.add("Relu", [f"{name}/wide"], f"{name}/relu")
    g.conv(f"{name}/relu", f"{name}/deep", width, width, group=width)
    g.add("GlobalAveragePool", [f"{name}/deep"], f"{name}/mean")
    g.conv(f"{name}/mean", f"{name}/squeeze", width, 4, kernel=1)
    g.add("Relu", [f"{name}/squeeze"], f"{name}/squeezed")
    g.conv(f"{name}/squeezed", f"{name}/excite", 4, width, kernel=1)
    g.add("HardSigmoid", [f"{name}/excite"], f"{name}/gate")
    g.add("Mul", [f"{name}/deep", f"{name}/gate"], f"{name}/gated")
    return g.conv(f"{name}/gated", f"{name}/out", width, out, kernel=1)


def net() -> Sketch:
    g = Sketch()
    g.conv("x", "stem", 3, 8)
    g.add("Add", ["stem", block(g, "stem", "a", 24, 8)], "sum")
    g.add("HardSwish", ["sum"], "swish")
    g.add("MaxPool", ["swish"], "pool", kernel_shape=[2, 2])
    g.conv("pool", "last", 8, 5)
    g.add("Flatten", ["last"], "y")
    return g


def test_every_inner_tensor_grows():
    made = same(model(net(), IMAGE), ["channels"])
    assert weights(made.model) == {
        "stem.w": [16, 3, 3, 3],
        "a/wide.w": [32, 16, 1, 1],
        "a/deep.w": [32, 1, 3, 3],
        "a/squeeze.w": [16, 32, 1, 1],
        "a/excite.w": [32, 16, 1, 1],
        "a/out.w": [16, 32, 1, 1],
        "last.w": [5, 16, 3, 3],  # what leaves keeps its shape
    }
    groups = [a.i for node in made.model.proto.graph.node for a in node.attribute if a.name == "group" and a.i > 1]
    assert groups == [32]
    assert made.sites == {"channels": 3}


@pytest.mark.parametrize(
    "reader",
    ["output", "concat", "softmax", "shape", "channel constant", "two channels", "shared weight", "grouped", "mean"],
)
def test_what_mixes_channels_keeps_them(reader):
    g = Sketch()
    g.conv("x", "a", 3, 8)
    g.conv("a", "y", 8, 4)
    outputs = ["y"]
    if reader == "output":
        outputs.append("a")
    elif reader == "concat":
        outputs.append(g.add("Concat", ["a", "a"], "other", axis=1))
    elif reader == "softmax":
        outputs.append(g.add("Softmax", ["a"], "other", axis=1))
    elif reader == "shape":
        g.add("Shape", ["a"], "shape")
        outputs.append(g.add("Cast", ["shape"], "other", to=1))
    elif reader == "channel constant":
        g.add("Mul", ["a", g.put("c", g.rng.standard_normal((8, 1, 1)))], "scaled")
        g.add("Relu", ["scaled"], "t")  # a reader of its own, or the scale is folded when the model is loaded
        g.add("Sigmoid", ["scaled"], "u")
        outputs += ["t", "u"]
        g.conv("a", "z", 8, 4)
        outputs.append("z")
    elif reader == "two channels":
        g.conv("x", "b", 3, 1)
        g.add("Mul", ["a", "b"], "product")
        outputs.append(g.conv("product", "other", 8, 4))
    elif reader == "shared weight":
        outputs.append(g.add("Conv", ["x", "a.w"], "other", kernel_shape=[3, 3]))
    elif reader == "grouped":
        outputs.append(g.conv("a", "other", 8, 4, group=2))
    else:
        outputs.append(g.add("ReduceMean", ["a"], "other", axes=[1, 2, 3]))
    assert not same(model(g, IMAGE, outputs), ["channels"]).sites


def test_whole_blocks_and_tiny_ones_are_left():
    g = Sketch()
    g.conv("x", "a", 3, 16)
    g.conv("a", "b", 16, 1)
    g.conv("b", "y", 1, 4)
    assert not rewritten(model(g, IMAGE), ["channels"]).sites


def test_a_body_that_reads_it():
    g = Sketch()
    g.conv("x", "a", 3, 8)
    g.conv("a", "y", 8, 4)
    inner = helper.make_node("Exp", ["a"], ["inner"], name="inner")
    out = helper.make_tensor_value_info("inner", 1, None)
    body = helper.make_graph([inner], "body", [], [out])
    g.put("yes", True, np.bool_)
    g.add("If", ["yes"], "other", then_branch=body, else_branch=body)
    assert not rewritten(model(g, IMAGE, ("y", "other")), ["channels"]).sites


def test_large_weights_become_stubs_and_small_ones_stay_whole():
    g = Sketch()
    g.conv("x", "a", 3, 9)  # 972 bytes, inline; 1728 bytes with 16 channels
    g.conv("a", "y", 9, 4)
    made = same(model(g, IMAGE), ["channels"]).model
    assert made.weights["a.w"].shape == (16, 3, 3, 3)
    assert made.weights["y.w"].shape == (4, 16, 3, 3)
