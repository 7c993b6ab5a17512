"""Shape arithmetic in front of a Reshape or Expand, made constant.

An exporter computes the target of a Reshape from the Shape of some tensor: Shape, Gather, Unsqueeze, Concat, a dozen
nodes where a 0 ("as the input has it") or a -1 ("what is left") says the same. Each is a kernel call of a microsecond
or two: in an integer MiniLM a few percent of the whole. With a constant target shapes also become known to those
rewrites that ask for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..draft import Draft
from .patch import Change, Patch, attribute, standard

_DEPTH = 12

Element = int | str
"""An element of an integer tensor: a number, or a symbol that is equal for equal sizes."""


def shapes(draft: Draft) -> Change:
    """A constant target for a Reshape of numbers, of the input's own sizes and at most one other.

    Requires: every size known, equal to the input's at the same place, or the only other one.
    Ensures: the same shapes for every input that the original takes, but one: empty tensors.
    """
    sites = 0
    while True:  # a constant target tells the shapes of what comes after
        found = _once(draft)
        if not found:
            return Change(sites)
        sites += found


def _once(draft: Draft) -> int:
    """As many as the shapes known so far tell."""
    patch = Patch(draft)
    for i in patch.of_type("Reshape"):
        node = patch.node(i)
        if len(node.input) < 2 or node.input[1] in patch.index.initializers or attribute(node, "allowzero", 0):
            continue
        target = _target(patch, node.input[0], _elements(patch, node.input[1]))
        if target is not None:
            name = draft.free_name(f"{node.output[0]}/shape")
            patch.touch(i).input[1] = draft.add_constant(name, np.asarray(target, np.int64))
            patch.sites += 1
    return patch.apply().sites


def _target(patch: Patch, data: str, wanted: Sequence[Element] | None) -> list[int] | None:
    """The target of a Reshape as numbers, None where they do not tell."""
    if wanted is None:
        return None
    shape = patch.shape(data)
    target: list[int] = []
    for k, element in enumerate(wanted):
        if isinstance(element, int):
            target.append(element)
        elif shape is not None and k < len(shape) and shape[k] == element:
            target.append(0)
        else:
            target.append(-1)
    return target if target.count(-1) <= 1 else None


def _elements(patch: Patch, tensor: str, depth: int = _DEPTH) -> list[Element] | None:
    """The elements of an integer tensor of one dimension at most, None where they cannot be told."""
    constant = patch.constant(tensor)
    if constant is not None:
        if constant.ndim > 1 or constant.dtype.kind != "i":
            return None
        return [int(n) for n in constant.reshape(-1)]
    i = patch.writer(tensor)
    if i is None or depth == 0 or not standard(patch.node(i)):
        return None
    node = patch.node(i)
    if node.op_type == "Shape":
        return _shape(patch, node.input[0], attribute(node, "start", 0), attribute(node, "end"))
    parts = [_elements(patch, name, depth - 1) for name in node.input if name]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not known:
        return None
    return _moved(patch, i, known)


def _moved(patch: Patch, i: int, parts: list[list[Element]]) -> list[Element] | None:
    """What an operator that only moves elements makes of them."""
    node = patch.node(i)
    if node.op_type == "Concat" and attribute(node, "axis", 0) == 0:
        return [element for part in parts for element in part]
    if node.op_type in ("Cast", "Identity", "Unsqueeze", "Squeeze"):
        return parts[0]
    if node.op_type == "Reshape":
        return parts[0] if len(parts[1]) <= 1 else None
    numbers = [[n for n in part if isinstance(n, int)] for part in parts[1:]]
    if any(len(n) < len(part) for n, part in zip(numbers, parts[1:], strict=True)):
        return None
    if node.op_type == "Gather" and attribute(node, "axis", 0) == 0:
        inside = all(-len(parts[0]) <= n < len(parts[0]) for n in numbers[0])
        return [parts[0][n] for n in numbers[0]] if inside else None
    if node.op_type == "Slice" and all(len(n) == 1 for n in numbers) and len(numbers) >= 2:
        step = numbers[3][0] if len(numbers) > 3 else 1
        return parts[0][slice(numbers[0][0], numbers[1][0], step)] if step > 0 else None
    return None


def _shape(patch: Patch, tensor: str, start: int, end: int | None) -> list[Element] | None:
    shape = patch.shape(tensor)
    if shape is None:
        return None
    named: list[Element] = [f"{tensor}#{k}" if n is None else n for k, n in enumerate(shape)]
    return named[slice(start, end)]
