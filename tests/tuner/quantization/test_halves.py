"""Only weights or only activations rounded, against the model that is meant, written by hand."""

import numpy as np
import pytest
from autoquant.evaluators.session import open_session
from autoquant.tuner.quantization import scales
from autoquant.tuner.quantization.candidate import Candidate
from autoquant.tuner.quantization.halves import activations_only, weights_only
from onnx import numpy_helper

from tests.tuner.quantization.building import zoo_case

MODELS = ["conv_net", "transformer", "shared_weight_net", "two_input_net"]


def run(proto: bytes, weights, feed) -> list[np.ndarray]:
    session = open_session(proto, weights=weights, threads=1, disabled_optimizers=("WeightBiasQuantization",))
    return session.run(None, dict(feed))


def outputs(candidate: Candidate, feed) -> list[np.ndarray]:
    return run(candidate.skeleton(), candidate.weights, feed)


@pytest.mark.parametrize("build", MODELS)
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_weights_alone_are_the_float_model_with_rounded_weights(build: str, granularity: str) -> None:
    made = zoo_case(build)
    recipe = made.recipe(weight_granularity=granularity)
    simulated = made.builder.build(recipe, simulate=True)
    half = weights_only(simulated)
    assert not any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in half.proto.graph.node)
    weights, proto = dict(made.model.weights), type(made.model.proto)()
    proto.CopyFrom(made.model.proto)
    rounded = 0
    for layer in made.analysis.layers:
        if layer.weight is None or simulated.layers[layer.name] != "int8":
            continue
        left = layer.op_type == "MatMul" and layer.weight_input == 0
        values = made.builder.weights.value(layer.weight)
        axis = layer.weight_axis if granularity == "per_channel" and not left else None
        bits = made.builder.target.weight_bits
        near = scales.dequantize(scales.weight(values, axis=axis, symmetric=True, bits=bits, unsigned=left))
        rounded += 1
        if layer.weight in weights:
            weights[layer.weight] = near
        else:
            (tensor,) = (t for t in proto.graph.initializer if t.name == layer.weight)
            tensor.CopyFrom(numpy_helper.from_array(near, tensor.name))
    assert rounded
    for mine, theirs in zip(
        outputs(half, made.feeds[0]), run(proto.SerializeToString(), weights, made.feeds[0]), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", MODELS)
def test_activations_alone_have_the_float_weights(build: str) -> None:
    made = zoo_case(build)
    simulated = made.builder.build(made.recipe(), simulate=True)
    half = activations_only(simulated, made.builder.weights.value)
    held = {tensor.name: tensor for tensor in half.proto.graph.initializer}
    restored = [name for name in held if "/rounded" in name]
    assert restored
    for name in restored:
        original = made.builder.weights.value(name.rsplit("/rounded", 1)[0])
        stored = half.weights.get(name)
        if stored is None:
            stored = numpy_helper.to_array(held[name])
        np.testing.assert_array_equal(stored, original)
    kinds = [node.op_type for node in half.proto.graph.node]
    assert kinds == [node.op_type for node in simulated.proto.graph.node]
    assert "QuantizeLinear" in kinds


def test_together_they_are_about_the_whole() -> None:
    made = zoo_case("conv_net")
    simulated = made.builder.build(made.recipe(), simulate=True)
    feed = made.feeds[0]
    (whole,), (plain,) = outputs(simulated, feed), run(made.model.proto.SerializeToString(), made.model.weights, feed)
    (weights,) = outputs(weights_only(simulated), feed)
    (activations,) = outputs(activations_only(simulated, made.builder.weights.value), feed)
    both = (weights - plain) + (activations - plain)
    assert np.linalg.norm(both - (whole - plain)) < np.linalg.norm(whole - plain)
    assert np.abs(weights - plain).max() > 0
    assert np.abs(activations - plain).max() > 0
