"""Signal-to-noise ratios of layers, against what numpy finds on its own."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.evaluators.session import open_session
from autoquant.strategies.words import LAYER, WEIGHT_RANGE
from autoquant.tuner.quantization.candidate import Quantization
from autoquant.tuner.quantization.errors import LayerError, measure, rounded
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests import zoo
from tests.tuner.quantization.building import Case, case, exported, zoo_case


def errors(made: Case, recipe) -> dict[str, LayerError]:
    found = measure(
        made.model,
        made.analysis,
        made.builder.build(recipe),
        made.builder.build(recipe, simulate=True),
        made.feeds,
        partial(open_session, threads=1),
    )
    return {error.layer: error for error in found}


def decibels(exact, found) -> float:
    exact, found = np.asarray(exact, float), np.asarray(found, float)
    return 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum())


def one_matmul() -> tuple[onnx.ModelProto, np.ndarray]:
    weight = np.random.default_rng(0).standard_normal((24, 5)).astype("f4") * np.logspace(-2, 0, 5, dtype="f4")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="only")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), weight


def test_a_layer_by_itself_against_numpy(tmp_path):
    proto, weight = one_matmul()
    made = case(proto, tmp_path)
    found = errors(made, made.recipe())["only"]
    x = np.concatenate([feed["x"] for feed in made.feeds])
    scale = np.abs(weight).max(0) / 127
    stands_for = np.rint(weight / scale) * scale
    read = made.builder.build(made.recipe()).quantization["x"]
    seen = (np.clip(np.rint(x / read.scale) + read.zero_point, 0, 255) - read.zero_point) * read.scale
    assert found.weight == pytest.approx(decibels(weight, stands_for), abs=0.01)
    assert found.input == pytest.approx(decibels(x, seen), abs=0.01)
    assert found.local == pytest.approx(decibels(x @ weight, seen @ stands_for), abs=0.05)
    assert found.propagated == pytest.approx(found.local, abs=0.2)


@pytest.mark.parametrize("name", sorted(set(zoo.ALL) - {"nothing_net"}))
def test_every_int8_layer_has_its_errors(name):
    made = zoo_case(name)
    found = errors(made, made.recipe())
    candidate = made.builder.build(made.recipe())
    assert list(found) == [layer for layer, precision in candidate.layers.items() if precision == "int8"]
    for layer in made.analysis.layers:
        error = found[layer.name]
        assert (error.weight is None) == (layer.weight is None)
        assert error.local is not None
        assert 5 < error.local <= 120


def test_only_what_is_int8_is_measured_and_alone_it_propagates_its_own_error():
    made = zoo_case("conv_net")
    first = made.analysis.layers[0]
    recipe = made.recipe("fp32").replace({LAYER + first.group: "int8"})
    (error,) = errors(made, recipe).values()
    assert error.layer == first.name
    # the kernel rounds its output as well
    assert error.propagated is not None
    assert error.local is not None
    assert error.propagated < error.local + 0.5


def test_a_range_of_least_error_shows_in_the_weight():
    made = zoo_case("conv_net")
    plain, clipped = (errors(made, made.recipe().replace({WEIGHT_RANGE: range_of})) for range_of in ("minmax", "mse"))
    for name, error in clipped.items():
        if error.weight is not None:
            assert error.weight >= plain[name].weight - 1e-6
    assert any(error.weight is not None and error.weight > plain[name].weight for name, error in clipped.items())


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20),
    st.sampled_from([0.01, 0.0625, 0.3, 1.0]),
    st.integers(0, 255),
)
def test_rounding_is_a_q_and_a_dq(values, scale, zero):
    made = Quantization(np.asarray(scale, "f4"), np.asarray(zero, "u1"), "uint8")
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(made.scale, "s"), numpy_helper.from_array(made.zero_point, "z")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    x = np.asarray(values, "f4")
    expected = open_session(proto.SerializeToString(), threads=1).run(None, {"x": x})[0]
    np.testing.assert_allclose(
        rounded(x, made), expected, atol=1.01 * scale * (np.abs(x / scale % 1 - 0.5) < 1e-3).max() + 1e-6
    )


def test_weights_alone_on_8_bits():
    """No input is rounded; the weight's ratio is that of its integers, against numpy."""
    proto, weight = one_matmul()
    with tempfile.TemporaryDirectory() as folder:
        made = case(proto, Path(folder))
    (error,) = errors(made, made.recipe("weight8")).values()
    scale = np.abs(weight).max(axis=0) / np.float32(127)
    stands_for = np.rint(weight / scale) * scale
    assert error.input is None
    assert error.weight == pytest.approx(decibels(weight, stands_for), abs=1e-3)
    exact = np.concatenate([feed["x"] @ weight for feed in made.feeds])
    found = np.concatenate([feed["x"] @ stands_for for feed in made.feeds])
    assert error.local == pytest.approx(decibels(exact, found), abs=1e-2)
    assert error.propagated == pytest.approx(error.local, abs=1e-2)


@pytest.mark.parametrize("precision", ["int8", "weight8"])
def test_recurrent_layers(precision: str):
    made = exported("bilstm")
    found = errors(made, made.recipe(precision))
    lstm = found["node_LSTM_0"]
    assert lstm.input is None  # its kernel rounds what it reads by itself
    assert lstm.local > 30
    assert 30 < lstm.propagated <= lstm.local + 3
