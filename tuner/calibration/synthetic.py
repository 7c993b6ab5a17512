"""Inputs made up where there are no data: noise with an image's spectrum, random tokens, masks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx

from ...errors import CalibrationError
from ...evaluators.base import Feed
from ...evaluators.feeds import Input
from ..graph.index import GraphIndex
from ..graph.model import Model

EXTREME = 2.6
"""Of standardised noise, beyond which it is cut: 8-bit pixels, normalised as for ImageNet, end at -2.1 and 2.6."""
_BATCH = 8
_IMAGE, _SEQUENCE, _VOLUME = 224, 64, 32
_PASSING = frozenset(("Cast", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Flatten"))
_ZERO = re.compile(r"type|segment", re.IGNORECASE)


def synthesised(
    model: Model,
    *,
    count: int,
    seed: int = 0,
    shapes: Mapping[str, Sequence[int]] | None = None,
    bounds: tuple[float, float] | None = None,
) -> Iterator[Feed]:
    """Feeds of made-up samples, in batches of 8 where every input has a batch.

    Images and volumes (three or more dimensions behind the batch's) are Gaussian noise whose amplitude falls with
    1 ⁄ frequency as that of natural images does (Field 1987, "Relations between the statistics of natural images and
    the response properties of cortical cells", J. Opt. Soc. Am. A 4); other float inputs are independent Gaussian
    noise. Both have mean 0 and deviation about 1. Integers that index a table are drawn from all its rows, masks cover
    a random length.

    Args:
        model: The float model.
        count: Samples.
        seed: Of everything.
        shapes: Of inputs, the batch included, for sizes that the model leaves open.
        bounds: Smallest and largest value of the float inputs, instead of ±2.6.

    Raises:
        CalibrationError: An input of a type that nothing sensible can be made up for.
    """
    tables = _tables(model)
    size = _BATCH if model.inputs and all(item.batched for item in model.inputs) else 1
    sizes = {item.name: _size(item, (shapes or {}).get(item.name)) for item in model.inputs}
    for number, first in enumerate(range(0, count, size)):
        random = np.random.default_rng([seed, number])
        rows = min(size, count - first)
        length = random.integers(0, 1 << 30)
        feed = {}
        for item in model.inputs:
            shape = (rows, *sizes[item.name][1:]) if size > 1 else sizes[item.name]
            feed[item.name] = _values(item, shape, tables.get(item.name), bounds, random, int(length))
        yield feed


def assumed(model: Model, shapes: Mapping[str, Sequence[int]] | None = None) -> dict[str, tuple[int, ...]]:
    """Input → the sizes it gets at batch 1, of inputs with sizes behind the batch's that nothing settles."""
    found = {}
    for item in model.inputs:
        open_sizes = item.shape is None or not all(isinstance(size, int) for size in item.shape[1:])
        if open_sizes and item.name not in (shapes or {}):
            found[item.name] = _size(item, None)
    return found


def _size(item: Input, seen: Sequence[int] | None) -> tuple[int, ...]:
    """Sizes of an input at batch 1: as declared, else as seen, else what is usual."""
    declared = item.shape or ()
    rank = len(seen) if item.shape is None and seen is not None else len(declared)
    usual = {4: _IMAGE, 5: _VOLUME}.get(rank, _SEQUENCE)
    found = []
    for axis in range(rank):
        size = declared[axis] if item.shape is not None else None
        if isinstance(size, int) and size > 0:
            found.append(size)
        elif axis == 0:
            found.append(1)
        elif seen is not None and len(seen) == rank:
            found.append(int(seen[axis]))
        else:
            found.append(3 if rank == 4 and axis == 1 else usual)
    return tuple(found)


def _values(
    item: Input,
    shape: tuple[int, ...],
    table: int | None,
    bounds: tuple[float, float] | None,
    random: np.random.Generator,
    length: int,
) -> np.ndarray:
    if item.dtype in ("float32", "float16", "float64"):
        noise = _pink(shape, random) if len(shape) >= 4 else random.standard_normal(shape)
        values = np.clip(noise, -EXTREME, EXTREME)
        if bounds is not None:
            low, high = bounds
            values = low + (high - low) * (values + EXTREME) / (2.0 * EXTREME)
        return values.astype(item.dtype)
    if item.dtype == "bool":
        return np.ones(shape, bool)
    if not item.dtype.startswith(("int", "uint")):
        raise CalibrationError(
            f"nothing can be made up for the input {item.name!r} of type {item.dtype}.\n"
            "Calibrate on data: give calibration() in the eval file."
        )
    if "mask" in item.name.lower():
        return _mask(shape, item.dtype, length)
    if table is None or _ZERO.search(item.name):
        return np.full(shape, 0 if table is not None else 1, item.dtype)
    if "position" in item.name.lower():
        return (np.broadcast_to(np.arange(shape[-1] if shape else 1), shape) % table).astype(item.dtype)
    return random.integers(0, table, shape).astype(item.dtype)


def _pink(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Noise over the axes behind the first two with amplitude ∝ 1 ⁄ frequency; channels share half their variance."""
    axes = tuple(range(2, len(shape)))
    shared = random.standard_normal((shape[0], 1, *shape[2:]))
    white = np.sqrt(0.5) * shared + np.sqrt(0.5) * random.standard_normal(shape)
    spectrum = np.fft.rfftn(white, axes=axes)
    squares = [np.square(np.fft.fftfreq(size)) for size in shape[2:-1]] + [np.square(np.fft.rfftfreq(shape[-1]))]
    radius = np.sqrt(sum(np.meshgrid(*squares, indexing="ij")))
    lowest = 1.0 / max(shape[2:])
    found = np.fft.irfftn(spectrum / np.maximum(radius, lowest), s=shape[2:], axes=axes)
    deviation = found.std(axis=axes, keepdims=True)
    contrast = random.uniform(0.5, 1.2, (shape[0], 1, *[1] * len(axes)))
    return np.asarray(contrast * found / np.maximum(deviation, 1e-12), np.float64)


def _mask(shape: tuple[int, ...], dtype: str, length: int) -> np.ndarray:
    """Ones, from a random length on zeros: of half the samples."""
    found = np.ones(shape, dtype)
    if len(shape) == 2 and shape[1] > 1:
        lengths = np.random.default_rng(length).integers(shape[1] // 2, shape[1] + 1, shape[0])
        lengths[::2] = shape[1]
        found = (np.arange(shape[1]) < lengths[:, np.newaxis]).astype(dtype)
    return found


def _tables(model: Model) -> dict[str, int]:
    """Input → the rows of the smallest constant table that it indexes."""
    graph = model.proto.graph
    index = GraphIndex(graph)
    found: dict[str, int] = {}
    for value in graph.input:
        waiting, met = [value.name], set()
        while waiting:
            tensor = waiting.pop()
            if tensor in met:
                continue
            met.add(tensor)
            for place in index.consumers.get(tensor, ()):
                node = graph.node[place]
                if node.op_type == "Gather" and node.input[1] == tensor and node.input[0] in index.initializers:
                    rows = index.initializers[node.input[0]].dims[_axis(node)]
                    found[value.name] = min(rows, found.get(value.name, rows))
                elif node.op_type in _PASSING and node.input[0] == tensor:
                    waiting.extend(node.output)
    return found


def _axis(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)
