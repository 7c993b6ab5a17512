"""Activations as table lookups."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from autoquant.tuner.quantization.kernels import optimized
from autoquant.tuner.quantization.lookups import hard_sigmoid
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from tests.tuner.quantization.building import distance, zoo_case


@given(alpha=st.floats(0.05, 1.0), values=st.lists(st.floats(-40.0, 40.0), min_size=1, max_size=50))
def test_integers_stand_for_the_function(alpha, values):
    found = hard_sigmoid(helper.make_node("HardSigmoid", ["x"], ["y"], alpha=alpha, beta=0.5))
    x = np.asarray(values, np.float32)
    integers = np.clip(np.rint(x / found.written.scale) + int(found.written.zero_point), 0, 255)
    y = (integers - int(found.read.zero_point)) * found.read.scale
    exact = np.clip(alpha * x.astype(np.float64) + 0.5, 0.0, 1.0)
    assert np.abs(y - exact).max() <= 1.0 / 254 + 1e-5


@pytest.mark.parametrize(("alpha", "beta"), [(-0.2, 0.5), (0.2, 0.501), (0.2, 7.0)])
def test_what_no_zero_point_expresses_stays_float(alpha, beta):
    assert hard_sigmoid(helper.make_node("HardSigmoid", ["x"], ["y"], alpha=alpha, beta=beta)) is None


def test_runs_as_a_lookup_under_default_options():
    made = zoo_case("hardswish_net")
    candidate = made.builder.build(made.recipe(glue="int8"))
    graph = optimized(candidate).graph
    assert [node.op_type for node in graph.node].count("HardSigmoid") == 1  # ONNX Runtime's own, of the HardSwish
    kernels = {node.name: node.op_type for node in graph.node}
    wanted = [glue.name for glue in made.analysis.glue if glue.op_type == "HardSigmoid"]
    assert wanted
    assert {kernels[name] for name in wanted} == {"QLinearAdd"}
    assert distance(made.float_outputs(), made.outputs(candidate)) < 2e-3


def test_simulated_it_stays_itself():
    made = zoo_case("hardswish_net")
    candidate = made.builder.build(made.recipe(glue="int8"), simulate=True)
    assert "HardSigmoid" in {node.op_type for node in candidate.proto.graph.node}
    onnx.checker.check_model(candidate.proto, full_check=False)
