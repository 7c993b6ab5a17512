"""What BatchNormalizations remember of the training data, imposed on made-up inputs.

A BatchNormalization's output had the mean β and the deviation |γ| in every channel when the model was trained. Where
the data are gone, the same is made true of whatever runs through the model: every such output is standardised over the
batch and given these statistics. All that follows then sees values like the real ones, whatever the input, and no range
has to be guessed operator by operator. Of the idea of data-free quantization by Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction" (section 4.2.1: E[x] from β and γ), this takes the
statistics; of Haroush et al. 2020, "The Knowledge Within", that they are imposed layer by layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..graph.draft import Draft
from ..graph.index import GraphIndex
from ..graph.model import Model
from ..graph.order import sort_nodes
from ..graph.shapes import tensor_types

_TINY = 1e-12
_AXES_AS_INPUT = 18
"""Opset from which ReduceMean takes its axes as an input."""


@dataclass(frozen=True, slots=True)
class Known:
    """The statistics of one tensor over the training data.

    Attributes:
        mean: float64 [channels].
        deviation: float64 [channels], not negative.
    """

    mean: np.ndarray
    deviation: np.ndarray


def statistics_of(model: Model) -> dict[str, Known]:
    """Tensor → its statistics, of every BatchNormalization of the model's file whose output is a tensor of the model.

    The file is read again: loading folds a BatchNormalization into the Conv before it, whose output takes its name.
    """
    file = onnx.load(model.path, load_external_data=False)
    constants = {tensor.name: tensor for tensor in file.graph.initializer}
    for node in file.graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    written = {name for node in model.proto.graph.node for name in node.output}
    found = {}
    for node in file.graph.node:
        if node.op_type != "BatchNormalization" or node.domain not in ("", "ai.onnx"):
            continue
        if node.output[0] not in written or any(name not in constants for name in node.input[1:5]):
            continue
        gamma, beta, _, variance = (
            numpy_helper.to_array(constants[name], str(model.path.parent)).astype(np.float64)
            for name in node.input[1:5]
        )
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        known = Known(beta, np.abs(gamma) * np.sqrt(variance / (variance + epsilon)))
        if np.isfinite(known.mean).all() and np.isfinite(known.deviation).all():
            found[node.output[0]] = known
    return found


def told(count: int) -> str:
    """How many BatchNormalizations gave their statistics, for a message; empty for none."""
    return f", statistics of {count} BatchNormalization{'s' if count > 1 else ''}" if count else ""


def imposed(model: Model, known: Mapping[str, Known]) -> Model:
    """The model with these statistics made true of each batch that runs through it; all tensors keep their names.

    Tensors that are not float32 with channels along axis 1 of a known rank are left as they are. Where nothing is
    known it is the model itself.
    """
    if not known:
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    draft = Draft(proto, dict(model.weights))
    index, types = GraphIndex(proto.graph), tensor_types(proto)
    for tensor, statistics in known.items():
        kind = types.get(tensor)
        if kind is None or kind.shape is None or len(kind.shape) < 2 or kind.element != TensorProto.FLOAT:
            continue
        _impose(draft, proto.graph.node[index.producer[tensor]], tensor, len(kind.shape), statistics)
    sort_nodes(proto.graph, model.path)
    return replace(model, proto=proto, weights=draft.weights)


def _impose(draft: Draft, writer: onnx.NodeProto, tensor: str, rank: int, known: Known) -> None:
    """Put the standardisation behind what writes the tensor."""
    raw = draft.free_name(f"{tensor}/raw")
    for place, name in enumerate(writer.output):
        if name == tensor:
            writer.output[place] = raw
    axes = [axis for axis in range(rank) if axis != 1]
    sizes = (1, -1, *[1] * (rank - 2))
    constants = {
        "tiny": np.asarray(_TINY, np.float32),
        "scale": known.deviation.reshape(sizes).astype(np.float32),
        "shift": known.mean.reshape(sizes).astype(np.float32),
    }
    given = {name: draft.add_constant(draft.free_name(f"{tensor}/{name}"), array) for name, array in constants.items()}

    def add(op_type: str, *inputs: str, output: str | None = None) -> str:
        name = output or draft.free_name(f"{tensor}/{op_type}")
        draft.proto.graph.node.append(helper.make_node(op_type, list(inputs), [name], name=f"{name}/imposed"))
        return name

    def mean(x: str) -> str:
        if draft.opset >= _AXES_AS_INPUT:
            return add("ReduceMean", x, draft.add_constant(draft.free_name(f"{tensor}/axes"), np.asarray(axes)))
        found = add("ReduceMean", x)
        draft.proto.graph.node[-1].attribute.append(helper.make_attribute("axes", axes))
        return found

    centred = add("Sub", raw, mean(raw))
    deviation = add("Sqrt", add("Add", mean(add("Mul", centred, centred)), given["tiny"]))
    scaled = add("Mul", add("Div", centred, deviation), given["scale"])
    add("Add", scaled, given["shift"], output=tensor)
