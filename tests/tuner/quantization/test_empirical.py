"""Empirical bias correction, against numpy on a net of two layers, and what holds of any net."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import pytest
from autoquant.errors import CalibrationError
from autoquant.evaluators.session import open_session
from autoquant.strategies.words import BIAS, LAYER, ROUNDING, WEIGHT_GRANULARITY
from autoquant.tuner.calibration.collect import with_outputs
from autoquant.tuner.graph.serialize import inline
from autoquant.tuner.quantization import passes
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.passes import Passes
from autoquant.tuner.quantization.results import Kept, Wanted
from autoquant.tuner.targets.profiles import get
from onnx import TensorProto, helper, numpy_helper

from tests.tuner.quantization.building import Case, case, differences, distance, zoo_case

EMPIRICAL = {BIAS: "empirical"}
NETS = ["conv_net", "transformer", "hardswish_net", "shared_weight_net", "two_input_net"]


open_float = partial(open_session, threads=1, disabled_optimizers=["WeightBiasQuantization"])


def corrected(made: Case, target: str = "cpu", **passes) -> Builder:
    source = Passes(lambda: made.feeds, open_float, len(made.feeds), **passes)
    return Builder(made.model, made.analysis, made.ranges, get(target), source)


def two_layers() -> onnx.ModelProto:
    """x·A + a, Relu, ·B + b, Relu: inputs and weights that leave per-tensor rounding something to shift."""
    rng = np.random.default_rng(0)
    a = (rng.standard_normal((12, 16)) * np.logspace(-2, 0, 16)).astype(np.float32)
    b = (rng.standard_normal((16, 6)) * np.logspace(-2, 0, 6)).astype(np.float32)
    constants = {"A": a, "a": rng.standard_normal(16), "B": b, "b": rng.standard_normal(6)}
    nodes = [
        helper.make_node("Gemm", ["x", "A", "a"], ["u"], name="first"),
        helper.make_node("Relu", ["u"], ["v"], name="relu"),
        helper.make_node("Gemm", ["v", "B", "b"], ["w"], name="second"),
        helper.make_node("Relu", ["w"], ["y"], name="relu2"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_two_layers_against_numpy(tmp_path):
    made = case(two_layers(), tmp_path)
    made.feeds[:] = [{"x": np.random.default_rng(i).random((5, 12), np.float32) ** 3} for i in range(6)]
    recipe = made.recipe(weight_granularity="per_tensor")
    plain = corrected(made).build(recipe)
    found = corrected(made).build(recipe.replace(EMPIRICAL), simulate=True)

    def fake(values, tensor):
        q = plain.quantization[tensor]
        limits = np.iinfo(q.dtype)
        return (np.clip(np.rint(values / q.scale) + int(q.zero_point), limits.min, limits.max) - q.zero_point) * q.scale

    value = {t.name: numpy_helper.to_array(t) for t in inline(made.model.proto, made.model.weights).graph.initializer}
    x = np.concatenate([feed["x"] for feed in made.feeds]).astype(np.float64)
    u = x @ value["A"] + value["a"]
    w = np.maximum(u, 0) @ value["B"] + value["b"]
    u_off = (fake(x, "x") @ fake(value["A"], "A") + value["a"]).mean(0) - u.mean(0)
    a = value["a"] - u_off
    v = fake(np.maximum(fake(x, "x") @ fake(value["A"], "A") + a, 0), "v")  # the first layer corrected already
    w_off = (v @ fake(value["B"], "B") + value["b"]).mean(0) - w.mean(0)
    assert np.abs(u_off).max() > 1e-3
    assert np.abs(w_off).max() > 1e-3
    whole = {t.name: numpy_helper.to_array(t) for t in inline(found.proto, found.weights).graph.initializer}
    biases = {node.name: whole[node.input[2]] for node in found.proto.graph.node if node.op_type == "Gemm"}
    np.testing.assert_allclose(biases["first"], a, atol=2e-5)
    np.testing.assert_allclose(biases["second"], value["b"] - w_off, atol=2e-4)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(
    ("target", "layers", "glue"),
    [
        ("cpu", "int8", "fp32"),
        ("cpu", "int8", "int8"),
        ("qnn", "int16", "fp32"),
        ("cpu", "weight8", "fp32"),
        ("cpu", "int4", "fp32"),
    ],
)
def test_the_mean_of_every_output_comes_back(name, target, layers, glue):
    made = zoo_case(name)
    builder = corrected(made, target)
    recipe = made.recipe(layers, glue, weight_granularity="per_tensor")
    nodes = made.model.proto.graph.node
    ends = {layer.name: nodes[layer.node] for layer in made.analysis.layers if layer.op_type in ("Conv", "Gemm")}
    ends |= {layer.name: nodes[place] for place, (layer, _) in builder.bias_adds.items()}
    exact = means(made, made.model.proto, made.model.weights, [end.output[0] for end in ends.values()])
    off = {}
    for chosen in ("off", "empirical"):
        built = builder.build(recipe.replace({BIAS: chosen}), simulate=True)
        names = {node.name: node.output[0] for node in built.proto.graph.node}
        of = {name: names[name if end.op_type in ("Conv", "Gemm") else end.name] for name, end in ends.items()}
        found = means(made, built.proto, built.weights, [*of.values()])
        off[chosen] = max(
            (np.abs(found[of[name]] - exact[end.output[0]]).max() for name, end in ends.items()), default=0
        )
    assert off["empirical"] <= 0.02 * off["off"]


def means(made: Case, proto, weights, names):
    session = open_float(with_outputs(proto, names), weights=weights)
    found = [session.run(names, dict(feed)) for feed in made.feeds]
    return {name: np.hstack([_channels(run[i]) for run in found]).mean(axis=1) for i, name in enumerate(names)}


def _channels(values):
    axis = 1 if values.ndim == 4 else values.ndim - 1
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("seed", range(3))
def test_any_recipe_runs_as_built_and_is_rebuilt_bit_for_bit(name, seed):
    made = zoo_case(name)
    recipe = made.random_recipe(seed).replace(EMPIRICAL | ({ROUNDING: "gptq"} if seed else {}))
    first = corrected(made).build(recipe)
    assert not differences(made, first)
    again = corrected(made).build(recipe)
    assert first.skeleton() == again.skeleton()
    assert all((again.weights[key] == values).all() for key, values in first.weights.items())
    plain = distance(made.float_outputs(), made.outputs(corrected(made).build(recipe.replace({BIAS: "on"}))))
    assert distance(made.float_outputs(), made.outputs(first)) < 1.2 * plain


@pytest.mark.parametrize("target", ["cpu", "tensorrt", "cuda"])
def test_every_target_has_it(target):
    made = zoo_case("conv_net")
    recipe = made.recipe(activation_symmetry="symmetric").replace(EMPIRICAL)
    candidate = corrected(made, target).build(recipe)
    assert distance(made.float_outputs(), made.outputs(candidate)) < 0.02


class Watched(Passes):
    """Remembers what was asked for."""

    def __init__(self, made: Case) -> None:
        super().__init__(lambda: made.feeds, open_float, len(made.feeds))
        self.keys: list[str] = []

    def get(self, wanted: Wanted) -> Kept:
        self.keys.append(wanted.key)
        return super().get(wanted)


def test_a_result_is_of_one_recipe_and_asked_for_once():
    made = zoo_case("conv_net")
    source = Watched(made)
    builder = Builder(made.model, made.analysis, made.ranges, made.builder.target, source)
    recipe = made.recipe().replace(EMPIRICAL)
    builder.build(recipe)
    builder.build(recipe)
    builder.build(recipe, simulate=True)  # what is simulated somewhere is delivered elsewhere
    assert len(source.keys) == 1
    last = made.analysis.layers[-1].group
    for change in ({WEIGHT_GRANULARITY: "per_tensor"}, {LAYER + last: "fp32"}, {"activation/calibrator": "mse"}):
        builder.build(recipe.replace(change))
    assert len(set(source.keys)) == len(source.keys) == 4


def test_large_tensors_take_fewer_samples_and_what_a_chain_takes_is_not_its_cost(monkeypatch):
    made = zoo_case("conv_net")
    drawn = []
    monkeypatch.setattr(passes, "draw", lambda feeds, _inputs, _samples, count, _seed: drawn.append(count) or [*feeds])
    for held in (1 << 30, 1 << 18, 1):
        monkeypatch.setattr(passes, "HELD_BYTES", held)
        source = Watched(made)
        builder = Builder(made.model, made.analysis, made.ranges, made.builder.target, source)
        builder.build(made.recipe().replace(EMPIRICAL | {ROUNDING: "gptq"}))
        assert sum(source.costs.values()) == pytest.approx(source.seconds, rel=1e-6)
    assert drawn[0] == passes.FEW > drawn[1] > drawn[2] == passes.FEWEST


def test_float_layers_take_no_samples_and_others_say_so():
    made = zoo_case("conv_net")
    floats = {name: "fp32" for name in made.recipe() if name.startswith(LAYER)}
    made.builder.build(made.recipe().replace({**EMPIRICAL, **floats}))
    with pytest.raises(CalibrationError, match="by calibration samples") as caught:
        made.builder.build(made.recipe().replace(EMPIRICAL))
    assert len(str(caught.value).splitlines()) == 2
