"""A light graph and its weights back into ONNX bytes and files.

A full model is never held twice: it is written as a stream of protobuf pieces, the weights straight from their arrays.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from onnx import TensorProto

from ...errors import OutputError
from .tensors import is_stub, little_endian

EXTERNAL_BYTES = 1_800_000_000
"""Models of more bytes are written with their weights in a second file; protobuf itself ends at 2 GiB."""

_ALIGNMENT = 4096  # of each weight in the data file, so that runtimes can map it
_LENGTH_DELIMITED = 2
_Piece = bytes | memoryview


def skeleton(proto: onnx.ModelProto) -> bytes:
    """The graph alone, its large weights marked as external: for `SessionOptions.add_external_initializers`."""
    return bytes(proto.SerializeToString())


def inline(proto: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The full model in one message, which must stay under 2 GiB."""
    full = onnx.ModelProto()
    full.CopyFrom(proto)
    for tensor in full.graph.initializer:
        if is_stub(tensor):
            tensor.raw_data = bytes(little_endian(weights[tensor.name]))
            tensor.ClearField("data_location")
            del tensor.external_data[:]
    return full


def size(proto: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> int:
    """Bytes that `write` would write, data file included."""
    held = sum(
        _tensor_bytes(tensor, weights) if is_stub(tensor) else _field(tensor.ByteSize())
        for tensor in proto.graph.initializer
    )
    bare = proto.graph.ByteSize() - sum(_field(tensor.ByteSize()) for tensor in proto.graph.initializer)
    total: int = proto.ByteSize() - _field(proto.graph.ByteSize()) + _field(bare + held)
    if total <= EXTERNAL_BYTES:
        return total
    external, end = _externalized(proto, weights)
    return int(external.ByteSize()) + end


def write(proto: onnx.ModelProto, weights: Mapping[str, np.ndarray], path: Path) -> None:
    """Write the full model to `path`, atomically; a large one with its weights in `<file name>.data` beside it.

    Raises:
        OutputError: The folder is missing or cannot be written, or the disk is full.
    """
    if size(proto, weights) <= EXTERNAL_BYTES:
        _replace(path, _pieces(proto, weights))
        return
    external, _ = _externalized(proto, weights, location=f"{path.name}.data")
    _replace(path.with_name(f"{path.name}.data"), _data(external, weights))
    _replace(path, iter([skeleton(external)]))


def _field(length: int) -> int:
    """Bytes of an embedded message of `length` bytes with its tag (numbers below 16) and its length."""
    return 1 + len(_varint(length)) + length


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _head(message: type, name: str, length: int) -> bytes:
    number: int = message.DESCRIPTOR.fields_by_name[name].number  # type: ignore[attr-defined]
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(length)


def _bare(tensor: onnx.TensorProto) -> bytes:
    """A stub's fields without what marks it as one."""
    return bytes(TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims).SerializeToString())


def _tensor_bytes(tensor: onnx.TensorProto, weights: Mapping[str, np.ndarray]) -> int:
    return _field(len(_bare(tensor)) + _field(weights[tensor.name].nbytes))


def _pieces(proto: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> Iterator[_Piece]:
    """The full model's bytes: the model's other fields, then one graph: its other fields, then its initializers."""
    outer = onnx.ModelProto()
    outer.CopyFrom(proto)
    outer.ClearField("graph")
    graph = onnx.GraphProto()
    graph.CopyFrom(proto.graph)
    graph.ClearField("initializer")
    rest = graph.SerializeToString()
    tensors = [
        (_bare(tensor), little_endian(weights[tensor.name])) if is_stub(tensor) else (tensor.SerializeToString(), None)
        for tensor in proto.graph.initializer
    ]
    lengths = [len(head) + (0 if data is None else _field(data.nbytes)) for head, data in tensors]
    yield outer.SerializeToString()
    yield _head(onnx.ModelProto, "graph", len(rest) + sum(map(_field, lengths)))
    yield rest
    for (head, data), length in zip(tensors, lengths, strict=True):
        yield _head(onnx.GraphProto, "initializer", length)
        yield head
        if data is not None:
            yield _head(TensorProto, "raw_data", data.nbytes)
            yield data


def _externalized(
    proto: onnx.ModelProto, weights: Mapping[str, np.ndarray], location: str = "model.onnx.data"
) -> tuple[onnx.ModelProto, int]:
    """The skeleton with every stub pointing into the data file, and that file's length."""
    external = onnx.ModelProto()
    external.CopyFrom(proto)
    end = 0
    for tensor in external.graph.initializer:
        if is_stub(tensor):
            start = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = start + weights[tensor.name].nbytes
            del tensor.external_data[:]
            for key, value in (("location", location), ("offset", start), ("length", end - start)):
                tensor.external_data.add(key=key, value=str(value))
    return external, end


def _data(external: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> Iterator[_Piece]:
    end = 0
    for tensor in external.graph.initializer:
        if is_stub(tensor):
            start = int(next(entry.value for entry in tensor.external_data if entry.key == "offset"))
            yield bytes(start - end)
            data = little_endian(weights[tensor.name])
            yield data
            end = start + data.nbytes


def _replace(path: Path, pieces: Iterator[_Piece]) -> None:
    """Write pieces to a temporary file beside `path`, then take its place."""
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
                _flush(file)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {_why(error, path)}.") from error


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _why(error: OSError, path: Path) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full. Free some space or choose another folder"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to write in {path.parent}. Choose another folder"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"there is no folder {path.parent}. Create it or choose another"
    if error.errno == errno.EISDIR:
        return "it is a folder. Give a file name"
    return error.strerror or str(error)
