"""GELU, written out with Erf or Tanh, put back as one operator.

ONNX Runtime fuses most of these forms itself, but not where Q/DQ pairs stand on one of the Adds or Muls, and not in
every order. GELU(x) = x/2 · (1 + erf(x/√2)), or with tanh(√(2/π)·(x + 0.044715 x³)) for the Erf (Hendrycks & Gimpel,
Gaussian Error Linear Units, 2016).
"""

from __future__ import annotations

import math

from ..draft import Draft
from .algebra import bases, expression, results
from .patch import MICROSOFT, Change, Patch

_CUBIC = 0.044715


def gelu(draft: Draft) -> Change:
    """com.microsoft Gelu for the Erf form, FastGelu for the Tanh form.

    The bias of a MatMul before them stays an Add: ONNX Runtime makes a BiasGelu of both where it can, no faster.

    Requires: all of it element-wise in one tensor, in any order of operands and factors.
    Ensures: the same values to float rounding; no tensor that others read is gone.
    """
    patch = Patch(draft)
    k = math.sqrt(2 / math.pi)
    for i in patch.of_type("Erf"):
        _site(patch, i, [0.0, math.sqrt(0.5)], "Gelu")
    for i in patch.of_type("Tanh"):
        _site(patch, i, [0.0, k, 0.0, k * _CUBIC], "FastGelu")
    return patch.apply()


def _site(patch: Patch, i: int, wanted: list[float], made: str) -> None:
    node = patch.node(i)
    for x in bases(patch, node.input[0]):
        argument = expression(patch, node.input[0], x)
        if argument is None or not argument.equals(wanted, []):
            continue
        for result in results(patch, node.output[0]):
            found = expression(patch, result, x, node.output[0])
            if found is None or not found.equals([0.0, 0.5], [0.0, 0.5]):
                continue
            nodes = argument.nodes | found.nodes | {i}
            if patch.closed(nodes, result) and patch.untouched(nodes):
                stem = patch.node(max(nodes)).name
                patch.replace(nodes, [patch.make(made, [x], result, f"{stem}/{made}", MICROSOFT)])
                return
