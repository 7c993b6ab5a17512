"""A graph run piece by piece on all samples together, so that what one piece writes can be changed before the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from ...evaluators.base import Feed
from ..calibration.collect import OpenSession
from ..graph.index import reads


def stages(
    proto: onnx.ModelProto,
    weights: Mapping[str, np.ndarray],
    stops: Sequence[str],
    feeds: Sequence[Feed],
    open_session: OpenSession,
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Run a graph up to one tensor after the other: (tensor, its values for each feed).

    What is changed in these arrays is what the rest of the graph reads. All pieces together cost about one run of the
    graph per feed; of each feed only the tensors that are still to be read are kept.

    Args:
        proto: A skeleton, its nodes in an order in which they can run.
        weights: Data of its stripped initializers.
        stops: Tensors that nodes write; they come in the graph's order.
        feeds: Inputs of one run each.
        open_session: Opens a piece.
    """
    nodes = proto.graph.node
    writer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    wanted = sorted(stops, key=writer.__getitem__)
    read = [reads(node) for node in nodes]
    held: list[dict[str, np.ndarray]] = [{name: np.asarray(value) for name, value in feed.items()} for feed in feeds]
    begin = 0
    for place, stop in enumerate(wanted):
        end = writer[stop] + 1
        if end > begin:  # else the node before wrote it too
            later = {name for i in range(end, writer[wanted[-1]] + 1) for name in read[i]} | set(wanted[place:])
            written = [name for node in nodes[begin:end] for name in node.output if name in later]
            piece, own = _piece(proto, weights, range(begin, end), set().union(*read[begin:end]), held[0], written)
            session = open_session(piece, weights=own)
            given = [value.name for value in session.get_inputs()]
            for values in held:
                found = session.run(written, {name: values[name] for name in given})
                values.update(zip(written, found, strict=True))
                for name in values.keys() - later:
                    del values[name]
            begin = end
        yield stop, [values[stop] for values in held]


def _piece(
    proto: onnx.ModelProto,
    weights: Mapping[str, np.ndarray],
    places: range,
    read: set[str],
    known: Mapping[str, np.ndarray],
    written: Sequence[str],
) -> tuple[bytes, dict[str, np.ndarray]]:
    """A model of some nodes, serialized, and the data of its stripped initializers."""
    piece = onnx.ModelProto(ir_version=proto.ir_version)
    piece.opset_import.extend(proto.opset_import)
    piece.functions.extend(proto.functions)
    graph = piece.graph
    graph.name = "piece"
    graph.node.extend(proto.graph.node[place] for place in places)
    graph.initializer.extend(tensor for tensor in proto.graph.initializer if tensor.name in read)
    constant = {tensor.name for tensor in graph.initializer}
    for name in sorted(read & known.keys() - constant):
        value = known[name]
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        sizes = [f"{name}/{axis}" for axis in range(value.ndim)]  # feeds may differ in size, never in rank
        graph.input.append(helper.make_tensor_value_info(name, kind, sizes))
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in written)
    return piece.SerializeToString(), {name: weights[name] for name in constant if name in weights}
