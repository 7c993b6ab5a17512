"""Constant factors moved up into weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from autoquant.tuner.graph.rewrite.registry import rewritten

from tests.tuner.graph.rewrite.making import model, same, types
from tests.zoo import Sketch

TOKENS = {"x": [2, 5, 8]}


def heads(g: Sketch, name: str, perm: list[int]) -> str:
    g.linear("x", name, 8, 8)
    g.add("Reshape", [name, g.put(f"{name}/shape", [0, 0, 2, 4], np.int64)], f"{name}/split")
    return g.add("Transpose", [f"{name}/split"], f"{name}/heads", perm=perm)


def scores(g: Sketch, factor: str = "after") -> str:
    q, k = heads(g, "q", [0, 2, 1, 3]), heads(g, "k", [0, 2, 3, 1])
    if factor == "before":
        q = g.add("Mul", [q, g.put("factor", 0.5)], "q/scaled by half")
    g.add("MatMul", [q, k], "qk")
    if factor == "before":
        return "qk"
    return g.add("Div", ["qk", g.put("root", math.sqrt(4.2))], "scores")


@pytest.mark.parametrize("factor", ["after", "before"])
def test_the_scores_of_attention(factor):
    g = Sketch()
    g.add("Softmax", [scores(g, factor)], "y", axis=-1)
    made = same(model(g, TOKENS), ["attention"])
    kinds = types(made.model)
    assert kinds["Div"] == kinds["Mul"] == 0
    assert made.sites == {"attention": 1}
    assert ("qk" in made.derived) is False
    assert {image.source for image in made.derived.values()} >= {"q", "q.mm", "q/split"}


def test_the_other_operand_where_the_first_is_shared():
    g = Sketch()
    g.add("Softmax", [scores(g)], "y", axis=-1)
    made = same(model(g, TOKENS, ("y", "q/heads")), ["attention"])
    assert {image.source for image in made.derived.values()} == {"k", "k.mm", "k/split", "k/heads"}


@pytest.mark.parametrize("kept", ["qk", "both heads", "both biases", "shared weight"])
def test_left_as_it_is(kept):
    g = Sketch()
    g.add("Softmax", [scores(g)], "y", axis=-1)
    outputs = ["y"]
    if kept == "qk":
        outputs.append("qk")
    elif kept == "both heads":
        outputs += ["q/heads", "k/heads"]
    elif kept == "both biases":
        outputs += [g.add("Add", ["x", f"{side}.b"], f"{side}/other") for side in "qk"]
    else:
        outputs += [g.add("MatMul", ["x", f"{side}.w"], f"{side}/other") for side in "qk"]
    assert not rewritten(model(g, TOKENS, outputs), ["attention"]).sites


def test_two_factors_in_a_row():
    g = Sketch()
    g.linear("x", "a", 8, 4)
    g.add("Mul", ["a", g.put("one", [3.0])], "b")
    g.add("Mul", [g.put("two", -0.25), "b"], "y")
    made = same(model(g, TOKENS), ["attention"])
    assert types(made.model) == {"MatMul": 1, "Add": 1}
    assert [image.factor for image in made.derived.values() if image.source == "a.mm"] == [-0.75]


@pytest.mark.parametrize("op_type", ["Gemm", "Gemm without bias"])
def test_gemm(op_type):
    g = Sketch()
    bias = [] if "without" in op_type else [g.bias("c", 4)]
    g.add("Gemm", ["x", g.weight("w", 8, 4), *bias], "a", alpha=0.7, beta=0.5)
    g.add("Div", ["a", g.put("three", 3.0)], "y")
    assert types(same(model(g, {"x": [3, 8]}), ["attention"]).model) == {"Gemm": 1}


def test_a_square_is_no_way_up():
    g = Sketch()
    g.linear("x", "a", 8, 5)
    g.add("MatMul", ["a", "a"], "square")
    g.add("Mul", ["square", g.put("half", 0.5)], "y")
    assert not rewritten(model(g, TOKENS), ["attention"]).sites


def test_a_bias_that_is_computed_is_no_way_up():
    g = Sketch()
    g.add("Gemm", ["x", g.weight("w", 8, 4), "z"], "a")
    g.add("Mul", ["a", g.put("half", 0.5)], "y")
    assert not rewritten(model(g, {"x": [3, 8], "z": [3, 4]}), ["attention"]).sites
