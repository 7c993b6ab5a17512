"""LayerNormalization from its parts."""

from __future__ import annotations

import pytest
from autoquant.tuner.graph.rewrite.registry import rewritten

from tests.tuner.graph.rewrite.making import model, same, types
from tests.zoo import Sketch


def parts(
    g: Sketch, *, square: str = "pow", twice: bool = False, gamma: bool = True, beta: bool = True, axes=(-1,)
) -> None:
    g.add("ReduceMean", ["x"], "mean", axes=list(axes))
    g.add("Sub", ["x", "mean"], "centred")
    g.add("Sub", ["x", "mean"], "again") if twice else None
    if square == "pow":
        g.add("Pow", ["again" if twice else "centred", g.put("two", 2.0)], "square")
    else:
        g.add("Mul", ["centred", "centred"], "square")
    g.add("ReduceMean", ["square"], "variance", axes=list(axes))
    g.add("Add", ["variance", g.put("epsilon", 1e-5)], "shifted")
    g.add("Sqrt", ["shifted"], "deviation")
    last = g.add("Div", ["centred", "deviation"], "normal" if gamma or beta else "y")
    size = [3, 4][-len(axes) :]
    if gamma:
        last = g.add("Mul", [g.put("gamma", g.rng.standard_normal(size)), last], "scaled" if beta else "y")
    if beta:
        g.add("Add", [last, g.put("beta", g.rng.standard_normal(size))], "y")


@pytest.mark.parametrize("square", ["pow", "mul"])
@pytest.mark.parametrize(("gamma", "beta"), [(True, True), (True, False), (False, True), (False, False)])
def test_forms(square, gamma, beta):
    g = Sketch()
    parts(g, square=square, gamma=gamma, beta=beta)
    assert types(same(model(g), ["layernorm"]).model) == {"LayerNormalization": 1}


@pytest.mark.parametrize("axes", [(-1,), (2,), (1, 2), (-1, -2)])
def test_axes(axes):
    g = Sketch()
    parts(g, axes=axes)
    assert types(same(model(g), ["layernorm"]).model) == {"LayerNormalization": 1}


def test_two_subtractions():
    g = Sketch()
    parts(g, twice=True)
    assert types(same(model(g), ["layernorm"]).model) == {"LayerNormalization": 1}


def test_axes_as_an_input():
    g = Sketch()
    parts(g)
    axes = g.put("axes", [-1], dtype="int64")
    for node in g.nodes:
        if node.op_type == "ReduceMean":
            del node.attribute[:]
            node.input.append(axes)
    assert types(same(model(g, opset=18), ["layernorm"]).model) == {"LayerNormalization": 1}


def test_an_older_opset_is_raised_where_nothing_changed_on_the_way():
    g = Sketch()
    parts(g, square="mul")
    before = model(g, opset=13)
    made = same(before, ["layernorm"])
    assert (before.opset, made.model.opset) == (13, 17)
    g.add("BatchNormalization", ["y", *(g.put(n, [1.0, 1.0, 1.0]) for n in "abcd")], "z")
    other = model(g, outputs=("z",), opset=13)  # BatchNormalization is another since opset 14
    assert not rewritten(other, ["layernorm"]).sites


@pytest.mark.parametrize("axes", [(1,), (0, 2)])
def test_other_axes_are_left(axes):
    g = Sketch()
    parts(g, gamma=False, beta=False, axes=axes)
    assert not rewritten(model(g), ["layernorm"]).sites


@pytest.mark.parametrize("kept", ["mean", "centred", "variance", "deviation"])
def test_what_others_read_stays(kept):
    g = Sketch()
    parts(g)
    assert not rewritten(model(g, outputs=("y", kept)), ["layernorm"]).sites


def test_gamma_of_one_value_per_row_is_no_gamma():
    g = Sketch()
    parts(g, gamma=False, beta=False)
    g.nodes[-1].output[0] = "normal"
    g.add("Mul", ["normal", g.put("rows", [[1.0], [2.0], [3.0]])], "y")
    assert types(same(model(g), ["layernorm"]).model) == {"LayerNormalization": 1, "Mul": 1}


def test_an_unknown_rank_is_left():
    g = Sketch()
    g.add("Reshape", ["z", "shape"], "x")
    parts(g)
    made = model(g, {"z": [24], "shape": ["R"]})
    made.proto.graph.input[1].type.tensor_type.elem_type = 7
    assert not rewritten(made, ["layernorm"]).sites
