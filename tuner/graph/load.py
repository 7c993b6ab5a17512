"""From a file to a normalised float model in memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import checker, helper, inliner, numpy_helper

from ...errors import ModelError
from .checks import check_nodes, check_wiring
from .constants import constants_to_initializers, fold_constants
from .draft import Draft
from .einsum import einsums_to_matmuls
from .fold import fold_into_convs
from .freegemm import free_gemms
from .gemm import plain_gemms
from .half import widen_half
from .identity import remove_identities
from .index import reads
from .model import INLINE_BYTES, Model
from .names import node_names
from .opset import LIFTED, OLDEST, lift, raise_ir_version
from .order import sort_nodes
from .read import ExternalData, fingerprint, inner_tensors, read
from .sums import sums_to_adds
from .tensors import NATIVE, is_stub, stub


def load(path: str | Path) -> Model:
    """Read an ONNX file and bring it into the one form all else works on (see `Model`).

    The graph computes what the file computes, to float rounding. Graph inputs and outputs keep names and types.

    Raises:
        ModelError: No such file, not ONNX, corrupt, external data missing, no nodes, or an opset that cannot be lifted.
    """
    path = Path(path)
    external = ExternalData(path)
    heavy, digest, source_bytes = read(path)
    draft = _strip(heavy, external, path)
    del heavy
    _normalise(draft, path)
    return Model(
        proto=draft.proto,
        weights=draft.weights,
        path=path,
        fingerprint=fingerprint(digest, external),
        opset=draft.opset,
        notes=tuple(draft.notes),
        source_bytes=source_bytes + sum(len(content) for content in external.files.values()),
    )


def _strip(proto: onnx.ModelProto, external: ExternalData, path: Path) -> Draft:
    """Take the large weights out of the message. What is left is copied, so that the message's memory can go."""
    weights = {}
    stubs = []
    for tensor in proto.graph.initializer:
        array = _value(tensor, external, path)
        if array.nbytes > INLINE_BYTES and tensor.data_type in NATIVE:
            weights[tensor.name] = array
            stubs.append(tensor)
        elif is_stub(tensor):
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for nodes in (proto.graph.node, *(function.node for function in proto.functions)):
        for tensor in inner_tensors(nodes):
            if is_stub(tensor):
                tensor.CopyFrom(numpy_helper.from_array(_value(tensor, external, path), tensor.name))
    for tensor in stubs:
        tensor.CopyFrom(stub(tensor.name, weights[tensor.name]))
    try:
        constants_to_initializers(proto, weights)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} is corrupt: the data of a Constant do not fit its shape ({error}).") from error
    light = onnx.ModelProto()
    light.CopyFrom(proto)
    return Draft(light, weights)


def _value(tensor: onnx.TensorProto, external: ExternalData, path: Path) -> np.ndarray:
    if is_stub(tensor):
        return external.array(tensor)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} is corrupt: the data of {tensor.name!r} do not fit its shape ({error}).") from error


def _normalise(draft: Draft, path: Path) -> None:
    """All that loading changes, in order."""
    if draft.proto.functions:
        draft.notes.append(f"{_count(len(draft.proto.functions), 'local function')} inlined.")
        draft.proto = inliner.inline_local_functions(draft.proto, convert_version=True)
        constants_to_initializers(draft.proto, draft.weights)
    try:
        check_nodes(draft.proto.graph, draft.opset)
    except checker.ValidationError as error:
        reason = " ".join(str(error).split("==> Context")[0].split()).rstrip(".")
        raise ModelError(f"{path} is not valid ONNX: {reason[:200]}. Export it again.") from error
    check_wiring(draft.proto.graph, path)
    sort_nodes(draft.proto.graph, path)
    _drop_weight_inputs(draft)
    if draft.opset == 0:  # operators of other domains only, ai.onnx.ml say
        draft.proto.opset_import.append(helper.make_opsetid("", LIFTED))
    raise_ir_version(draft.proto)
    if draft.opset < OLDEST:
        draft.notes.append(f"Opset lifted from {draft.opset} to {LIFTED}.")
        draft.proto = lift(draft.proto, LIFTED)
        constants_to_initializers(draft.proto, draft.weights)
    widen_half(draft)
    fold_constants(draft)
    sums_to_adds(draft)
    remove_identities(draft)
    einsums_to_matmuls(draft)
    free_gemms(draft)
    plain_gemms(draft)
    fold_into_convs(draft)
    if any(node.op_type == "DequantizeLinear" for node in draft.proto.graph.node):
        draft.notes.append("The model is partly quantized already: what is stays as it is, the rest can be tuned.")
    _drop_unread(draft)
    _name_nodes(draft)


def _drop_weight_inputs(draft: Draft) -> None:
    """Old exporters list weights among the inputs, as defaults a caller might replace; then nothing can be folded."""
    graph = draft.proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    listed = [i for i, value in enumerate(graph.input) if value.name in constants]
    for i in reversed(listed):
        del graph.input[i]
    if listed:
        draft.notes.append(f"{len(listed)} weights were listed as graph inputs too; they are constants now.")


def _name_nodes(draft: Draft) -> None:
    """Give every node a name of its own: ONNX Runtime refuses duplicates, and layers are spoken of by name."""
    nodes = draft.proto.graph.node
    count = Counter(node.name for node in nodes if node.name)
    shared = sum(n for n in count.values() if n > 1)
    if shared:
        draft.notes.append(f"{shared} nodes shared a name and were renamed.")
    for node, name in zip(nodes, node_names(nodes), strict=True):
        node.name = name


def _drop_unread(draft: Draft) -> None:
    """Nodes, constants and declared types nobody needs (any more). A runtime would not run them either."""
    graph = draft.proto.graph
    wanted = {value.name for value in graph.output}
    dead = []
    for i in range(len(graph.node) - 1, -1, -1):
        if wanted.isdisjoint(graph.node[i].output):
            dead.append(i)
        else:
            wanted |= reads(graph.node[i])
    if len(dead) == len(graph.node):
        dead.clear()  # all outputs are constants or inputs: leave it as odd as it is
    draft.drop_nodes(dead)
    draft.drop_initializers([tensor.name for tensor in graph.initializer if tensor.name not in wanted])
    written = {name for node in graph.node for name in node.output}
    for i in range(len(graph.value_info) - 1, -1, -1):
        if graph.value_info[i].name not in written:
            del graph.value_info[i]


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
