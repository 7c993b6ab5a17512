"""Small models for the rewrites, and what they answer."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx
from autoquant.evaluators.session import open_session
from autoquant.tuner.calibration.collect import with_outputs
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.model import Model
from autoquant.tuner.graph.rewrite.registry import Rewritten, rewritten
from onnx import helper

from tests import zoo

Feed = Mapping[str, np.ndarray]


def model(
    g: zoo.Sketch,
    inputs: Mapping[str, zoo.Dims] | None = None,
    outputs: Collection[str] = ("y",),
    opset: int = 17,
) -> Model:
    """A sketch as a loaded model; its outputs' shapes are left open."""
    graph = helper.make_graph(
        g.nodes,
        "g",
        [zoo.value(name, shape) for name, shape in (inputs or {"x": [2, 3, 4]}).items()],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        g.initializers,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return loaded(proto)


def loaded(proto: onnx.ModelProto) -> Model:
    """A proto as a loaded model."""
    with tempfile.TemporaryDirectory() as folder:
        return load(zoo.save(proto, Path(folder) / "model.onnx"))


def answers(made: Model, feed: Feed, also: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Outputs by name, and inner tensors asked for."""
    opened = open_session(with_outputs(made.proto, also), weights=made.weights, threads=1)
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(None, dict(feed)), strict=True))


def random_feed(made: Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Normal values for every input, 2 for a size left open."""
    rng = np.random.default_rng(seed)
    return {
        value.name: (3 * rng.standard_normal([d.dim_value or 2 for d in value.type.tensor_type.shape.dim])).astype(
            np.float32
        )
        for value in made.proto.graph.input
    }


def types(made: Model) -> Counter[str]:
    """Operators by type."""
    return Counter(node.op_type for node in made.proto.graph.node)


def same(before: Model, names: Collection[str], feed: Feed | None = None, tolerance: float = 1e-5) -> Rewritten:
    """Rewrite and compare: the outputs, and each derived tensor with what its image says."""
    found = rewritten(before, names)
    feed = feed or random_feed(before)
    sources = {image.source for image in found.derived.values()}
    old, new = answers(before, feed, sources), answers(found.model, feed, found.derived)
    old |= feed
    for value in before.proto.graph.output:
        near(new[value.name], old[value.name], tolerance)
    for tensor, image in found.derived.items():
        wanted = np.clip(image.factor * old[image.source] + image.offset, image.low, image.high)
        own = new[tensor][tuple(slice(n) for n in wanted.shape)]  # the others are channels filled up
        near(own, wanted.astype(np.float32), tolerance)
    return found


def near(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    """Equal, relative to the largest value."""
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    if found.dtype.kind == "f":
        assert np.abs(found - wanted).max(initial=0.0) <= tolerance * max(1.0, np.abs(wanted).max(initial=0.0))
    else:
        assert (found == wanted).all()
