"""Hessian-based rounding: each weight's rounding error is made up for by the weights that are not rounded yet."""

from __future__ import annotations

import numpy as np

DAMPING = 0.01
"""Part of the mean diagonal added to the Hessian's."""
_BLOCK = 64


def gptq(
    weight: np.ndarray,
    hessian: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray,
    low: int,
    high: int,
    damping: float = DAMPING,
) -> np.ndarray:
    """Round weights so that the layer's output on the calibration samples changes least.

    Minimises tr(ΔW·H·ΔWᵀ), H = E[x xᵀ], greedily: column by column, in the order of falling H[j, j] ("act-order"),
    a weight goes to the nearest step and the rest take up its error, w ← w − (w_j − q_j)/U[j, j]·U[j, :], with U the
    upper Cholesky factor of H⁻¹ = UᵀU (Frantar et al. 2022, "GPTQ", algorithm 1; the closed form is that of Optimal
    Brain Quantization, Frantar & Alistarh 2022). The grid is given and stays. An output whose error the greedy order
    makes larger than rounding to nearest does is rounded to nearest.

    Args:
        weight: float32 [groups, outputs, K].
        hessian: [groups, K, K], symmetric, positive semi-definite.
        scale: Of the grid, [groups, outputs, 1] or broadcastable to it; [groups, outputs, K] where it differs along K.
        zero_point: Likewise.
        low: The least integer.
        high: The largest.
        damping: As `DAMPING`.

    Returns:
        int64 [groups, outputs, K].
    """
    original = weight.astype(np.float64)
    of_grid = (*weight.shape[:2], scale.shape[-1])
    step = np.broadcast_to(np.asarray(scale, np.float64), of_grid)
    zero = np.broadcast_to(np.asarray(zero_point, np.float64), of_grid)
    nearest = np.clip(np.rint(original / step) + zero, low, high)
    exact = hessian.astype(np.float64)
    order = np.argsort(-np.diagonal(exact, axis1=1, axis2=2), axis=1, kind="stable")
    factor = _factor(_ordered(exact, order), damping)
    # inputs first: a step works on whole rows of memory
    left = np.take_along_axis(original, order[:, np.newaxis], axis=2).transpose(0, 2, 1).copy()
    found = np.empty_like(left)
    steps, zeros = (_turned(each, order) for each in (step, zero))
    size = left.shape[1]
    for begin in range(0, size, _BLOCK):
        end = min(begin + _BLOCK, size)
        errors = np.empty((left.shape[0], end - begin, left.shape[2]))
        for j in range(begin, end):
            row = left[:, j : j + 1]
            of_row = slice(j, j + 1) if of_grid[-1] > 1 else slice(None)
            rounded = np.clip(np.rint(row / steps[:, of_row]) + zeros[:, of_row], low, high)
            found[:, j : j + 1] = rounded
            error = (row - (rounded - zeros[:, of_row]) * steps[:, of_row]) / factor[:, j : j + 1, j : j + 1]
            left[:, j + 1 : end] -= factor[:, j, j + 1 : end, np.newaxis] * error
            errors[:, j - begin : j - begin + 1] = error
        left[:, end:] -= factor[:, begin:end, end:].transpose(0, 2, 1) @ errors
    back = np.empty_like(original)
    np.put_along_axis(back, order[:, np.newaxis], found.transpose(0, 2, 1), axis=2)
    better = _loss((back - zero) * step - original, exact) <= _loss((nearest - zero) * step - original, exact)
    return np.where(better, back, nearest).astype(np.int64)


def _turned(by_output: np.ndarray, order: np.ndarray) -> np.ndarray:
    """[groups, outputs, K or 1] as [groups, K or 1, outputs], its inputs in that order."""
    if by_output.shape[2] > 1:
        by_output = np.take_along_axis(by_output, order[:, np.newaxis], axis=2)
    return by_output.transpose(0, 2, 1)


def _factor(hessian: np.ndarray, damping: float) -> np.ndarray:
    """The upper Cholesky factor U of the damped Hessian's inverse, H⁻¹ = UᵀU, for each group."""
    size = hessian.shape[1]
    diagonal = np.arange(size)
    damped = hessian.copy()
    mean = damped[:, diagonal, diagonal].mean(axis=1, keepdims=True)
    damped[:, diagonal, diagonal] += np.where(mean > 0, damping * mean, 1.0)
    # With J the reversal and J·H·J = L·Lᵀ it is U = (J·L·J)⁻¹: one factorisation, no inverse of H itself.
    lower = np.linalg.cholesky(damped[:, ::-1, ::-1])
    return np.triu(np.linalg.inv(lower[:, ::-1, ::-1]))


def _ordered(hessian: np.ndarray, order: np.ndarray) -> np.ndarray:
    rows = np.take_along_axis(hessian, order[:, :, np.newaxis], axis=1)
    return np.take_along_axis(rows, order[:, np.newaxis, :], axis=2)


def _loss(error: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """Squared change of each output, [groups, outputs, 1]."""
    loss: np.ndarray = ((error @ hessian) * error).sum(axis=2, keepdims=True)
    return loss
