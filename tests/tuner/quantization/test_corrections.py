"""Corrections in the builder, on ONNX Runtime's own kernels."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from autoquant.errors import CalibrationError
from autoquant.evaluators.session import open_session
from autoquant.strategies.words import BIAS, LAYER, ROUNDING, WEIGHT_RANGE
from autoquant.tuner.calibration.rows import Form, sample
from autoquant.tuner.graph.serialize import inline
from autoquant.tuner.quantization import halves, scales
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.candidate import Candidate
from autoquant.tuner.quantization.passes import Passes
from autoquant.tuner.quantization.results import Kept, Wanted
from autoquant.tuner.quantization.weights import Scheme
from autoquant.tuner.targets.profiles import get
from onnx import TensorProto, helper, numpy_helper

from tests import zoo
from tests.tuner.quantization.building import Case, case, differences, distance, zoo_case

NETS = ["conv_net", "transformer", "hardswish_net", "shared_weight_net", "two_input_net"]
GROWN = {"correction_rounding": "gptq"}
GPTQ, BIASED, CLIPPED = {ROUNDING: "gptq"}, {BIAS: "on"}, {WEIGHT_RANGE: "mse"}


def corrected(made: Case, **passes) -> Builder:
    source = Passes(lambda: made.feeds, open_session, len(made.feeds), **passes)
    return Builder(made.model, made.analysis, made.ranges, made.builder.target, source)


def weights_only(made: Case, builder: Builder, **recipe: str) -> float:
    """Distance from float with nothing but the weights rounded."""
    chosen = {name.replace("_", "/", 1): value for name, value in recipe.items()}
    candidate = halves.weights_only(builder.build(made.recipe().replace(chosen), simulate=True))
    return distance(made.float_outputs(), made.outputs(candidate, ["WeightBiasQuantization"]))


def constants(candidate: Candidate) -> dict[str, np.ndarray]:
    whole = inline(candidate.proto, candidate.weights)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in whole.graph.initializer}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("chosen", [GPTQ, BIASED, CLIPPED, GPTQ | BIASED | CLIPPED], ids=["gptq", "bias", "mse", "all"])
def test_every_layer_still_runs_on_integers(name, granularity, chosen):
    made = zoo_case(name)
    recipe = made.recipe(weight_granularity=granularity).replace(chosen)
    candidate = corrected(made).build(recipe)
    assert candidate.layers == made.builder.build(recipe.replace({ROUNDING: "nearest", BIAS: "off"})).layers
    assert not differences(made, candidate)
    assert candidate.notes == ()
    assert distance(made.float_outputs(), made.outputs(candidate)) < 0.05


@pytest.mark.parametrize("name", ["conv_net", "transformer"])
def test_scales_stay_what_they_are(name):
    made = zoo_case(name)
    builder = corrected(made)
    plain, better = builder.build(made.recipe()), builder.build(made.recipe().replace(GPTQ))
    assert plain.quantization.keys() == better.quantization.keys()
    for tensor, before in plain.quantization.items():
        np.testing.assert_array_equal(before.scale, better.quantization[tensor].scale)
        np.testing.assert_array_equal(before.zero_point, better.quantization[tensor].zero_point)
    before, after = constants(plain), constants(better)
    moved = [key for key in before if key.endswith("/q") and (before[key] != after[key]).any()]
    assert moved
    assert all(abs(before[key].astype(int) - after[key]).max() <= 3 for key in moved)


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("bits", [8, 7])
def test_integers_stay_on_the_grid(asymmetric, bits):
    made = zoo_case("transformer")
    builder = corrected(made)
    for layer in made.analysis.layers:
        if layer.weight is None or builder.corrections.refusal(layer):
            continue
        scheme = Scheme(layer.weight_axis, not asymmetric, bits)
        found, _ = builder.corrections.rounded(layer, scheme)
        low, high = scheme.limits
        assert (found.values >= low).all()
        assert (found.values <= high).all()
        near = builder.weights.of(layer.weight, scheme)
        assert near.scale is found.scale
        np.testing.assert_allclose(scales.dequantize(found), builder.weights.value(layer.weight), atol=0.2)


def mean_shift(made: Case, before: list[list[np.ndarray]], after: list[list[np.ndarray]]) -> np.ndarray:
    """Change of the mean of the first output, per channel (a Conv's axis 1, else the last)."""
    whole = [np.concatenate([np.asarray(feed[0], np.float64) for feed in outputs]) for outputs in (before, after)]
    axes = tuple(i for i in range(whole[0].ndim) if i != (1 if whole[0].ndim == 4 else whole[0].ndim - 1))
    return np.abs(whole[1].mean(axis=axes) - whole[0].mean(axis=axes))


def single(kind: str, bias: bool) -> onnx.ModelProto:
    """One layer alone, its input far from zero, with few bits of precision in its weight's small half."""
    rng = np.random.default_rng(3)
    dims = {"Conv": (6, 2, 3, 3), "Gemm": (8, 6), "GemmT": (6, 8), "MatMul": (8, 6)}[kind]
    weight = rng.standard_normal(dims).astype(np.float32)
    inputs, constants_of = ["x", "w"], [numpy_helper.from_array(weight, "w")]
    if bias:
        constants_of.append(numpy_helper.from_array(rng.standard_normal(6).astype(np.float32), "b"))
    shape = ["n", 4, 7, 6] if kind == "Conv" else ["n", 5, 8] if kind == "MatMul" else ["n", 8]
    attributes = {"Conv": {"pads": [2, 1, 0, 1], "strides": [2, 1], "group": 2}, "GemmT": {"transB": 1}}.get(kind, {})
    if kind == "MatMul":
        nodes = [helper.make_node("MatMul", inputs, ["m" if bias else "y"], name="layer")]
        nodes += [helper.make_node("Add", ["m", "b"], ["y"], name="add")] if bias else []
    else:
        op_type = kind.removesuffix("T")
        nodes = [helper.make_node(op_type, inputs + ["b"] * bias, ["y"], name="layer", **attributes)]
    graph = helper.make_graph(
        nodes,
        "single",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants_of,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kind", ["Conv", "Gemm", "GemmT", "MatMul"])
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_gptq_changes_the_output_less_than_rounding_to_nearest(kind, granularity, tmp_path):
    made = case(single(kind, bias=True), tmp_path)
    for feed in made.feeds:  # inputs that go together
        feed["x"] = (feed["x"] * 0.3 + feed["x"].mean(axis=1, keepdims=True) * 3).astype(np.float32)
    builder = corrected(made)
    chosen = {"weight_granularity": granularity}
    assert weights_only(made, builder, **chosen, **GPTQ) < 0.9 * weights_only(made, builder, **chosen)


@pytest.mark.parametrize("kind", ["Conv", "Gemm", "GemmT", "MatMul"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_mean_of_a_layer_s_output_comes_back_exactly(kind, bias, tmp_path):
    made = case(single(kind, bias), tmp_path)
    made.feeds[:] = [{"x": np.abs(feed["x"]) + 2.0} for feed in made.feeds]
    builder = corrected(made)
    shifts = []
    for chosen in ({}, BIASED):
        recipe = made.recipe(weight_granularity="per_tensor").replace(chosen)
        candidate = halves.weights_only(builder.build(recipe, simulate=True))
        found = made.outputs(candidate, ["WeightBiasQuantization"])
        shifts.append(mean_shift(made, made.float_outputs(), found))
    if kind == "MatMul" and not bias:  # no kernel takes a bias there
        np.testing.assert_array_equal(shifts[0], shifts[1])
        return
    assert shifts[0].max() > 1e-3
    assert shifts[1].max() < 1e-4


@pytest.mark.parametrize("kind", ["Conv", "Gemm", "GemmT", "MatMul"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("target", ["cpu", "tensorrt", "cuda"])
def test_a_corrected_bias_keeps_the_kernel(kind, bias, target, tmp_path):
    made = case(single(kind, bias), tmp_path)
    source = Passes(lambda: made.feeds, open_session, len(made.feeds))
    builder = Builder(made.model, made.analysis, made.ranges, get(target), source)
    candidate = builder.build(made.recipe(activation_symmetry="symmetric").replace(GPTQ | BIASED))
    assert candidate.layers == {"layer": "int8"}
    if target == "cpu":
        assert not differences(made, candidate)
    assert distance(made.float_outputs(), made.outputs(candidate)) < 0.01


def test_a_shared_weight_is_rounded_once_for_all_its_readers():
    made = zoo_case("shared_weight_net")
    asked: list[Wanted] = []

    class Watched(Passes):
        def get(self, wanted: Wanted) -> Kept:
            asked.append(wanted)
            return super().get(wanted)

    source = Watched(lambda: made.feeds, open_session, len(made.feeds))
    builder = Builder(made.model, made.analysis, made.ranges, made.builder.target, source)
    builder.build(made.recipe().replace(GPTQ))
    assert sorted(len(wanted.readers) for wanted in asked) == [1, 2, 2]
    assert len({wanted.key for wanted in asked}) == 3


def test_one_pass_serves_all_layers_and_a_warm_build_asks_for_nothing():
    made = zoo_case("conv_net")
    passes = []

    def feeds():
        passes.append(1)
        return made.feeds

    source = Passes(feeds, open_session, len(made.feeds))
    builder = Builder(made.model, made.analysis, made.ranges, made.builder.target, source)
    recipe = made.recipe().replace(GPTQ | BIASED)
    first = builder.build(recipe)
    assert len(passes) == 1
    again = builder.build(recipe)
    assert len(passes) == 1
    assert first.skeleton() == again.skeleton()
    fresh = corrected(made).build(recipe)
    assert fresh.skeleton() == first.skeleton()
    assert all((fresh.weights[name] == first.weights[name]).all() for name in first.weights)


def test_hessians_beyond_the_room_take_another_pass(monkeypatch):
    made = zoo_case("conv_net")
    passes = []

    def feeds():
        passes.append(1)
        return made.feeds

    monkeypatch.setattr("autoquant.tuner.quantization.passes.HESSIAN_BYTES", 4 * 30 * 30)
    builder = Builder(
        made.model, made.analysis, made.ranges, made.builder.target, Passes(feeds, open_session, len(made.feeds))
    )
    found = builder.build(made.recipe().replace(GPTQ))
    assert 1 < len(passes) <= 4
    assert found.skeleton() == corrected(made).build(made.recipe().replace(GPTQ)).skeleton()


def test_rows_too_long_are_rounded_to_nearest_with_a_note(monkeypatch):
    made = zoo_case("conv_net")
    monkeypatch.setattr("autoquant.tuner.quantization.corrections.LONGEST", 30)
    candidate = corrected(made).build(made.recipe().replace(GPTQ))
    assert candidate.notes == ("down is rounded to nearest: its rows have more than 30 elements",)


def crowded(readers: int = 1) -> onnx.ModelProto:
    """Convs whose bias leaves their weight no room on the scale that it has, of one weight where there are two."""
    rng = np.random.default_rng(5)
    inits = [numpy_helper.from_array((4e-4 * rng.standard_normal((6, 4, 3, 3))).astype(np.float32), "w")]
    nodes, outputs = [], []
    for i in range(readers):
        inits.append(numpy_helper.from_array(np.full(6, 900.0 * (i + 1), np.float32), f"b{i}"))
        nodes.append(helper.make_node("Conv", ["x", "w", f"b{i}"], [f"y{i}"], name=f"conv{i}"))
        outputs.append(helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, None))
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 7, 6])]
    graph = helper.make_graph(nodes, "crowded", given, outputs, inits)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("readers", [1, 2])
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_a_weight_whose_scale_grew_for_its_bias_is_rounded_on_the_grown_scale(granularity, readers, tmp_path):
    made = case(crowded(readers), tmp_path)
    for feed in made.feeds:  # inputs that go together, or there is nothing to make up for
        feed["x"] = (feed["x"] * 0.3 + feed["x"].mean(axis=1, keepdims=True) * 3).astype(np.float32)
    builder = corrected(made)
    plain, better = (
        builder.build(made.recipe(weight_granularity=granularity, correction_rounding=rounding))
        for rounding in ("nearest", "gptq")
    )
    before, after = constants(plain), constants(better)
    integers = sorted(key for key in before if key.endswith("/q") and before[key].ndim == 4)
    assert len(integers) == readers
    weight = builder.weights.value("w")
    for i, key in enumerate(integers):
        scale = before[key.replace("/q", "/scale")]
        assert (scale > builder.weights.of("w", Scheme(0 if scale.ndim else None, True)).scale).all()
        np.testing.assert_array_equal(scale, after[key.replace("/q", "/scale")])
        assert (before[key] != after[key]).any()
        form = Form("x", 36, axis=1, kernel=(3, 3), strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0))
        rows = np.concatenate([sample(form, feed["x"], 10**9, np.random.default_rng(0))[0] for feed in made.feeds])
        grid = scale.reshape(-1, 1, 1, 1) if scale.ndim else scale
        near, found = ((of[key] * grid - weight).reshape(6, -1) @ rows.T for of in (before, after))
        assert (found**2).sum() < 0.9 * (near**2).sum(), i
    simulated = builder.build(made.recipe(weight_granularity=granularity, **GROWN), simulate=True)
    whole = constants(simulated)
    for i, key in enumerate(integers):
        scale = after[key.replace("/q", "/scale")]
        grid = scale.reshape(-1, 1, 1, 1) if scale.ndim else scale
        node = next(node for node in simulated.proto.graph.node if node.name == f"conv{i}")
        np.testing.assert_array_equal(whole[node.input[1]], (after[key] * grid).astype(np.float32))


def test_float_layers_take_no_samples():
    made = zoo_case("conv_net")
    floats = {name: "fp32" for name in made.recipe() if name.startswith(LAYER)}
    made.builder.build(made.recipe().replace({**GPTQ, **BIASED, **floats}))  # this builder has no samples at all
    with pytest.raises(CalibrationError, match="corrects 'stem' by calibration samples") as caught:
        made.builder.build(made.recipe().replace(GPTQ))
    assert len(str(caught.value).splitlines()) == 2


def test_clipped_ranges_are_per_scheme():
    weights = zoo_case("conv_net").builder.weights
    for axis in (None, 0):
        whole, clipped = (weights.of("down.w", Scheme(axis, True, 4, clipped=clip)) for clip in (False, True))
        assert (clipped.scale <= whole.scale).all()
        assert (clipped.scale < whole.scale).any()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("seed", range(3))
def test_any_recipe_runs_as_built_and_is_rebuilt_bit_for_bit(name, seed):
    made = zoo_case(name)
    recipe = made.random_recipe(seed).replace(GPTQ | BIASED | (CLIPPED if seed else {}))
    first = corrected(made).build(recipe)
    assert not differences(made, first)
    again = corrected(made).build(recipe)
    assert first.skeleton() == again.skeleton()
    assert all((again.weights[key] == values).all() for key, values in first.weights.items())


def test_zoo_has_what_is_tested():
    assert set(NETS) <= set(zoo.ALL)
