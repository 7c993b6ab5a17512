"""Reshape targets, Softmax between reshapes and means over the plane."""

from __future__ import annotations

import numpy as np
import pytest
from autoquant.tuner.graph.rewrite.registry import rewritten
from onnx import numpy_helper

from tests.tuner.graph.rewrite.making import model, random_feed, same, types
from tests.zoo import Sketch

TOKENS = {"x": ["B", "T", 12]}


def size_of(g: Sketch, x: str, axis: int, name: str) -> str:
    g.add("Shape", [x], f"{name}/shape")
    g.add("Gather", [f"{name}/shape", g.put(f"{name}/i", axis, np.int64)], f"{name}/scalar", axis=0)
    return g.add("Unsqueeze", [f"{name}/scalar", g.put(f"{name}/0", [0], np.int64)], name)


def targets(found) -> list[list[int]]:
    constants = {t.name: numpy_helper.to_array(t).tolist() for t in found.model.proto.graph.initializer}
    return [constants[node.input[1]] for node in found.model.proto.graph.node if node.op_type == "Reshape"]


def feed(b: int = 3, t: int = 5) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal((b, t, 12)).astype(np.float32)}


def test_heads():
    g = Sketch()
    numbers = [g.put("heads", [3], np.int64), g.put("width", [4], np.int64)]
    g.add("Concat", [size_of(g, "x", 0, "b"), size_of(g, "x", 1, "t"), *numbers], "target", axis=0)
    g.add("Reshape", ["x", "target"], "y")
    made = same(model(g, TOKENS), ["shapes"], feed())
    assert targets(made) == [[0, 0, 3, 4]]
    assert types(made.model) == {"Reshape": 1}


def test_the_one_other_size():
    g = Sketch()
    g.add("Transpose", ["x"], "turned", perm=[1, 0, 2])
    g.add("Concat", [size_of(g, "x", 1, "t"), size_of(g, "x", 0, "b"), g.put("n", [12], np.int64)], "target", axis=0)
    g.add("Reshape", ["turned", "target"], "middle")
    g.add("Slice", ["b/shape", g.put("s", [0], np.int64), g.put("e", [1], np.int64)], "first")
    g.add("Cast", ["first"], "small", to=6)
    g.add("Cast", ["small"], "large", to=7)
    g.add("Concat", [g.put("minus", [12], np.int64), "large", g.put("rest", [-1], np.int64)], "other", axis=0)
    g.add("Reshape", ["middle", "other"], "y")
    made = same(model(g, TOKENS), ["shapes"], feed())
    assert targets(made) == [[0, 0, 12], [12, 0, -1]]


def test_one_target_tells_the_next():
    g = Sketch()
    x = "x"
    for k in range(3):
        numbers = [g.put(f"n{k}", [4], np.int64), g.put(f"m{k}", [3], np.int64)]
        g.add("Concat", [size_of(g, x, 0, f"b{k}"), size_of(g, x, 1, f"t{k}"), *numbers], f"target{k}", axis=0)
        g.add("Reshape", [x, f"target{k}"], f"wide{k}")
        g.add("ReduceSum", [f"wide{k}", g.put(f"axis{k}", [3], np.int64)], f"sum{k}", keepdims=0)
        g.add("Concat", [f"sum{k}"] * 3, f"r{k}", axis=2)
        x = f"r{k}"
    g.add("Relu", [x], "y")
    made = same(model(g, TOKENS), ["shapes"], feed())
    assert made.sites == {"shapes": 3}


def test_allowzero_is_left():
    g = Sketch()
    g.add("Concat", [size_of(g, "x", 0, "b"), g.put("rest", [-1], np.int64)], "target", axis=0)
    g.add("Reshape", ["x", "target"], "y", allowzero=1)
    assert not rewritten(model(g, TOKENS), ["shapes"]).sites


def test_another_tensors_size_is_not_the_inputs():
    g = Sketch()
    g.add("Concat", [size_of(g, "z", 0, "a"), size_of(g, "z", 1, "b")], "target", axis=0)
    g.add("Reshape", ["x", "target"], "y")
    assert not rewritten(model(g, {"x": ["N"], "z": ["P", "Q"]}), ["shapes"]).sites


@pytest.mark.parametrize(("axis", "sites"), [(3, 1), (2, 0)])
def test_softmax(axis, sites):
    g = Sketch()
    g.add("Flatten", ["x"], "flat", axis=axis)
    g.add("Softmax", ["flat"], "soft", axis=-1)
    g.add("Shape", ["x"], "shape")
    g.add("Reshape", ["soft", "shape"], "y")
    made = model(g, {"x": ["N", 3, 4, 5]})
    found = same(made, ["softmax"])
    assert sum(found.sites.values()) == sites
    assert types(found.model).keys() == ({"Softmax"} if sites else {"Flatten", "Softmax", "Shape", "Reshape"})


def test_softmax_that_goes_elsewhere_is_left():
    g = Sketch()
    g.add("Flatten", ["x"], "flat", axis=3)
    g.add("Softmax", ["flat"], "soft", axis=-1)
    g.add("Shape", ["x"], "shape")
    g.add("Reshape", ["soft", "shape"], "y")
    assert not rewritten(model(g, {"x": ["N", 3, 4, 5]}, ("y", "soft")), ["softmax"]).sites


@pytest.mark.parametrize(
    ("axes", "keepdims", "sites"),
    [([2, 3], 1, 1), ([-1, -2], 1, 1), ([2, 3], 0, 0), ([1, 2], 1, 0), ([3], 1, 0), ([1, 2, 3], 1, 0)],
)
def test_pooling(axes, keepdims, sites):
    g = Sketch()
    g.add("ReduceMean", ["x"], "y", axes=axes, keepdims=keepdims)
    made = model(g, {"x": ["N", 3, "H", "W"]})
    found = same(made, ["pooling"], random_feed(made))
    assert types(found.model) == {"GlobalAveragePool" if sites else "ReduceMean": 1}


def test_a_layer_norm_is_no_pooling():
    g = Sketch()
    g.add("ReduceMean", ["x"], "y", axes=[2])
    assert not rewritten(model(g), ["pooling"]).sites
