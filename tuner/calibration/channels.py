"""What each channel of an activation looks like over the calibration samples: one streaming pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ...errors import CalibrationError
from ...evaluators.base import Feed
from ..graph.model import Model
from .collect import OpenSession, stream

LOW, HIGH, MEAN, SQUARE = range(4)
"""Rows of what `channels` finds."""


def channels(
    model: Model,
    axes: Mapping[str, int],
    feeds: Iterable[Feed],
    *,
    open_session: OpenSession,
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Least and largest value, mean and mean square of each channel.

    Memory does not depend on the number of feeds.

    Args:
        model: The float model.
        axes: Tensor → the axis of its channels.
        feeds: The calibration samples, consumed one by one.
        open_session: As for `collect`.
        progress: Called with the number of samples done after each feed.

    Returns:
        Tensor → float64 [4, channels], the rows as `LOW`, `HIGH`, `MEAN` and `SQUARE`.

    Raises:
        CalibrationError: As `collect`; or infinity or NaN in a tensor.
    """
    found: dict[str, np.ndarray] = {}
    counts = dict.fromkeys(axes, 0)
    done = 0
    for size, parts in stream(model, list(axes), feeds, open_session=open_session):
        for values in parts:
            for tensor, axis in axes.items():
                array = np.asarray(values[tensor], np.float32)
                flat = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
                if not flat.shape[1]:
                    continue
                sums = flat.sum(axis=1, dtype=np.float64), np.einsum("cn,cn->c", flat, flat, dtype=np.float64)
                part = np.stack([flat.min(axis=1), flat.max(axis=1), *sums])
                if not np.isfinite(part).all():
                    raise CalibrationError(
                        f"the calibration samples bring infinity or NaN into {tensor!r}.\n"
                        "Leave such samples out of calibration()."
                    )
                counts[tensor] += flat.shape[1]
                held = found.setdefault(tensor, part)
                if held is not part:
                    held[LOW] = np.minimum(held[LOW], part[LOW])
                    held[HIGH] = np.maximum(held[HIGH], part[HIGH])
                    held[MEAN:] += part[MEAN:]
        done += size
        if progress is not None:
            progress(done)
    for tensor, held in found.items():
        held[MEAN:] /= counts[tensor]
    return found
