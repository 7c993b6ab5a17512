"""Lifting a model to a newer opset (per-channel QDQ needs 13)."""

from __future__ import annotations

import re

import onnx
from onnx import checker, defs, helper, shape_inference, version_converter

from ...errors import ModelError
from .checks import check_nodes
from .draft import opset
from .index import subgraphs

OLDEST = 13
"""Below this opset DequantizeLinear has no axis."""
LIFTED = 17
"""What a model from below `OLDEST` is lifted to."""

_OLDEST_IR = 8
_SCAN_UNBATCHED = 9
_FAILURES = (
    version_converter.ConvertError,
    RuntimeError,
    ValueError,
    checker.ValidationError,
    shape_inference.InferenceError,
)


def lift(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """A copy of a light model at a newer opset of the default domain; bodies of If/Loop included. Stubs stay stubs.

    Nodes and tensors keep their names; the converter may insert Constant nodes. A model at `version` or above comes
    back as it is (copied).

    Raises:
        ModelError: An operator has no equivalent in the newer opset.
    """
    lifted = onnx.ModelProto()
    lifted.CopyFrom(proto)
    found = opset(proto)
    if found >= version:
        return lifted
    lifted.ir_version = max(lifted.ir_version, _OLDEST_IR)
    try:
        _check_known(lifted.graph, found)
        graph = version_converter.convert_version(lifted, version).graph
        check_nodes(graph, version)
    except _FAILURES as error:
        reason = (
            re.sub(r"^.*Assertion .* failed: ", "", " ".join(str(error).split()))[:160].rstrip(".")
            or type(error).__name__
        )
        raise ModelError(
            f"The model's opset {found} cannot be lifted to {version}: {reason}. Export it again with opset {version}."
        ) from error
    graph.quantization_annotation.MergeFrom(proto.graph.quantization_annotation)
    lifted.graph.CopyFrom(graph)
    for imported in lifted.opset_import:
        if imported.domain in ("", "ai.onnx"):
            imported.version = version
    raise_ir_version(lifted)
    return lifted


def raise_ir_version(proto: onnx.ModelProto) -> None:
    """Lift the IR version to what the opset needs, and to 8: weights that are no inputs, metadata, external data."""
    needed = helper.find_min_ir_version_for(list(proto.opset_import), ignore_unknown=True)
    proto.ir_version = max(proto.ir_version, needed, _OLDEST_IR)


def _check_known(graph: onnx.GraphProto, version: int) -> None:
    """See that the converter knows every operator.

    Raises:
        ValueError: It does not.
    """
    for node in graph.node:
        if node.domain in ("", "ai.onnx") and not defs.has(node.op_type):
            raise ValueError(f"there is no operator {node.op_type} in ONNX")
        if node.op_type == "Scan" and version < _SCAN_UNBATCHED:  # the converter leaves it as it is, which is invalid
            raise ValueError("its Scan has a batch dimension, which newer ones lack")
        for body in subgraphs(node):
            _check_known(body, version)
