"""What the user's code returned, as a metric or as per-sample scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

# A full evaluation with random access goes in few large calls: the user's code may sort its samples into good batches.
_LEAST_CHUNK, _CHUNKS = 512, 10


def as_metric(value: Any) -> float:
    """The finite number that `value` is.

    Raises:
        ValueError: It is none; the text is a clause such as `returned None`.
    """
    if value is None:
        raise ValueError("returned None")
    if isinstance(value, bool | np.bool_):
        raise ValueError(f"returned {value!s}, which is no number")
    if isinstance(value, str | bytes):
        raise ValueError(f"returned the text {_short(value)}")
    if isinstance(value, dict | list | tuple | set):
        raise ValueError(f"returned a {type(value).__name__} {_short(value)}")
    size = getattr(value, "size", 1)
    if isinstance(size, int) and size != 1:
        raise ValueError(f"returned an array of shape {getattr(value, 'shape', '?')}")
    try:
        metric = float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last: torch, of a tensor with many elements
        raise ValueError(f"returned a {type(value).__name__} ({_short(value)})") from None
    if not math.isfinite(metric):
        raise ValueError(f"returned {metric}")
    return metric


def as_scores(value: Any) -> tuple[np.ndarray, bool]:
    """Per-sample scores, float64 [n], and whether they came as booleans.

    Raises:
        ValueError: They are no finite numbers in one dimension; the text is a clause such as `a 2-D array …`.
    """
    if value is None:
        raise ValueError("None")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors of other libraries on a GPU
        raise ValueError(f"a {type(value).__name__} that is no array ({error})") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{_short(value)} of type {type(value).__name__}")
    if array.ndim > 1:
        raise ValueError(f"a {array.ndim}-D array of shape {array.shape}")
    scores = array.reshape(-1).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise ValueError(f"{scores[bad[0]]} at position {bad[0]}")
    return scores, array.dtype.kind == "b"


def chunks(indices: np.ndarray) -> Iterator[np.ndarray]:
    """The samples of a full evaluation, in the order given, in the calls they are scored in."""
    size = max(_LEAST_CHUNK, math.ceil(len(indices) / _CHUNKS))
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
