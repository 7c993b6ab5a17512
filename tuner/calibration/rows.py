"""How a compute layer reads a tensor: as rows of K elements, each multiplied with its weight (im2col for a Conv)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from numpy.lib.stride_tricks import as_strided
from onnx import helper

from ..graph.analysis import Layer


@dataclass(frozen=True, slots=True)
class Form:
    """The rows of one tensor. Equal forms have equal statistics, whatever weight they meet.

    Attributes:
        tensor: The activation.
        size: K. Where a rewrite fills up channels, the tensor of a name has more of them.
        axis: Which of its axes is summed over: 1 for a Conv, -1 or -2 (a MatMul with its weight on the left) else.
        groups: Of a grouped Conv, else 1.
        kernel: Spatial size of a Conv's window, empty for other layers; `strides` and `dilations` likewise.
        pads: Zeros before each spatial axis, then behind each, as ONNX orders them.
        auto_pad: `SAME_UPPER` or `SAME_LOWER`, where the padding follows from the input's size; else empty.
    """

    tensor: str
    size: int
    axis: int = -1
    groups: int = 1
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    auto_pad: str = ""


def form_of(layer: Layer, node: onnx.NodeProto, dims: Sequence[int]) -> Form | str:
    """How a layer reads its input, or why that is no matter of rows (a clause).

    Args:
        layer: A layer with a constant weight.
        node: Its compute node.
        dims: Shape of the weight.
    """
    if layer.op_type == "Conv":
        return _conv(layer.inputs[0], node, dims)
    if layer.op_type not in ("MatMul", "Gemm"):
        return f"a {layer.op_type} has no rows"
    if len(dims) != 2:
        return f"its weight has {len(dims)} dimensions"
    assert layer.weight_axis is not None
    return Form(layer.inputs[0], dims[1 - layer.weight_axis], axis=-1 if layer.weight_input == 1 else -2)


def total(form: Form, values: np.ndarray) -> tuple[np.ndarray, int]:
    """The sum of all rows, padding accounted for, and their number.

    Args:
        form: How to read.
        values: The tensor's, of one run.

    Returns:
        float64 [groups, K], and the number of rows.
    """
    if not form.kernel:
        rows = _flat(form, values)
        return rows.sum(axis=0, dtype=np.float64)[np.newaxis], len(rows)
    # Summed over the batch first: a window's sum is then as dear as one sample's.
    summed = values.sum(axis=0, dtype=np.float64, keepdims=True)
    windows = _windows(form, summed)
    spatial = tuple(range(2, 2 + len(form.kernel)))
    sums = windows[0].sum(axis=tuple(axis - 1 for axis in spatial))
    positions = prod(windows.shape[axis] for axis in spatial)
    return sums.reshape(form.groups, -1), positions * values.shape[0]


def sample(form: Form, values: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """At most `count` rows, drawn without replacement.

    Returns:
        float32 [groups, rows, K].
    """
    if not form.kernel:
        rows = _flat(form, values)
        if len(rows) > count:
            rows = rows[np.sort(random.choice(len(rows), count, replace=False))]
        return np.ascontiguousarray(rows, np.float32)[np.newaxis]
    windows = _windows(form, np.asarray(values, np.float32))
    spatial = len(form.kernel)
    windows = np.moveaxis(windows, 1, 1 + spatial)  # [batch, positions…, channels, kernel…]
    places = windows.shape[: 1 + spatial]
    whole = prod(places)
    flat = np.arange(whole) if whole <= count else np.sort(random.choice(whole, count, replace=False))
    rows = windows[np.unravel_index(flat, places)]
    return np.ascontiguousarray(rows.reshape(len(flat), form.groups, -1).transpose(1, 0, 2))


def as_matrices(weight: np.ndarray, form: Form, axis: int) -> np.ndarray:
    """A weight as [groups, outputs of a group, K], its rows in the order of the input's; `axis`: of its outputs."""
    rows = np.moveaxis(weight, axis, 0)
    return rows.reshape(form.groups, rows.shape[0] // form.groups, -1)


def as_weight(matrices: np.ndarray, dims: Sequence[int], axis: int) -> np.ndarray:
    """The inverse of `as_matrices`, for a weight of that shape."""
    first = [dims[axis], *(size for i, size in enumerate(dims) if i != axis)]
    return np.ascontiguousarray(np.moveaxis(matrices.reshape(first), 0, axis))


def _conv(tensor: str, node: onnx.NodeProto, dims: Sequence[int]) -> Form | str:
    given: Mapping[str, object] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    kernel = tuple(int(size) for size in dims[2:])
    ones = (1,) * len(kernel)

    def integers(name: str, usual: tuple[int, ...]) -> tuple[int, ...]:
        found = given.get(name)
        return tuple(int(value) for value in found) if isinstance(found, Sequence) and found else usual

    padding = given.get("auto_pad", b"NOTSET")
    auto_pad = padding.decode() if isinstance(padding, bytes) else str(padding)
    groups = given.get("group", 1)
    assert isinstance(groups, int)
    return Form(
        tensor,
        prod(dims[1:]),
        axis=1,
        groups=groups,
        kernel=kernel,
        strides=integers("strides", ones),
        dilations=integers("dilations", ones),
        pads=integers("pads", (0,) * (2 * len(kernel))) if auto_pad == "NOTSET" else (0,) * (2 * len(kernel)),
        auto_pad=auto_pad if auto_pad.startswith("SAME") else "",
    )


def _flat(form: Form, values: np.ndarray) -> np.ndarray:
    moved = np.moveaxis(values, form.axis if values.ndim > 1 else -1, -1)
    return moved.reshape(-1, moved.shape[-1])


def _windows(form: Form, values: np.ndarray) -> np.ndarray:
    """A view [batch, channels, positions…, kernel…] of the padded tensor."""
    spatial = len(form.kernel)
    reach = [(size - 1) * step + 1 for size, step in zip(form.kernel, form.dilations, strict=True)]
    before, behind = list(form.pads[:spatial]), list(form.pads[spatial:])
    if form.auto_pad:
        for i in range(spatial):
            size, step = values.shape[2 + i], form.strides[i]
            missing = max(0, (-(-size // step) - 1) * step + reach[i] - size)
            half = missing // 2
            before[i], behind[i] = (half, missing - half) if form.auto_pad == "SAME_UPPER" else (missing - half, half)
    padded = np.pad(values, [(0, 0), (0, 0), *zip(before, behind, strict=True)])
    out = [(padded.shape[2 + i] - reach[i]) // form.strides[i] + 1 for i in range(spatial)]
    moves = [padded.strides[2 + i] * form.strides[i] for i in range(spatial)]
    steps = [padded.strides[2 + i] * form.dilations[i] for i in range(spatial)]
    return as_strided(
        padded,
        shape=(*padded.shape[:2], *out, *form.kernel),
        strides=(*padded.strides[:2], *moves, *steps),
        writeable=False,
    )
