"""GELU from its parts."""

from __future__ import annotations

import math

import pytest
from autoquant.tuner.graph.rewrite.registry import rewritten

from tests.tuner.graph.rewrite.making import model, same, types
from tests.zoo import Sketch


def erf_form(g: Sketch, order: str) -> None:
    half, one = g.put("half", 0.5), g.put("one", [1.0])
    if order == "reciprocal":
        g.add("Mul", [g.put("root", math.sqrt(0.5)), "x"], "arg")
    else:
        g.add("Div", ["x", g.put("root", math.sqrt(2.0))], "arg")
    g.add("Erf", ["arg"], "erf")
    g.add("Add", [one, "erf"] if order == "swapped" else ["erf", one], "sum")
    if order == "half x":
        g.add("Mul", ["x", half], "part")
        g.add("Mul", ["part", "sum"], "y")
    elif order == "half sum":
        g.add("Mul", ["sum", half], "part")
        g.add("Mul", ["x", "part"], "y")
    elif order == "divided":
        g.add("Mul", ["sum", "x"], "part")
        g.add("Div", ["part", g.put("two", 2.0)], "y")
    else:
        g.add("Mul", ["sum", "x"] if order == "swapped" else ["x", "sum"], "part")
        g.add("Mul", [half, "part"], "y")


@pytest.mark.parametrize("order", ["usual", "swapped", "reciprocal", "half x", "half sum", "divided"])
def test_erf_forms(order):
    g = Sketch()
    erf_form(g, order)
    made = same(model(g), ["gelu"])
    assert types(made.model) == {"Gelu": 1}
    assert {o.domain for o in made.model.proto.opset_import} == {"", "com.microsoft"}


@pytest.mark.parametrize("cube", ["pow", "mul", "factored"])
def test_tanh_forms(cube):
    g = Sketch()
    c, k = g.put("c", 0.044715), g.put("k", math.sqrt(2 / math.pi))
    if cube == "factored":
        g.add("Mul", ["x", "x"], "square")
        g.add("Mul", ["square", c], "scaled")
        g.add("Add", ["scaled", g.put("unit", 1.0)], "factor")
        g.add("Mul", ["x", "factor"], "sum")
    else:
        if cube == "pow":
            g.add("Pow", ["x", g.put("three", 3.0)], "cube")
        else:
            g.add("Mul", ["x", "x"], "square")
            g.add("Mul", ["square", "x"], "cube")
        g.add("Mul", [c, "cube"], "scaled")
        g.add("Add", ["x", "scaled"], "sum")
    g.add("Mul", ["sum", k], "arg")
    g.add("Tanh", ["arg"], "tanh")
    g.add("Add", ["tanh", g.put("one", 1.0)], "plus")
    g.add("Mul", ["plus", g.put("half", 0.5)], "gate")
    g.add("Mul", ["gate", "x"], "y")
    assert types(same(model(g), ["gelu"]).model) == {"FastGelu": 1}


def test_what_others_read_stays():
    g = Sketch()
    erf_form(g, "usual")
    assert not rewritten(model(g, outputs=("y", "erf")), ["gelu"]).sites
    assert not rewritten(model(g, outputs=("y", "arg")), ["gelu"]).sites


@pytest.mark.parametrize("wrong", ["root", "half", "one"])
def test_other_constants_are_none(wrong):
    g = Sketch()
    erf_form(g, "usual")
    g.initializers = [tensor for tensor in g.initializers if tensor.name != wrong]
    g.put(wrong, 0.9)
    assert not rewritten(model(g), ["gelu"]).sites


def test_a_constant_with_more_dimensions_is_left():
    g = Sketch()
    erf_form(g, "usual")
    g.initializers = [tensor for tensor in g.initializers if tensor.name != "half"]
    g.put("half", [[[[0.5]]]])
    assert not rewritten(model(g), ["gelu"]).sites


@pytest.mark.parametrize("factor", [None, 1.0, 1.702, -0.5])
@pytest.mark.parametrize("swapped", [False, True])
def test_silu(factor, swapped):
    g = Sketch()
    argument = "x" if factor is None else g.add("Mul", [g.put("a", [factor]), "x"], "scaled")
    g.add("Sigmoid", [argument], "gate")
    g.add("Mul", ["gate", "x"] if swapped else ["x", "gate"], "y")
    assert types(same(model(g), ["silu"]).model) == {"QuickGelu": 1}


@pytest.mark.parametrize("why", ["gate is read", "another tensor", "shifted", "squared"])
def test_what_is_no_silu(why):
    g = Sketch()
    argument = g.add("Add", ["x", g.put("b", 0.5)], "shifted") if why == "shifted" else "x"
    g.add("Sigmoid", [argument], "gate")
    other = {"another tensor": "z", "squared": "gate"}.get(why, "x")
    g.add("Mul", [other, "gate"], "y")
    outputs = ("y", "gate") if why == "gate is read" else ("y",)
    inputs = {"x": [2, 3], "z": [2, 3]} if why == "another tensor" else {"x": [2, 3]}
    assert not rewritten(model(g, inputs, outputs), ["silu"]).sites
