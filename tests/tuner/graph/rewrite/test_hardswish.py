"""HardSwish and HardSigmoid from their parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from autoquant.tuner.graph.rewrite.registry import rewritten
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuner.graph.rewrite.making import model, random_feed, same, types
from tests.zoo import Sketch


def clipped(g: Sketch, x: str, *, swapped: bool = False, high: float = 6.0) -> str:
    three = g.put(f"{x}/3", 3.0)
    g.add("Add", [three, x] if swapped else [x, three], f"{x}/add")
    return g.add("Clip", [f"{x}/add", g.put(f"{x}/0", 0.0), g.put(f"{x}/6", high)], f"{x}/clip")


@pytest.mark.parametrize(
    ("swapped", "divides"), list(itertools.product([False, True], ["after", "before", "x", "mul"]))
)
def test_every_order(swapped, divides):
    g = Sketch()
    clip, six = clipped(g, "x", swapped=swapped), g.put("six", [6.0])
    x = "x"
    if divides == "before":
        clip = g.add("Div", [clip, six], "part")
    elif divides == "x":
        x = g.add("Div", ["x", six], "part")
    last = "y" if divides in ("before", "x") else "product"
    g.add("Mul", [clip, x] if swapped else [x, clip], last)
    if divides == "after":
        g.add("Div", ["product", six], "y")
    elif divides == "mul":
        g.add("Mul", [g.put("sixth", 1 / 6), "product"], "y")
    made = same(model(g), ["hardswish"])
    assert types(made.model) == {"HardSigmoid": 1, "Mul": 1}
    assert set(made.sites) == {"hardswish"}


@settings(max_examples=20, deadline=None)
@given(slope=st.floats(0.05, 3.0), shift=st.floats(-4.0, 4.0).filter(lambda s: abs(s) > 0.01), high=st.floats(0.1, 9.0))
def test_any_hard_sigmoid(slope, shift, high):
    g = Sketch()
    g.add("Mul", ["x", g.put("slope", slope)], "scaled")
    g.add("Add", ["scaled", g.put("shift", shift)], "shifted")
    g.add("Clip", ["shifted", g.put("low", 0.0), g.put("high", high)], "clip")
    g.add("Mul", ["clip", g.put("part", 1 / np.float32(high))], "y")
    assert types(same(model(g), ["hardswish"]).model) == {"HardSigmoid": 1}


def test_a_gate_for_another_tensor():
    g = Sketch()
    clip = clipped(g, "x")
    g.add("Mul", ["z", clip], "product")
    g.add("Div", ["product", g.put("six", 6.0)], "y")
    made = same(model(g, {"x": [2, 3, 1, 1], "z": [2, 3, 4, 4]}), ["hardswish"])
    assert types(made.model) == {"HardSigmoid": 1, "Mul": 1}
    assert made.derived["y/gate"].source == "x/clip"


def test_the_operator_itself():
    g = Sketch()
    g.add("HardSwish", ["x"], "y")
    made = same(model(g), ["hardswish"])
    assert types(made.model) == {"HardSigmoid": 1, "Mul": 1}
    image = made.derived["y/gate"]
    assert (image.source, image.low, image.high) == ("x", 0.0, 1.0)


@pytest.mark.parametrize("kept", ["x/add", "x/clip", "product"])
def test_what_others_read_stays(kept):
    g = Sketch()
    g.add("Mul", ["x", clipped(g, "x")], "product")
    g.add("Div", ["product", g.put("six", 6.0)], "y")
    g.add("Exp", [kept], "other")
    assert not rewritten(model(g, outputs=("y", "other")), ["hardswish"]).sites
    del g.nodes[-1]
    assert not rewritten(model(g, outputs=("y", kept)), ["hardswish"]).sites


@pytest.mark.parametrize(("low", "high"), [(-1.0, 6.0), (0.0, None), (0.0, 5.0)])
def test_other_bounds_are_none(low, high):
    g = Sketch()
    g.add("Add", ["x", g.put("three", 3.0)], "add")
    g.add("Clip", ["add", g.put("low", low), *([] if high is None else [g.put("high", high)])], "clip")
    g.add("Mul", ["x", "clip"], "product")
    g.add("Div", ["product", g.put("six", 6.0)], "y")
    assert not rewritten(model(g), ["hardswish"]).sites


def test_a_plain_relu6_is_left():
    g = Sketch()
    g.add("Clip", ["x", g.put("low", 0.0), g.put("high", 6.0)], "clip")
    g.add("Div", ["clip", g.put("six", 6.0)], "y")
    assert not rewritten(model(g), ["hardswish"]).sites


def test_sizes_left_open():
    g = Sketch()
    g.add("Mul", ["x", clipped(g, "x")], "product")
    g.add("Div", ["product", g.put("six", 6.0)], "y")
    made = model(g, {"x": ["N", "C"]})
    assert same(made, ["hardswish"], {"x": random_feed(made)["x"].repeat(3, 0)}).sites
