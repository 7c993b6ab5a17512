"""Channels scaled: the same function, on the zoo, on random nets, around every kind of border."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.evaluators.session import open_session
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.model import Model
from autoquant.tuner.graph.rescale import input_sums, rescaled
from autoquant.tuner.graph.rewrite.variants import Variants
from autoquant.tuner.graph.sites import Site, sites
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests import zoo
from tests.graphs import graphs

NETS = ["conv_net", "hardswish_net", "transformer", "constant_weight_net", "two_input_net", "slash_names_net"]


def loaded(proto: onnx.ModelProto) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        return load(zoo.save(proto, Path(folder) / "model.onnx"))


def outputs(model: Model, feeds: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
    session = open_session(model.proto.SerializeToString(), weights=model.weights, threads=1)
    return [value for feed in feeds for value in session.run(None, feed)]


def drawn(places: tuple[Site, ...], seed: int) -> dict[Site, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {site: np.exp(rng.uniform(-2, 2, site.channels)).astype(np.float32) for site in places}


def assert_same(before: list[np.ndarray], after: list[np.ndarray], tolerance: float = 1e-5) -> None:
    for a, b in zip(before, after, strict=True):
        if a.dtype.kind == "f" and a.size:
            assert np.abs(a - b).max() <= tolerance * max(1e-3, np.abs(a).max())


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rewrites", [False, True])
def test_the_function_stays(name: str, rewrites: bool) -> None:
    proto = zoo.ALL[name]()
    variants = Variants(loaded(proto))
    variant = variants.full if rewrites else variants.get(())
    places = sites(variant.model, variant.analysis)
    assert places
    feeds = zoo.feeds(proto)
    made = rescaled(variant.model, variant.analysis, drawn(places, 1))
    assert [layer.name for layer in analyse(made.model).layers] == [layer.name for layer in variant.analysis.layers]
    assert_same(outputs(variant.model, feeds), outputs(made.model, feeds))


@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(0, 2**31))
def test_the_function_of_random_nets_stays(net, seed: int) -> None:
    model = loaded(net.proto)
    analysis = analyse(model)
    places = sites(model, analysis)
    assume(places)
    before = outputs(model, net.feeds)
    assume(all(np.isfinite(value).all() for value in before if value.dtype.kind == "f"))
    made = rescaled(model, analysis, drawn(places, seed))
    assert_same(before, outputs(made.model, net.feeds), 1e-4)


def relu_net() -> onnx.ModelProto:
    """Conv-Relu-Conv(1×1)-LeakyRelu-MaxPool-Conv, GlobalAveragePool, Flatten, Gemm."""
    g = zoo.Sketch(5)
    g.conv("x", "c1", 3, 6)
    g.add("Relu", ["c1"], "r1")
    g.conv("r1", "c2", 6, 4, kernel=1)
    g.add("LeakyRelu", ["c2"], "leaky", alpha=0.2)
    g.add("MaxPool", ["leaky"], "pool", kernel_shape=[2, 2], strides=[2, 2])
    g.conv("pool", "c3", 4, 8)
    g.add("GlobalAveragePool", ["c3"], "mean")
    g.add("Flatten", ["mean"], "flat")
    g.add("Gemm", ["flat", g.weight("fc.w", 5, 8), g.bias("fc.b", 5)], "y", transB=1)
    return g.model([zoo.value("x", ["N", 3, 8, 8])], [zoo.value("y", ["N", 5])])


def test_sites_reach_through_transparent_operators() -> None:
    model = loaded(relu_net())
    found = {site.tensor: site for site in sites(model, analyse(model))}
    nodes = model.proto.graph.node
    chains = {name: [nodes[i].op_type for i in site.chain] for name, site in found.items()}
    assert chains == {
        "x": [],
        "r1": [],
        "pool": ["LeakyRelu", "MaxPool"],
        "flat": ["GlobalAveragePool", "Flatten"],
    }
    assert found["x"].writer is None
    assert found["flat"].axis == -1
    assert not found["pool"].others


def test_what_weights_take_up_needs_no_operator() -> None:
    model = loaded(relu_net())
    analysis = analyse(model)
    places = tuple(site for site in sites(model, analysis) if site.writer is not None)
    made = rescaled(model, analysis, drawn(places, 2))
    assert not made.added
    assert [n.op_type for n in made.model.proto.graph.node] == [n.op_type for n in model.proto.graph.node]
    feeds = zoo.feeds(relu_net())
    assert_same(outputs(model, feeds), outputs(made.model, feeds))


def test_readers_of_one_activation_share_its_scale_and_others_find_it_as_it_was() -> None:
    model = loaded(zoo.transformer())
    analysis = analyse(model)
    shared = next(site for site in sites(model, analysis) if len(site.readers) == 3)
    assert shared.others  # the residual Add
    scale = drawn((shared,), 3)[shared]
    made = rescaled(model, analysis, {shared: scale})
    assert len(made.added) == 1
    for name in shared.readers:
        layer = next(layer for layer in analysis.layers if layer.name == name)
        before = {t.name: t for t in model.proto.graph.initializer}[layer.weight]
        assert before.dims[0] == len(scale)
    feeds = zoo.feeds(zoo.transformer())
    assert_same(outputs(model, feeds), outputs(made.model, feeds))


def test_a_layernormalization_of_its_own_takes_the_scale_up() -> None:
    g = zoo.Sketch(6)
    inputs = ["x", g.put("gain", g.rng.uniform(0.5, 2.0, 8)), g.bias("shift", 8)]
    g.add("LayerNormalization", inputs, "normal")
    g.linear("normal", "a", 8, 4)
    g.linear("normal", "b", 8, 4)
    g.add("Add", ["a", "b"], "y")
    proto = g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 4])])
    model = loaded(proto)
    analysis = analyse(model)
    (site,) = [site for site in sites(model, analysis) if site.readers]
    assert len(site.readers) == 2
    made = rescaled(model, analysis, drawn((site,), 4))
    assert not made.added
    assert_same(outputs(model, zoo.feeds(proto)), outputs(made.model, zoo.feeds(proto)))


def test_high_biases_are_absorbed_by_the_layer_behind() -> None:
    proto = relu_net()
    for tensor in proto.graph.initializer:
        if tensor.name == "c1.b":  # far above anything the weights bring
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.linspace(20, 40, 6).astype(np.float32), tensor.name))
    model = loaded(proto)
    analysis = analyse(model)
    site = next(site for site in sites(model, analysis) if site.tensor == "r1")
    scale = drawn((site,), 7)[site]
    offset = np.linspace(5, 10, 6).astype(np.float32)
    made = rescaled(model, analysis, {site: scale}, {site: offset})
    feeds = zoo.feeds(proto)
    assert_same(outputs(model, feeds), outputs(made.model, feeds))
    bias = {t.name: onnx.numpy_helper.to_array(t) for t in made.model.proto.graph.initializer if t.name == "c1.b"}
    assert bias["c1.b"] == pytest.approx((np.linspace(20, 40, 6) - offset) / scale)


def test_what_a_constant_input_makes_of_a_grouped_conv() -> None:
    g = zoo.Sketch(8)
    g.conv("x", "c", 4, 6, group=2)
    model = loaded(g.model([zoo.value("x", ["N", 4, 5, 5])], [zoo.value("c", ["N", 6, 5, 5])]))
    layer = analyse(model).layers[0]
    weight = {t.name: onnx.numpy_helper.to_array(t) for t in model.proto.graph.initializer}["c.w"]
    values = np.array([1.0, 2.0, 3.0, 4.0])
    expected = [sum(weight[o, i].sum() * values[(o // 3) * 2 + i] for i in range(2)) for o in range(6)]
    assert input_sums(weight, layer, 2, values) == pytest.approx(expected, rel=1e-5)


def test_a_shared_weight_is_left_alone() -> None:
    model = loaded(zoo.shared_weight_net())
    analysis = analyse(model)
    shared = {layer.name for layer in analysis.layers if len(analysis.groups[layer.group]) > 1}
    for site in sites(model, analysis):
        assert shared.isdisjoint(site.readers)
        assert site.writer not in shared


def test_tensors_of_different_scales_have_different_names() -> None:
    model = loaded(relu_net())
    analysis = analyse(model)
    places = sites(model, analysis)
    names = [set(rescaled(model, analysis, drawn(places, seed)).sources) for seed in (1, 2)]
    assert names[0].isdisjoint(names[1])
