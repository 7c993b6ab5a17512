"""Equalized and smoothed candidates: kernels as before but for a Mul at borders, ranges of what changed."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.errors import CalibrationError
from autoquant.evaluators.session import open_session
from autoquant.strategies.words import EQUALIZATION, REWRITE, SMOOTH
from autoquant.tuner.calibration.channels import HIGH, LOW, MEAN, SQUARE, channels
from autoquant.tuner.calibration.collect import collect, with_outputs
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.quantization.kernels import optimized
from autoquant.tuner.quantization.passes import Passes
from autoquant.tuner.quantization.variants import Builders
from autoquant.tuner.targets.profiles import get

from tests import zoo

from .building import Case, case, differences, distance

BOTH = {EQUALIZATION: "on", SMOOTH: "auto"}
NETS = {"conv_net": zoo.conv_net, "hardswish_net": zoo.hardswish_net, "transformer": zoo.transformer}


def uneven() -> onnx.ModelProto:
    """Conv-HardSwish-depthwise-HardSwish-Conv whose channels differ a thousandfold: hopeless with one scale."""
    g = zoo.Sketch(9)
    g.conv("x", "c1", 3, 8, kernel=1)
    g.add("HardSwish", ["c1"], "h1")
    g.conv("h1", "c2", 8, 8, group=8)
    g.add("HardSwish", ["c2"], "h2")
    g.conv("h2", "c3", 8, 6, kernel=1)
    proto = g.model([zoo.value("x", ["N", 3, 8, 8])], [zoo.value("c3", ["N", 6, 8, 8])])
    factors = np.logspace(-1.5, 1.5, 8).astype(np.float32)
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.name in ("c2.w", "c2.b"):
            values = values * factors.reshape(-1, *[1] * (values.ndim - 1))
        if tensor.name == "c3.w":
            values = values / factors.reshape(1, -1, 1, 1)
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    return proto


@cache
def made(name: str) -> tuple[Case, Builders]:
    proto = {**NETS, "uneven": uneven}[name]()
    with tempfile.TemporaryDirectory() as folder:
        of = case(proto, Path(folder))
    source = Passes(lambda: of.feeds, open_session, len(of.feeds))
    return of, Builders(of.model, of.analysis, of.ranges, get("cpu"), source)


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("name", [*NETS, "uneven"])
def test_the_same_layers_run_on_integers(name: str, granularity: str) -> None:
    of, builders = made(name)
    for scaling in ({EQUALIZATION: "on"}, {SMOOTH: "0.5"}, BOTH):
        recipe = of.recipe(weight_granularity=granularity).replace(scaling)
        candidate = builders.build(recipe)
        assert set(candidate.layers.values()) == {"int8"}
        assert differences(of, candidate) == {}
        if name != "uneven" or scaling is BOTH:
            assert distance(of.float_outputs(), of.outputs(candidate)) < 0.02


def test_uneven_channels_lose_less() -> None:
    of, builders = made("uneven")
    plain = of.recipe(weight_granularity="per_tensor")

    def error(**scaling: str) -> float:
        return distance(of.float_outputs(), of.outputs(builders.build(plain.replace(scaling))))

    assert error(**BOTH) < 0.1 * error()


def test_a_border_costs_a_mul_and_nothing_else() -> None:
    of, builders = made("uneven")
    recipe = of.recipe(weight_granularity="per_tensor")
    counts = []
    for one in (recipe, recipe.replace(BOTH)):
        types = [node.op_type for node in optimized(builders.build(one)).graph.node]
        counts.append({kind: types.count(kind) for kind in types})
    muls = [count.pop("Mul", 0) for count in counts]
    assert muls[1] > muls[0]
    assert counts[0] == counts[1]


def test_activations_have_one_scale() -> None:
    """ONNX Runtime's QuantizeLinear with a scale per channel takes ten times as long as all the rest of a model."""
    of, builders = made("uneven")
    candidate = builders.build(of.recipe().replace(BOTH))
    quantizing = [node for node in candidate.proto.graph.node if node.op_type == "QuantizeLinear"]
    dims = {tensor.name: list(tensor.dims) for tensor in candidate.proto.graph.initializer}
    assert quantizing
    assert all(dims[node.input[1]] == [] for node in quantizing)


def test_a_float_layer_between_stays_in_float() -> None:
    of, builders = made("uneven")
    for name in ("c1", "c2", "c3"):
        candidate = builders.build(of.recipe().replace({**BOTH, f"layer/{name}": "fp32"}))
        assert candidate.layers[name] == "fp32"
        assert differences(of, candidate) == {}
        assert distance(of.float_outputs(), of.outputs(candidate)) < 0.02


def test_int8_glue_beside_borders_works() -> None:
    of, builders = made("hardswish_net")
    candidate = builders.build(of.recipe(glue="int8").replace(BOTH))
    assert distance(of.float_outputs(), of.outputs(candidate)) < 0.02


def test_ranges_of_changed_tensors_are_those_of_the_changed_graph() -> None:
    of, builders = made("conv_net")
    builder = builders.builder(of.recipe().replace(BOTH))
    changed = [name for name in builder.ranges.values if name not in of.ranges.values]
    assert changed
    session = open_session(with_outputs(builder.model.proto, changed), weights=builder.model.weights, threads=1)
    names = [output.name for output in session.get_outputs()]
    runs = [dict(zip(names, session.run(None, dict(feed)), strict=True)) for feed in of.feeds]
    for name in changed:
        low, high = builder.ranges.get(name, "minmax", "asymmetric")
        assert low == min(0.0, *(float(run[name].min()) for run in runs))
        assert high == max(0.0, *(float(run[name].max()) for run in runs))


def test_results_are_named_and_the_candidate_lists_none_without_files() -> None:
    of, builders = made("conv_net")
    assert builders.build(of.recipe().replace(BOTH)).corrections == {}
    assert builders.scalable == (EQUALIZATION, SMOOTH)


def test_without_samples_it_is_refused() -> None:
    of, _ = made("conv_net")
    builders = Builders(of.model, of.analysis, of.ranges, get("cpu"))
    with pytest.raises(CalibrationError, match="calibration samples"):
        builders.build(of.recipe().replace({SMOOTH: "auto"}))


def test_on_tensorrt_only_weights_take_scales_up() -> None:
    of, _ = made("hardswish_net")
    source = Passes(lambda: of.feeds, open_session, len(of.feeds))
    builders = Builders(of.model, of.analysis, of.ranges, get("tensorrt"), source)
    builder = builders.builder(of.recipe().replace(BOTH))
    plain = builders.builder(of.recipe())
    assert len(builder.model.proto.graph.node) == len(plain.model.proto.graph.node)


def test_rewrites_and_scales_go_together() -> None:
    of, builders = made("hardswish_net")
    on = {REWRITE + name: "on" for name in builders.variants.names}
    candidate = builders.build(of.recipe(weight_granularity="per_tensor").replace({**BOTH, **on}))
    assert distance(of.float_outputs(), of.outputs(candidate)) < 0.02


def test_channel_statistics_against_numpy(tmp_path: Path) -> None:
    proto = zoo.conv_net()
    model = load(zoo.save(proto, tmp_path / "m.onnx"))
    feeds = zoo.feeds(proto)
    tensor = analyse(model).layers[1].output
    session = open_session(with_outputs(model.proto, [tensor]), weights=model.weights, threads=1)
    whole = np.concatenate([session.run([tensor], feed)[0] for feed in feeds]).astype(np.float64)
    found = channels(model, {tensor: 1}, feeds, open_session=open_session)[tensor]
    assert found[LOW] == pytest.approx(whole.min(axis=(0, 2, 3)))
    assert found[HIGH] == pytest.approx(whole.max(axis=(0, 2, 3)))
    assert found[MEAN] == pytest.approx(whole.mean(axis=(0, 2, 3)))
    assert found[SQUARE] == pytest.approx(np.square(whole).mean(axis=(0, 2, 3)))


def test_other_calibrators_follow_from_the_changed_graph_too() -> None:
    of, builders = made("hardswish_net")
    builder = builders.builder(of.recipe().replace(BOTH))
    name = next(name for name in builder.ranges.values if name not in of.ranges.values)
    again = compute_ranges(collect(builder.model, [name], of.feeds, open_session=open_session))
    assert builder.ranges.values[name] == again.values[name]
