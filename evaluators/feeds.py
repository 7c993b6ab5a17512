"""Feeds against a model's inputs: what fits, what does not, one sample of many."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from ..errors import ModelError
from .base import Feed
from .timefirst import time_first

# Symbolic names of a first dimension that counts something else than samples.
_NO_BATCH = re.compile(r"seq|time|len|frame|width|height|token|step", re.IGNORECASE)

_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(string)": "str",
}


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a model.

    Attributes:
        dtype: numpy's name of its element type.
        shape: Sizes; a name or None where a dimension is dynamic. None where nothing is declared.
        time_first: Whether recurrent layers run along its first dimension.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None
    time_first: bool = False

    @property
    def batched(self) -> bool:
        """Whether the first dimension is dynamic and may be taken for the batch."""
        if not self.shape or self.time_first:
            return False
        first = self.shape[0]
        return not isinstance(first, int) and not (first and _NO_BATCH.search(first))

    def __str__(self) -> str:
        sizes = "" if self.shape is None else ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} [{sizes}]" if self.shape is not None else f"{self.name} {self.dtype}"


def inputs_of(session: ort.InferenceSession) -> tuple[Input, ...]:
    """The inputs a session wants; it does not tell which begin with time."""
    found = []
    for argument in session.get_inputs():
        dtype = _TYPES.get(argument.type, argument.type.removeprefix("tensor(").removesuffix(")"))
        found.append(Input(argument.name, dtype, tuple(map(_size, argument.shape))))
    return tuple(found)


def inputs_of_file(path: Path) -> tuple[Input, ...]:
    """As `inputs_of_graph`, of an ONNX file.

    Raises:
        ModelError: No such file, or not an ONNX model.
    """
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except OSError as error:
        raise ModelError(f"Cannot read the model {path}: {error.strerror or error}.") from error
    except Exception as error:  # protobuf's DecodeError, which it does not export under a stable name
        raise ModelError(f"{path} is not an ONNX model: {error}.") from error
    return inputs_of_graph(graph)


def inputs_of_graph(graph: onnx.GraphProto) -> tuple[Input, ...]:
    """The inputs a graph wants; weights that old exporters list among them are left out."""
    weights, timed = {tensor.name for tensor in graph.initializer}, time_first(graph)
    found = []
    for value in graph.input:
        if value.name in weights:
            continue
        if not value.type.HasField("tensor_type"):  # a sequence, an optional
            found.append(Input(value.name, str(value.type.WhichOneof("value")), None))
            continue
        kind = value.type.tensor_type
        element = kind.elem_type
        dtype = "str" if element == onnx.TensorProto.STRING else helper.tensor_dtype_to_np_dtype(element).name
        shape: tuple[int | str | None, ...] | None = None
        if kind.HasField("shape"):
            sizes = kind.shape.dim
            shape = tuple(_size(size.dim_value if size.HasField("dim_value") else size.dim_param) for size in sizes)
        found.append(Input(value.name, dtype, shape, value.name in timed))
    return tuple(found)


def _size(size: object) -> int | str | None:
    """A declared size; None where it says nothing (no name, or the -1 that some exporters write)."""
    if isinstance(size, int):
        return size if size >= 0 else None
    return size if isinstance(size, str) and size else None


def describe(inputs: Sequence[Input]) -> str:
    """For a message: `x float32 [n, 3, 48, 192]; mask int64 [n, ?]`."""
    return "; ".join(map(str, inputs))


def problem(feed: Mapping[str, np.ndarray], inputs: Sequence[Input]) -> str | None:
    """What is wrong with a feed, as a clause; None when it fits."""
    wanted = {item.name: item for item in inputs}
    strangers = [name for name in feed if name not in wanted]
    if strangers:
        return f"the model has no input {strangers[0]!r}"
    for name, item in wanted.items():
        if name not in feed:
            return f"input {name!r} is missing"
        array = feed[name]
        if item.dtype != "str" and array.dtype.name != item.dtype:
            return f"input {name!r} is {array.dtype.name}, but the model wants {item.dtype}"
        if item.shape is not None:
            fits = len(item.shape) == array.ndim and all(
                not isinstance(size, int) or size == got for size, got in zip(item.shape, array.shape, strict=True)
            )
            if not fits:
                return f"input {name!r} has shape {list(array.shape)}, but the model wants {item}"
    return None


def batch_of(feed: Feed, inputs: Sequence[Input]) -> int | None:
    """Number of samples side by side in a feed, None where it cannot be divided.

    It can where every input's first dimension is dynamic, not time, and all arrays agree in its size.
    """
    if not inputs or not all(item.batched and item.name in feed for item in inputs):
        return None
    sizes = {feed[item.name].shape[:1] for item in inputs}
    if len(sizes) != 1:
        return None
    (size,) = sizes
    return int(size[0]) if size else None


def counted(feed: Feed) -> int:
    """Number of samples that a feed is counted as: its first input's first size, 1 where that has none."""
    first = next(iter(feed.values()), np.zeros(1))
    return len(first) if first.ndim else 1


def single(feed: Feed, inputs: Sequence[Input]) -> Feed:
    """The first sample of a feed alone (batch 1); the whole feed where it cannot be divided."""
    if (batch_of(feed, inputs) or 0) <= 1:
        return feed
    return {name: np.ascontiguousarray(array[:1]) for name, array in feed.items()}
