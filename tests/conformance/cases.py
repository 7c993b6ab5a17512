"""The models of the onnx package's own backend tests, with feeds.

Generated node cases come from the package's case collection (its wheel ships none as files). In these the weights are
graph inputs; each is taken a second time with all inputs but one made constants, as a model would have them: `frozen`
keeps the first input, `frozen-left` of a MatMul or Gemm the second.

The `light` models are the architectures of `real` with all weights filled with one value by ConstantOfShape. Their
weights are drawn instead, seeded, with the variance that keeps activations alive, and so is their input. The Softmax at
their end is taken off: of logits nobody trained it makes one class or a thousand equal ones.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
from onnx import helper, numpy_helper
from onnx.backend.test.loader import load_node_model_tests

DATA = Path(onnx.backend.test.__file__).parent / "data"
KINDS = ("node", "frozen", "frozen-left", "pytorch-converted", "pytorch-operator", "simple", "light")
COMPUTE = ("Conv", "ConvTranspose", "MatMul", "Gemm")
RECURRENT = ("LSTM", "GRU", "RNN")
_FED = (np.ndarray, np.generic)


@dataclass(frozen=True)
class Case:
    """One model.

    Attributes:
        kind: One of `KINDS`.
        name: The test's name in onnx.
        proto: The model, as a user would have it.
        feeds: Inputs of one run each; sequences are lists, an absent optional is None.
    """

    kind: str
    name: str
    proto: onnx.ModelProto
    feeds: tuple[Mapping[str, Any], ...]

    @property
    def id(self) -> str:
        """Kind and name."""
        return f"{self.kind}/{self.name}"


def collect(
    kinds: Sequence[str] = KINDS, wanted: Callable[[str, str, onnx.ModelProto], bool] | None = None
) -> Iterator[Case]:
    """The cases of some kinds, in a fixed order.

    Args:
        kinds: Of `KINDS`.
        wanted: Kind, name and the model as onnx has it → whether to make a case of it; all by default.
    """
    for kind in kinds:
        if kind in ("node", "frozen", "frozen-left"):
            for test in _node_tests():
                if wanted is None or wanted(kind, test.name, test.model):
                    yield from _node(kind, test)
        elif kind == "light":
            for path in sorted((DATA / "light").glob("*.onnx")):
                if wanted is None or wanted(kind, path.stem, onnx.load(path)):
                    yield _light(path)
        else:
            for path in sorted((DATA / kind).glob("*/model.onnx")):
                if wanted is None or wanted(kind, path.parent.name, onnx.load(path)):
                    yield _folder(kind, path)


def operators(proto: onnx.ModelProto) -> set[str]:
    """Operator types of a model, those of bodies and functions included."""
    found: set[str] = set()
    bodies: list[Sequence[onnx.NodeProto]] = [proto.graph.node, *(function.node for function in proto.functions)]
    while bodies:
        for node in bodies.pop():
            found.add(node.op_type)
            for attribute in node.attribute:
                bodies += [graph.node for graph in (attribute.g, *attribute.graphs) if graph.node]
    return found


@functools.cache
def _node_tests() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reference computations divide by zero on purpose
        return sorted(load_node_model_tests(), key=lambda test: str(test.name))


def _node(kind: str, test: Any) -> Iterator[Case]:
    """The case of a generated test, none where it cannot be frozen so."""
    names = [value.name for value in test.model.graph.input]
    feeds = tuple(dict(zip(names, map(_fed, inputs), strict=True)) for inputs, _ in test.data_sets)
    # the generator stamps the newest version of the file format, which older runtimes refuse
    test.model.ir_version = helper.find_min_ir_version_for(list(test.model.opset_import), ignore_unknown=True)
    if kind == "node":
        yield Case(kind, test.name, test.model, feeds)
    elif kind == "frozen" or {"MatMul", "Gemm"} & operators(test.model):
        kept = 0 if kind == "frozen" else 1
        frozen = _frozen(test.model, test.data_sets[0][0], kept) if len(names) > kept else None
        if frozen is not None:
            yield Case(kind, test.name, frozen, ({names[kept]: feeds[0][names[kept]]},))


def _fed(value: Any) -> Any:
    """A value as ONNX Runtime takes it: scalars and tensors as arrays."""
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, _FED) else value


def _frozen(proto: onnx.ModelProto, values: Sequence[Any], kept: int) -> onnx.ModelProto | None:
    """The model with all inputs but one made initializers; None where there is no other or one is no tensor."""
    if len(values) < 2 or not all(isinstance(value, (*_FED, onnx.TensorProto)) for value in values):
        return None
    frozen = onnx.ModelProto()
    frozen.CopyFrom(proto)
    del frozen.graph.input[:]
    for i, (info, value) in enumerate(zip(proto.graph.input, values, strict=True)):
        if i == kept:
            frozen.graph.input.append(info)
            continue
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value)))
        tensor.name = info.name
        frozen.graph.initializer.append(tensor)
    return frozen


def _folder(kind: str, path: Path) -> Case:
    proto = onnx.load(path)
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    feeds = []
    for folder in sorted(path.parent.glob("test_data_set_*")):
        files = (folder / f"input_{i}.pb" for i in range(len(inputs)))
        feeds.append({value.name: _read(file, value.type) for value, file in zip(inputs, files, strict=True)})
    return Case(kind, path.parent.name, proto, tuple(feeds))


def _read(path: Path, kind: onnx.TypeProto) -> Any:
    data = path.read_bytes()
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _light(path: Path) -> Case:
    """A light model with drawn weights and one drawn image."""
    proto = onnx.load(path)
    graph = proto.graph
    rng = np.random.default_rng(5)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    roles = {name: (node.op_type, i) for node in graph.node for i, name in enumerate(node.input)}
    roles |= {
        # scale and shift stand behind an Unsqueeze
        node.input[0]: roles.get(node.output[0], ("", 0))
        for node in graph.node
        if node.op_type == "Unsqueeze"
    }
    drawn = {}
    kept = []
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in shapes:
            dims = tuple(int(n) for n in shapes[node.input[0]])
            drawn[node.output[0]] = _draw(rng, dims, *roles.get(node.output[0], ("", 0)))
        else:
            kept.append(node)
    if kept[-1].op_type == "Softmax":
        last = kept.pop()
        for node in kept:
            node.output[:] = [last.output[0] if name == last.input[0] else name for name in node.output]
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in drawn.items())
    read = {name for node in kept for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    names = {tensor.name for tensor in constants}
    inputs = [value for value in graph.input if value.name not in names and value.name in read]
    del graph.input[:]
    graph.input.extend(inputs)
    feed = {}
    for value in inputs:
        dims = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        feed[value.name] = rng.standard_normal(dims).astype(np.float32)
    return Case("light", path.stem, proto, (feed,))


def _draw(rng: np.random.Generator, dims: tuple[int, ...], op_type: str, position: int) -> np.ndarray:
    """Weights after He; a BatchNormalization's variance and the scales around one; all else around zero."""
    normal = rng.standard_normal(dims).astype(np.float32)
    if len(dims) > 1:
        return normal * np.float32(np.sqrt(2.0 / np.prod(dims[1:])))
    if (op_type, position) in (("BatchNormalization", 1), ("BatchNormalization", 4), ("Mul", 1)):
        return np.exp(np.float32(0.1) * normal)
    return np.float32(0.1) * normal
