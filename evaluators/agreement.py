"""How far one sample's output agrees with a label or with the float model's output."""

from __future__ import annotations

import numpy as np


def predictions(output: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Class numbers in the shape of `labels` from a model's first output.

    Args:
        output: Class scores [n, …, C], or class numbers [n, …] where it is integer.
        labels: Class numbers [n, …], int64.

    Returns:
        int64, shape of `labels`; -1 where a score is NaN.

    Raises:
        ValueError: It is neither; the text is a clause.
    """
    if output.dtype.kind in "iu":
        predicted = output.astype(np.int64)
    elif output.dtype.kind == "f" and output.ndim >= 2 and output.shape[-1] >= 2:
        predicted = np.where(np.isnan(output).any(axis=-1), -1, output.argmax(axis=-1))
        classes = output.shape[-1]
        if labels.size and (labels.max() >= classes or labels.min() < 0):
            raise ValueError(
                f"labels lie between {labels.min()} and {labels.max()}, but the first output has {classes} classes, "
                f"0 to {classes - 1}"
            )
    else:
        raise ValueError(f"the first output ({output.dtype} {list(output.shape)}) has no axis of class scores")
    while predicted.ndim > labels.ndim and predicted.shape[-1] == 1:
        predicted = predicted[..., 0]
    if predicted.shape != labels.shape:
        raise ValueError(
            f"the first output gives predictions of shape {list(predicted.shape)}, but labels are {list(labels.shape)}"
        )
    return predicted


def agreement(reference: np.ndarray, output: np.ndarray) -> float:
    """One sample's output against the float model's, between 0 and 1.

    A vector of at least two floats counts as class scores: 1 where the argmax is the same, else 0. Integers, booleans
    and strings: the fraction of equal elements. Any other float tensor: 1 − ‖output − reference‖² / ‖reference‖²,
    not below 0. Another shape, or a NaN or infinity where the reference has none: 0.
    """
    if reference.shape != output.shape:
        return 0.0
    if reference.dtype.kind != "f":
        return float(np.mean(reference == output)) if reference.size else 1.0
    finite = np.isfinite(reference)
    if not np.isfinite(output[finite]).all():
        return 0.0
    if reference.ndim == 1 and reference.size >= 2:
        return float(reference.argmax() == output.argmax())
    whole = reference[finite].astype(np.float64)
    error = float(((output[finite] - whole) ** 2).sum())
    power = float((whole**2).sum())
    if power == 0.0:
        return float(error == 0.0)
    return max(0.0, 1.0 - error / power)
