"""TensorProtos and numpy arrays: stubs for weights kept outside the graph, and their way back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .model import INLINE_BYTES

STUB_LOCATION = "weights"
"""What a stub names as its external file. There is none: the data are handed over in memory or written by `write`."""

_NATIVE = (
    *(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BOOL),
    *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
    *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
)
NATIVE: dict[int, np.dtype] = {kind: np.dtype(helper.tensor_dtype_to_np_dtype(kind)) for kind in _NATIVE}
"""Element types that numpy holds byte for byte as ONNX stores them; only these are kept outside the graph."""


def stub(name: str, array: np.ndarray) -> onnx.TensorProto:
    """A TensorProto without data: name, dims and type, marked as external."""
    tensor = onnx.TensorProto(
        name=name,
        data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
        dims=array.shape,
        data_location=TensorProto.EXTERNAL,
    )
    tensor.external_data.add(key="location", value=STUB_LOCATION)
    return tensor


def data_of(tensor: onnx.TensorProto, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Data of an initializer, kept in the graph or beside it."""
    return np.asarray(weights[tensor.name] if is_stub(tensor) else numpy_helper.to_array(tensor))


def is_stub(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor's data are kept elsewhere."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def put(graph: onnx.GraphProto, weights: dict[str, np.ndarray], name: str, array: np.ndarray) -> str:
    """Append an initializer: whole in the graph if small, else a stub there and the data in `weights`."""
    if array.nbytes > INLINE_BYTES and array.dtype in NATIVE.values():
        graph.initializer.append(stub(name, array))
        weights[name] = array
    else:
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
    return name


def little_endian(array: np.ndarray) -> memoryview:
    """The array's bytes as ONNX's `raw_data` wants them, without a copy where there is none to make."""
    ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data
