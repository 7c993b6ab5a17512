"""One streaming pass over real ONNX Runtime sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.errors import CalibrationError
from autoquant.evaluators.session import open_session
from autoquant.tuner.calibration import collect as module
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.calibration.histogram import Histogram
from autoquant.tuner.calibration.ranges import Ranges
from autoquant.tuner.calibration.statistics import Statistics
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.model import Model
from onnx import TensorProto, helper

from tests import zoo


@pytest.fixture
def conv(tmp_path: Path) -> Model:
    return load(zoo.save(zoo.conv_net(), tmp_path / "m.onnx"))


def same(a: Histogram, b: Histogram) -> bool:
    ours, theirs = a.bins(), b.bins()
    return np.array_equal(ours.lower, theirs.lower) and np.array_equal(ours.counts, theirs.counts)


def calibrated(model: Model, feeds: object, tensors: tuple[str, ...] | None = None) -> Statistics:
    return collect(model, analyse(model).tensors if tensors is None else tensors, feeds, open_session=open_session)


@pytest.mark.parametrize("name", sorted(zoo.ALL))
def test_every_model_of_the_zoo(name: str, tmp_path: Path) -> None:
    proto = zoo.ALL[name]()
    model = load(zoo.save(proto, tmp_path / "m.onnx"))
    tensors = analyse(model).tensors
    feeds = zoo.feeds(proto)
    statistics = calibrated(model, feeds)
    assert set(statistics.tensors) == set(tensors)
    ranges = compute_ranges(statistics)
    # what was counted is what the model computes
    session = open_session(module.with_outputs(model.proto, tensors), weights=model.weights)
    for tensor in tensors:
        if tensor in feeds[0]:
            values = np.concatenate([np.ravel(feed[tensor]) for feed in feeds])
        else:
            values = np.concatenate([np.ravel(session.run([tensor], feed)[0]) for feed in feeds])
        low, high = ranges.get(tensor, "minmax", "asymmetric")
        assert high == pytest.approx(max(values.max(), 0), rel=1e-6)
        assert low == pytest.approx(min(values.min(), 0), rel=1e-6)
        assert statistics.tensors[tensor].histogram.count == len(values)


def test_shapes_samples_and_progress(conv: Model) -> None:
    feeds = [{"x": np.zeros((n, 3, 16, 16), np.float32)} for n in (3, 2)]
    told: list[int] = []
    statistics = collect(conv, ["x", "relu6", "y"], feeds, open_session=open_session, progress=told.append)
    assert told == [3, 5]
    assert statistics.samples == 5
    shapes = {name: tensor.shape for name, tensor in statistics.tensors.items()}
    assert shapes == {"x": (3, 3, 16, 16), "relu6": (3, 8, 16, 16), "y": (3, 10)}


def test_order_batching_and_merging_do_not_matter(conv: Model) -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((12, 3, 16, 16)).astype(np.float32)
    whole = calibrated(conv, [{"x": samples[:6]}, {"x": samples[6:]}], ("x",))
    single = calibrated(conv, ({"x": samples[i : i + 1]} for i in range(12)[::-1]), ("x",))
    assert same(whole.tensors["x"].histogram, single.tensors["x"].histogram)
    first, second = (calibrated(conv, [{"x": part}]) for part in np.split(samples, 2))
    first.merge(second)
    together = calibrated(conv, [{"x": part} for part in np.split(samples, 2)])
    assert first.samples == 12
    assert compute_ranges(first) == compute_ranges(together)


def test_large_feeds_are_split_along_the_batch(conv: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = zoo.feeds(zoo.conv_net(), 1, batch=9)[0]
    whole = calibrated(conv, [feed])
    sizes: list[int] = []
    run = module._Runner.run

    def watched(self: module._Runner, part: dict[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
        sizes.append(len(part["x"]))
        return run(self, part, number)

    monkeypatch.setattr(module._Runner, "run", watched)
    monkeypatch.setattr(module, "ACTIVATION_BYTES", 300_000)
    split = calibrated(conv, [feed])
    assert sum(sizes) == 9
    assert len(sizes) > 1
    assert {n: t.shape for n, t in split.tensors.items()} == {n: t.shape for n, t in whole.tensors.items()}
    ours, theirs = compute_ranges(split), compute_ranges(whole)
    for tensor in ours.values:
        assert ours.get(tensor, "minmax", "symmetric") == pytest.approx(
            theirs.get(tensor, "minmax", "symmetric"), rel=1e-5
        )


def fixed_reshape(folder: Path) -> Model:
    """A declared free batch that a Reshape fixes at four."""
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [4, 6])
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("Relu", ["r"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 6]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [shape])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return load(zoo.save(proto, folder / "m.onnx"))


def test_a_graph_that_takes_no_other_batch_runs_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fixed_reshape(tmp_path)
    monkeypatch.setattr(module, "ACTIVATION_BYTES", 1)
    statistics = calibrated(model, [{"x": np.ones((4, 6), np.float32)}], ("r", "y"))
    assert statistics.tensors["y"].shape == (4, 6)


def test_feeds_are_consumed_one_by_one(conv: Model) -> None:
    alive = 0

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        nonlocal alive
        buffer = np.empty((2, 3, 16, 16), np.float32)  # the same array each time, as data loaders do
        for value in range(5):
            buffer[:] = value
            alive += 1
            yield {"x": buffer}

    statistics = calibrated(conv, feeds(), ("x",))
    assert alive == 5
    bins = statistics.tensors["x"].histogram.bins()
    assert bins.lower.tolist() == [0, 1, 2, 3, 4]
    assert set(bins.counts.tolist()) == {2 * 3 * 256}


def test_nan_that_the_model_makes_is_left_out(tmp_path: Path) -> None:
    """0/0 in a padded row, say: the other values still give a range, a tensor of nothing else gives none."""
    nodes = [helper.make_node("Div", ["x", "x"], ["q"]), helper.make_node("Relu", ["x"], ["y"])]
    x, q, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in "xqy")
    graph = helper.make_graph(nodes, "g", [x], [q, y])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = load(zoo.save(proto, tmp_path / "m.onnx"))
    some = calibrated(model, [{"x": np.array([[0, 3]], np.float32)}], ("q", "y"))
    assert some.tensors["q"].histogram.nan == 1
    assert compute_ranges(some).get("q", "minmax", "asymmetric") == (0.0, 1.0)
    none = compute_ranges(calibrated(model, [{"x": np.zeros((1, 2), np.float32)}], ("q", "y")))
    assert set(none.values) == {"y"}
    assert none.shapes["q"] == (1, 2)


def test_an_input_declared_empty_may_be(tmp_path: Path) -> None:
    """Axes of a reduction, say: [0] is the only shape they have."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in "xy")
    axes = helper.make_tensor_value_info("axes", TensorProto.INT64, [0])
    node = helper.make_node("ReduceL2", ["x", "axes"], ["y"], noop_with_empty_axes=1)
    graph = helper.make_graph([node], "g", [x, axes], [y])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    model = load(zoo.save(proto, tmp_path / "m.onnx"))
    feed = {"x": np.ones((1, 2), np.float32), "axes": np.zeros(0, np.int64)}
    assert calibrated(model, [feed], ("x",)).tensors["x"].histogram.count == 2


GOOD = np.zeros((2, 3, 16, 16), np.float32)


@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ([], "yielded nothing"),
        ([{}], "'x' is missing"),
        ([{"x": GOOD, "z": GOOD}], "no input 'z'"),
        ([{"x": GOOD.astype(np.float64)}], "float64.*float32"),
        ([{"x": GOOD[:, :1]}], r"\[2, 1, 16, 16\].*\[N, 3, 16, 16\]"),
        ([{"x": GOOD[0]}], r"\[3, 16, 16\]"),
        ([{"x": GOOD[:0]}], "empty"),
        ([{"x": GOOD + np.nan}], "NaN"),
        ([GOOD], "feed 1 is a ndarray"),
        ([{"x": GOOD}, None], "feed 2 is a NoneType"),
    ],
)
def test_bad_feeds(conv: Model, feeds: list[object], says: str) -> None:
    with pytest.raises(CalibrationError, match=says) as caught:
        calibrated(conv, feeds, ("relu6",))
    assert len(str(caught.value).splitlines()) <= 2


def test_a_run_that_fails(tmp_path: Path) -> None:
    model = fixed_reshape(tmp_path)
    with pytest.raises(CalibrationError, match="feed 2: the model fails on it"):
        calibrated(model, [{"x": np.ones((n, 6), np.float32)} for n in (4, 3)], ("y",))


def test_ranges_survive_json(conv: Model) -> None:
    ranges = compute_ranges(calibrated(conv, zoo.feeds(zoo.conv_net())))
    assert Ranges.from_json(ranges.to_json()) == ranges
    assert onnx.ModelProto.FromString(module.with_outputs(conv.proto, ["relu"])).graph.output[-1].name == "relu"
