"""The model file, and the files its external data live in."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, TensorProto, numpy_helper

from ...errors import ModelError
from .index import subgraphs
from .tensors import NATIVE

_CHUNK = 1 << 24
_TWO_GIB = (1 << 31) - 1


class ExternalData:
    """The files beside a model that hold its weights, each mapped once.

    Attributes:
        files: Location as the model names it → its bytes, a read-only map.
    """

    def __init__(self, model: Path) -> None:
        self._model = model
        self.files: dict[str, np.ndarray] = {}

    def array(self, tensor: onnx.TensorProto) -> np.ndarray:
        """The data of an external tensor, a view into the mapped file where its type allows.

        Raises:
            ModelError: The file is missing, too short, or outside the model's folder.
        """
        entry = {item.key: item.value for item in tensor.external_data}
        location = entry.get("location", "")
        data = self._file(location, tensor.name)
        kind = NATIVE.get(tensor.data_type)
        try:
            start = int(entry.get("offset") or 0)
            length = int(entry.get("length") or 0)
        except ValueError as error:
            raise ModelError(
                f"{self._model} is corrupt: the external data of {tensor.name!r} have no valid offset."
            ) from error
        if kind is not None and not length:
            length = int(np.prod(tensor.dims, dtype=np.int64)) * kind.itemsize
        elif not length:
            length = len(data) - start
        if start < 0 or length < 0 or start + length > len(data):
            raise ModelError(
                f"External data of {tensor.name!r} end at byte {start + length:,}, but {location} has {len(data):,}. "
                "Copy the file again, completely."
            )
        raw = data[start : start + length]
        if kind is None:
            whole = onnx.TensorProto()
            whole.CopyFrom(tensor)
            whole.ClearField("data_location")
            del whole.external_data[:]
            whole.raw_data = raw.tobytes()
            return numpy_helper.to_array(whole)
        if raw.nbytes != int(np.prod(tensor.dims, dtype=np.int64)) * kind.itemsize:
            raise ModelError(
                f"{self._model} is corrupt: {tensor.name!r} has {raw.nbytes:,} bytes of data for {list(tensor.dims)}."
            )
        if raw.ctypes.data % kind.itemsize:
            raw = raw.copy()
        return raw.view(kind).reshape(tuple(tensor.dims))

    def _file(self, location: str, tensor: str) -> np.ndarray:
        if location in self.files:
            return self.files[location]
        if not location or Path(location).is_absolute() or ".." in Path(location).parts:
            raise ModelError(
                f"External data of {tensor!r} lie outside the model's folder ({location!r}), which is not allowed."
            )
        path = self._model.parent / location
        if not path.exists() and self._model.is_symlink():
            path = self._model.resolve().parent / location
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        except FileNotFoundError:
            raise ModelError(
                f"External data missing: {self._model.name} keeps weights in {path}, which does not exist."
            ) from None
        except OSError as error:
            raise ModelError(f"External data {path} cannot be read: {error.strerror}.") from error
        self.files[location] = np.frombuffer(mapped, np.uint8)
        return self.files[location]


def read(path: Path) -> tuple[onnx.ModelProto, hashlib._Hash, int]:
    """Parse an ONNX file; the sha256 of its bytes and their number beside it.

    Raises:
        ModelError: No such file, not ONNX, corrupt, or without nodes.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"No such file: {path}.") from None
    except IsADirectoryError:
        raise ModelError(f"{path} is a folder. Give the path of the .onnx file in it.") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise ModelError(f"{path} {_what(data)}.") from None
    if not data or not proto.HasField("graph") or proto.ir_version <= 0:
        raise ModelError(f"{path} {_what(data)}.")
    if not proto.graph.node:
        raise ModelError(f"{path} has no nodes: there is nothing to run.")
    if not _sound(proto.graph):
        raise ModelError(
            f"{path} is corrupt: it holds names or types that ONNX does not know. Copy or export it again."
        )
    return proto, hashlib.sha256(data), len(data)


def fingerprint(digest: hashlib._Hash, external: ExternalData) -> str:
    """sha256 of the file and, in order of their names, of the external files. For one file alone `sha256sum`'s."""
    for location in sorted(external.files):
        content = external.files[location]
        for start in range(0, len(content), _CHUNK):
            digest.update(content[start : start + _CHUNK].data)
    return digest.hexdigest()


def inner_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    """Tensors in the attributes of nodes and in the bodies of control flow."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            bodies = [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
            for body in bodies:
                yield from body.initializer
                yield from inner_tensors(body.node)


def _sound(graph: onnx.GraphProto) -> bool:
    """Whether names are text (protobuf hands out bytes where they are not) and element types exist."""
    values = (*graph.input, *graph.output, *graph.value_info)
    tensors = (*graph.initializer, *inner_tensors(graph.node))
    kinds = [tensor.data_type for tensor in tensors]
    kinds += [value.type.tensor_type.elem_type for value in values if value.type.HasField("tensor_type")]
    if not all(kind in TensorProto.DataType.values() for kind in kinds):
        return False
    texts = [item.name for item in (*values, *tensors)]
    for node in graph.node:
        texts += (node.name, node.op_type, node.domain, *node.input, *node.output)
        texts += (attribute.name for attribute in node.attribute)
    return all(isinstance(text, str) for text in texts) and all(
        _sound(body) for n in graph.node for body in subgraphs(n)
    )


def _what(data: bytes) -> str:
    """What a file that is no ONNX model seems to be."""
    if not data:
        return "is empty"
    if data.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the model. Run `git lfs pull`"
    if data.startswith(b"PK\x03\x04"):
        return "is not an ONNX model but a zip archive (a PyTorch checkpoint?). Export it to ONNX first"
    if data[4:8] in (b"TFL3", b"ORTM"):
        return f"is not an ONNX model but a {'TensorFlow Lite' if data[4:8] == b'TFL3' else 'ORT-format'} one"
    if len(data) > _TWO_GIB:
        return f"has {len(data):,} bytes, more than protobuf can hold. Save it with external data"
    if data[0] == 0x08:  # a ModelProto begins with its ir_version
        return "is corrupt: it begins like an ONNX model but cannot be read to its end. Copy or export it again"
    return "is not an ONNX model"
