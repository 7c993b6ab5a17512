"""A graph in pieces against the same graph in one."""

from functools import partial

import numpy as np
import onnx
import pytest
from autoquant.evaluators.session import open_session
from autoquant.tuner.calibration.collect import with_outputs
from autoquant.tuner.quantization.stages import stages

from tests import zoo
from tests.tuner.quantization.building import zoo_case

# float layers between Q/DQ pairs stay float in both
open_float = partial(open_session, threads=1, disabled_optimizers=["WeightBiasQuantization"])


@pytest.mark.parametrize("name", sorted(set(zoo.ALL) - {"nothing_net"}))
@pytest.mark.parametrize("simulated", [False, True])
def test_pieces_find_what_the_whole_does(name, simulated):
    made = zoo_case(name)
    candidate = made.builder.build(made.recipe("int8", "int8"), simulate=True)
    if simulated:
        proto, weights = candidate.proto, candidate.weights
        written = {node.name: node.output[0] for node in proto.graph.node}
        stops = [written[layer.name] for layer in made.analysis.layers]
    else:
        proto, weights = made.model.proto, made.model.weights
        stops = [proto.graph.node[layer.node].output[0] for layer in made.analysis.layers]
    whole = open_float(with_outputs(proto, stops), weights=weights)
    exact = [dict(zip(stops, whole.run(stops, dict(feed)), strict=True)) for feed in made.feeds]
    met = []
    for tensor, values in stages(proto, weights, stops[::-1], made.feeds, open_float):
        met.append(tensor)
        for value, expected in zip(values, exact, strict=True):
            np.testing.assert_allclose(value, expected[tensor], rtol=1e-4, atol=1e-4)
    assert met == stops  # in the graph's order


def test_what_is_changed_is_what_the_rest_reads():
    nodes = [
        onnx.helper.make_node("Relu", ["x"], ["a"], name="one"),
        onnx.helper.make_node("Split", ["a"], ["b", "c"], name="two", axis=1, num_outputs=2),
        onnx.helper.make_node("Add", ["b", "a2"], ["d"], name="three"),
        onnx.helper.make_node("Mul", ["d", "c"], ["y"], name="four"),
    ]
    given = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", s]) for n, s in (("x", 4), ("a2", 2))]
    out = [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 2])]
    graph = onnx.helper.make_graph(nodes, "g", given, out)
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    x = np.array([[1, -2, 3, 4]], np.float32)
    feeds = [{"x": x, "a2": np.full((1, 2), 10, np.float32)}, {"x": 2 * x, "a2": np.zeros((1, 2), np.float32)}]
    found = {}
    for tensor, values in stages(proto, {}, ["a", "b", "c", "y"], feeds, open_session):
        found[tensor] = [value.copy() for value in values]
        if tensor in ("a", "c"):
            for value in values:
                value += 1.0
    np.testing.assert_array_equal(found["b"][0], [[2, 1]])
    np.testing.assert_array_equal(found["y"][0], [[12 * 5, 11 * 6]])
    np.testing.assert_array_equal(found["y"][1], [[3 * 8, 1 * 10]])
