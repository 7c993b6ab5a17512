"""What a handful of element-wise operators compute, as polynomials: so every order and form of them matches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .patch import Patch

_DEGREE = 3
_DEPTH = 8
_TOLERANCE = 2e-6  # relative: constants are float32, and divided or multiplied once or twice


@dataclass(frozen=True)
class Expression:
    """a(x) + b(x)·e: polynomials in x, coefficients by power, and the nodes that compute it."""

    plain: np.ndarray
    scaled: np.ndarray
    nodes: frozenset[int]

    def equals(self, plain: list[float], scaled: list[float]) -> bool:
        """Whether the polynomials are these, to float rounding."""
        return _near(self.plain, plain) and _near(self.scaled, scaled)


def expression(patch: Patch, tensor: str, x: str, e: str = "", depth: int = _DEPTH) -> Expression | None:
    """A tensor in terms of `x` and, linearly, of `e`; None where it is none of degree 3 or less."""
    none = np.zeros(_DEGREE + 1)
    if tensor == x:
        return Expression(_power(1), none, frozenset())
    if tensor == e:
        return Expression(none, _power(0), frozenset())
    value = patch.scalar(tensor)
    if value is not None and patch.broadcasts(tensor, x or e):
        return Expression(_power(0) * value, none, frozenset())
    i = patch.writer(tensor)
    if i is None or depth == 0:
        return None
    node = patch.node(i)
    if node.op_type not in ("Add", "Sub", "Mul", "Div", "Pow", "Neg") or node.domain not in ("", "ai.onnx"):
        return None
    parts = [expression(patch, name, x, e, depth - 1) for name in node.input]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    nodes = frozenset((i,)).union(*(part.nodes for part in known))
    made = _combine(node.op_type, known)
    return Expression(*made, nodes) if made is not None else None


def bases(patch: Patch, tensor: str, depth: int = _DEPTH) -> Iterator[str]:
    """Tensors that one may be a polynomial of, itself first."""
    seen = {tensor}
    level = [tensor]
    for _ in range(depth):
        yield from level
        above: list[str] = []
        for name in level:
            i = patch.writer(name)
            if i is not None and patch.node(i).op_type in ("Add", "Sub", "Mul", "Div", "Pow", "Neg"):
                above += [n for n in patch.node(i).input if n not in seen and n not in patch.index.initializers]
        level = list(dict.fromkeys(above))
        seen.update(level)


def linear(patch: Patch, tensor: str) -> tuple[str, Expression] | None:
    """A tensor as a·x + b, a not 0, in terms of the farthest x: all between has no other reader. None if it is none."""
    best: tuple[str, Expression] | None = None
    for x in bases(patch, tensor):
        found = expression(patch, tensor, x)
        if found is None or not found.nodes or found.plain[2:].any() or not found.plain[1]:
            continue
        if patch.closed(found.nodes, tensor):
            best = (x, found)
    return best


def results(patch: Patch, tensor: str, depth: int = _DEPTH) -> Iterator[str]:
    """Tensors computed element-wise behind one, nearest first, as long as each has one reader."""
    for _ in range(depth):
        reader = patch.index.sole_consumer(tensor)
        if reader is None or patch.node(reader).op_type not in ("Add", "Sub", "Mul", "Div", "Neg"):
            return
        tensor = patch.node(reader).output[0]
        yield tensor


def _combine(op_type: str, parts: list[Expression]) -> tuple[np.ndarray, np.ndarray] | None:
    a = parts[0]
    if op_type == "Neg":
        return -a.plain, -a.scaled
    b = parts[1]
    if op_type in ("Add", "Sub"):
        sign = 1.0 if op_type == "Add" else -1.0
        return a.plain + sign * b.plain, a.scaled + sign * b.scaled
    if op_type == "Mul":
        if a.scaled.any() and b.scaled.any():
            return None
        plain = _product(a.plain, b.plain)
        left, right = _product(a.plain, b.scaled), _product(a.scaled, b.plain)
        return (plain, left + right) if plain is not None and left is not None and right is not None else None
    if b.scaled.any() or b.plain[1:].any():
        return None
    if op_type == "Div":
        return (a.plain / b.plain[0], a.scaled / b.plain[0]) if b.plain[0] else None
    exponent = b.plain[0]
    if a.scaled.any() or exponent not in (1.0, 2.0, 3.0):
        return None
    result: np.ndarray | None = a.plain
    for _ in range(int(exponent) - 1):
        result = _product(result, a.plain) if result is not None else None
    return (result, np.zeros(_DEGREE + 1)) if result is not None else None


def _power(n: int) -> np.ndarray:
    one = np.zeros(_DEGREE + 1)
    one[n] = 1.0
    return one


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    whole = np.zeros(2 * _DEGREE + 1)
    for k, factor in enumerate(a):
        whole[k : k + _DEGREE + 1] += factor * b
    return None if whole[_DEGREE + 1 :].any() else whole[: _DEGREE + 1]


def _near(found: np.ndarray, wanted: list[float]) -> bool:
    full = np.zeros(_DEGREE + 1)
    full[: len(wanted)] = wanted
    return bool(np.all(np.abs(found - full) <= _TOLERANCE * np.abs(full)))
