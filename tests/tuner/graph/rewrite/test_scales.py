"""Constant scales and shifts folded into the layers that read them."""

from __future__ import annotations

import pytest
from autoquant.tuner.graph.rewrite.registry import rewritten
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuner.graph.rewrite.making import model, same, types
from tests.zoo import Sketch

IMAGE = {"x": [2, 4, 5, 6]}


def affine(g: Sketch, x: str, output: str, a: float = 0.3, b: float = -1.5) -> str:
    g.add("Mul", [g.put(f"{output}/a", [a]), x], f"{output}/scaled")
    return g.add("Add", [f"{output}/scaled", g.put(f"{output}/b", [b])], output)


@settings(max_examples=15, deadline=None)
@given(
    a=st.floats(-3.0, 3.0).filter(lambda a: abs(a) > 0.05),
    b=st.floats(-3.0, 3.0),
    group=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
)
def test_an_unpadded_conv_takes_both(a, b, group, bias):
    g = Sketch()
    g.conv(affine(g, "x", "t", a, b), "y", 4, 4, group=group, pads=[0] * 4)
    if not bias:
        del g.nodes[-1].input[2:]
    assert types(same(model(g, IMAGE), ["scales"]).model) == {"Conv": 1}


def test_a_padded_conv_takes_the_scale_and_leaves_the_shift():
    g = Sketch()
    g.conv(affine(g, "x", "t"), "y", 4, 4)
    made = same(model(g, IMAGE), ["scales"])
    assert types(made.model) == {"Conv": 1, "Add": 1}
    assert made.derived["t/shifted"].source == "t"


def test_a_padded_conv_takes_a_scale_alone():
    g = Sketch()
    g.add("Div", ["x", g.put("255", 255.0)], "t")
    g.conv("t", "y", 4, 4)
    assert types(same(model(g, IMAGE), ["scales"]).model) == {"Conv": 1}


@pytest.mark.parametrize("bias", [True, False])
def test_matmul(bias):
    g = Sketch()
    affine(g, "x", "t")
    if bias:
        g.linear("t", "y", 4, 5)
    else:
        g.add("MatMul", ["t", g.weight("w", 4, 5)], "y")
    made = same(model(g), ["scales"])
    assert types(made.model) == {"MatMul": 1, "Add": 1}  # without a bias the shift stays
    assert bool(made.derived) != bias


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_gemm(transposed, bias):
    g = Sketch()
    affine(g, "x", "t")
    g.put("w", g.rng.standard_normal((5, 4) if transposed else (4, 5)))
    g.add("Gemm", ["t", "w", *([g.bias("c", 5)] if bias else [])], "y", transB=transposed, beta=0.5)
    assert types(same(model(g, {"x": [3, 4]}), ["scales"]).model) == {"Gemm": 1}


def test_several_layers_that_read_the_same():
    g = Sketch()
    affine(g, "x", "t")
    g.conv("t", "y", 4, 3, pads=[0] * 4)
    g.conv("t", "z", 4, 5, kernel=1)
    assert types(same(model(g, IMAGE, ("y", "z")), ["scales"]).model) == {"Conv": 2}


@pytest.mark.parametrize("why", ["reader", "output", "shared weight", "middle"])
def test_left_as_it_is(why):
    g = Sketch()
    affine(g, "x", "t")
    g.conv("t", "y", 4, 4)
    outputs = ["y"]
    if why == "reader":
        outputs.append(g.add("Exp", ["t"], "other"))
    elif why == "output":
        outputs.append("t")
    elif why == "middle":
        outputs.append("t/scaled")
    else:
        outputs.append(g.add("Conv", ["x", "y.w"], "other", kernel_shape=[3, 3]))
    assert not rewritten(model(g, IMAGE, outputs), ["scales"]).sites


def test_one_and_zero_are_dropped():
    g = Sketch()
    g.add("Mul", ["x", g.put("one", [1.0])], "a")
    g.add("Sub", ["a", g.put("zero", 0.0)], "b")
    g.add("Sigmoid", ["b"], "c")
    g.add("Div", ["c", g.put("unit", [1.0])], "y")
    made = same(model(g), ["scales"])
    assert types(made.model) == {"Sigmoid": 1, "Div": 1}  # the output keeps its name


def test_one_that_broadcasts_stays():
    g = Sketch()
    g.add("Mul", ["x", g.put("one", [[[[1.0]]]])], "a")
    g.add("Sigmoid", ["a"], "y")
    assert not rewritten(model(g), ["scales"]).sites


def test_weights_of_the_original_are_not_touched():
    g = Sketch()
    g.conv(affine(g, "x", "t"), "y", 4, 64)
    made = model(g, IMAGE)
    before = {name: array.copy() for name, array in made.weights.items()}
    proto = made.proto.SerializeToString(deterministic=True)
    assert before
    assert rewritten(made, ["scales"]).sites
    assert proto == made.proto.SerializeToString(deterministic=True)
    assert all((made.weights[name] == array).all() for name, array in before.items())
