"""LayerNormalization, written out with ReduceMean, Sub, Pow, Sqrt and Div, put back as one operator.

y = (x - mean(x)) / √(var(x) + ε) · γ + β over the last axes (Ba, Kiros & Hinton, Layer Normalization, 2016). ONNX
Runtime fuses the usual form itself, but not where Q/DQ pairs stand on its Adds and Muls.
"""

from __future__ import annotations

import numpy as np
import onnx

from ..draft import Draft
from .opset import raised
from .patch import Change, Patch, attribute

_OPSET = 17


def layernorm(draft: Draft) -> Change:
    """LayerNormalization for its written-out form.

    Requires: the mean over the last axis or axes, of known number; γ and β, where there are, one value per element of
    these axes. The model's operators mean the same in opset 17, if it has an older one.
    Ensures: the same values to float rounding; no tensor that others read is gone.
    """
    patch = Patch(draft)
    roots = patch.of_type("Sqrt")
    if not roots or not raised(draft.proto, _OPSET, apply=False):
        return Change()
    for i in roots:
        _site(patch, i)
    if patch.sites:
        raised(draft.proto, _OPSET)
    return patch.apply()


def _site(patch: Patch, i: int) -> None:
    variance = _shifted(patch, patch.node(i).input[0])
    if variance is None:
        return
    spread, epsilon, add = variance
    mean = _mean(patch, spread)
    if mean is None:
        return
    squared, axes, over = mean
    square = patch.writer(squared)
    if square is None:
        return
    centred = _squared(patch, square)
    x, inner, centring = _centred(patch, centred, axes)
    reader = patch.index.sole_consumer(patch.node(i).output[0])
    if not x or reader is None or patch.node(reader).op_type != "Div":
        return
    numerator, denominator = patch.node(reader).input
    again, other_mean, other_centring = _centred(patch, numerator, axes)
    if denominator != patch.node(i).output[0] or again != x:
        return
    nodes = {i, add, over, square, reader, *inner, *centring, *other_mean, *other_centring}
    shape = patch.shape(x)
    first = _first_axis(axes, shape)
    if first is None or shape is None or not patch.closed(nodes, patch.node(reader).output[0]):
        return
    _write(patch, nodes, reader, x, epsilon, first, [n if isinstance(n, int) else None for n in shape[first:]])


def _write(patch: Patch, nodes: set[int], last: int, x: str, epsilon: float, axis: int, dims: list[int | None]) -> None:
    """Put the operator there, with γ and β as far as they follow."""
    result = patch.node(last).output[0]
    gamma = beta = None
    for kind in ("Mul", "Add"):
        reader = patch.index.sole_consumer(result)
        if reader is None or patch.node(reader).op_type != kind:
            continue
        others = [name for name in patch.node(reader).input if name != result]
        value = patch.constant(others[0]) if len(others) == 1 else None
        if value is None or value.dtype != np.float32:
            continue
        tail = value.reshape([n for k, n in enumerate(value.shape) if value.shape[:k].count(1) < k or n != 1])
        wanted = [known if known is not None else size for known, size in zip(dims, tail.shape, strict=False)]
        if list(tail.shape) != wanted or len(wanted) != len(dims):
            continue
        if kind == "Mul":
            gamma = (others[0], tail)
        else:
            beta = (others[0], tail)
        nodes.add(reader)
        result = patch.node(reader).output[0]
    if not patch.untouched(nodes) or (gamma is None and any(n is None for n in dims)):
        return
    stem = patch.node(max(nodes)).name
    if gamma is None:
        ones = np.ones([int(n) for n in dims if n is not None], np.float32)
        gamma = (patch.draft.add_constant(patch.draft.free_name(f"{result}/one"), ones), ones)
    inputs = [x, _named(patch, *gamma), *([_named(patch, *beta)] if beta else [])]
    node = patch.make(
        "LayerNormalization", inputs, result, f"{stem}/LayerNormalization", axis=axis, epsilon=float(epsilon)
    )
    patch.replace(nodes, [node])


def _named(patch: Patch, name: str, value: np.ndarray) -> str:
    """The constant, or one of the shape wanted."""
    if patch.draft.value(_tensor(patch, name)).shape == value.shape:
        return name
    return patch.draft.add_constant(patch.draft.free_name(f"{name}/flat"), value)


def _tensor(patch: Patch, name: str) -> onnx.TensorProto:
    found: onnx.TensorProto = next(t for t in patch.graph.initializer if t.name == name)
    return found


def _shifted(patch: Patch, tensor: str) -> tuple[str, float, int] | None:
    """A tensor as another plus a small constant: that one, the constant, the Add."""
    i = patch.writer(tensor)
    if i is None or patch.node(i).op_type != "Add":
        return None
    for name, other in (tuple(patch.node(i).input), tuple(patch.node(i).input)[::-1]):
        value = patch.scalar(other)
        if value is not None and value >= 0:
            return name, value, i
    return None


def _mean(patch: Patch, tensor: str) -> tuple[str, tuple[int, ...], int] | None:
    """A tensor as the mean of another: that one, the axes, the ReduceMean."""
    i = patch.writer(tensor)
    if i is None or patch.node(i).op_type != "ReduceMean" or not attribute(patch.node(i), "keepdims", 1):
        return None
    node = patch.node(i)
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        value = patch.constant(node.input[1])
        axes = value.reshape(-1).tolist() if value is not None else None
    return (node.input[0], tuple(axes), i) if axes else None


def _squared(patch: Patch, i: int) -> str:
    """What node `i` squares, the empty string if it does not."""
    node = patch.node(i)
    if node.op_type == "Mul" and node.input[0] == node.input[1]:
        return str(node.input[0])
    if node.op_type == "Pow" and patch.scalar(node.input[1]) == 2.0:
        return str(node.input[0])
    return ""


def _centred(patch: Patch, tensor: str, axes: tuple[int, ...]) -> tuple[str, set[int], set[int]]:
    """A tensor as x - mean(x): x, the mean's node, the Sub; "" where it is none."""
    i = patch.writer(tensor)
    if i is None or patch.node(i).op_type != "Sub":
        return "", set(), set()
    x, mean = patch.node(i).input
    found = _mean(patch, mean)
    if found is None or found[0] != x or found[1] != axes:
        return "", set(), set()
    return x, {found[2]}, {i}


def _first_axis(axes: tuple[int, ...], shape: tuple[int | str | None, ...] | None) -> int | None:
    """The first of the last axes, counted from the end; None where they are not the last ones."""
    if shape is None:
        return None
    found = sorted(axis if axis < 0 else axis - len(shape) for axis in axes)
    return found[0] if found == list(range(-len(found), 0)) else None
