from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.evaluators.session import open_session
from autoquant.tuner.calibration.batchnorm import imposed, statistics_of
from autoquant.tuner.calibration.collect import stream
from autoquant.tuner.graph.load import load
from onnx import numpy_helper, version_converter

from tests import zoo

RNG = np.random.default_rng(0)
FEEDS = [{"x": (40.0 + 9.0 * RNG.standard_normal((8, 3, 16, 16))).astype(np.float32)}]


def values(model: object, tensors: list[str]) -> dict[str, np.ndarray]:
    """The tensors' values over the feeds."""
    opened = partial(open_session, threads=1)
    parts = [part for _, run in stream(model, tensors, FEEDS, open_session=opened) for part in run]  # type: ignore[arg-type]
    return {name: np.concatenate([part[name] for part in parts]) for name in tensors}


@pytest.mark.parametrize("opset", [17, 18, 21])
def test_every_batchnormalization_s_output_has_its_training_statistics(tmp_path: Path, opset: int) -> None:
    proto = zoo.conv_net()
    if opset > 17:
        proto = version_converter.convert_version(proto, opset)
    model = load(zoo.save(proto, tmp_path / "m.onnx"))
    assert not any(node.op_type == "BatchNormalization" for node in model.proto.graph.node), "folded by loading"
    known = statistics_of(model)
    assert list(known) == ["bn"]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    before = values(model, ["bn"])["bn"]
    after = values(imposed(model, known), ["bn", "relu", "y"])
    np.testing.assert_allclose(after["bn"].mean(axis=(0, 2, 3)), constants["bn.shift"], atol=1e-4)
    np.testing.assert_allclose(after["bn"].std(axis=(0, 2, 3)), constants["bn.scale"], rtol=1e-3)
    np.testing.assert_allclose(after["relu"], np.maximum(after["bn"], 0), atol=1e-6)
    assert np.abs(before).max() > 5 * np.abs(after["bn"]).max(), "the inputs were far off"
    assert model.proto == load(model.path).proto, "the model itself is left alone"


def test_without_batchnormalization_there_is_nothing_to_impose(tmp_path: Path) -> None:
    assert statistics_of(load(zoo.save(zoo.hardswish_net(), tmp_path / "m.onnx"))) == {}


def test_one_that_loading_does_not_fold_counts_too(tmp_path: Path) -> None:
    g = zoo.Sketch(3)
    scale, shift = g.put("s", RNG.uniform(0.5, 2, 3)), g.bias("b", 3)
    mean, var = g.put("mean", np.full(3, 40.0)), g.put("var", np.full(3, 81.0))
    g.add("BatchNormalization", ["x", scale, shift, mean, var], "first")
    g.conv("first", "y", 3, 4)
    proto: onnx.ModelProto = g.model([zoo.value("x", ["N", 3, 16, 16])], [zoo.value("y", ["N", 4, 16, 16])])
    model = load(zoo.save(proto, tmp_path / "m.onnx"))
    found = values(imposed(model, statistics_of(model)), ["first", "y"])
    plain = values(model, ["first", "y"])
    # On data with the training statistics nothing is changed but for chance.
    np.testing.assert_allclose(found["first"].std(axis=(0, 2, 3)), plain["first"].std(axis=(0, 2, 3)), rtol=0.1)
    np.testing.assert_allclose(found["y"], plain["y"], atol=0.5)
