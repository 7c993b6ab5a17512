"""Moments of what layers read: one streaming pass, E[x] and E[x xᵀ] of each layer's rows."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ...errors import CalibrationError
from ...evaluators.base import Feed
from ..graph.model import Model
from .collect import OpenSession, stream
from .rows import Form, sample, total

LONGEST = 4608
"""Elements of a row beyond which there is no Hessian: it would take minutes and hundreds of megabytes."""
_ROWS = 4
_FEWEST = 8192


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known of one layer's rows.

    Attributes:
        mean: E[x], float64 [groups, K], of all rows, padding included.
        hessian: E[x xᵀ], float32 [groups, K, K], of a sample of the rows; None where none was asked for.
    """

    mean: np.ndarray
    hessian: np.ndarray | None = None


def moments(
    model: Model,
    forms: Collection[Form],
    feeds: Iterable[Feed],
    *,
    open_session: OpenSession,
    hessians: Collection[Form] = (),
    samples: int = 0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Mapping[Form, Moment]:
    """Run the feeds through the float model and sum up.

    Memory does not depend on the number of feeds. Of more than 4·K rows (8,192 at least) a Hessian sees about that
    many, the same number of each sample, drawn by the seed: the error of an entry falls with the root of the rows.

    Args:
        model: The float model that has the tensors.
        forms: Whose means are wanted.
        feeds: The calibration samples, consumed one by one.
        open_session: As for `collect`.
        hessians: Whose Hessians too.
        samples: How many samples the feeds hold in all; 0 for not known, then all rows count.
        seed: Of the draw.
        progress: Called with the number of samples done after each feed.

    Raises:
        CalibrationError: As `collect`.
    """
    every = list(dict.fromkeys((*forms, *hessians)))
    sums: dict[Form, np.ndarray] = {}
    squares: dict[Form, np.ndarray] = {}
    rows, drawn = dict.fromkeys(every, 0), dict.fromkeys(every, 0)
    done = 0
    tensors = [form.tensor for form in every]
    for number, (size, parts) in enumerate(stream(model, tensors, feeds, open_session=open_session)):
        for part, values in enumerate(parts):
            for form in every:
                summed, count = total(form, values[form.tensor])
                _add(sums, form, summed)
                rows[form] += count
                if form in hessians:
                    wanted = max(_ROWS * summed.shape[1], _FEWEST)
                    share = count if samples <= 0 else -(-wanted * size // samples)
                    random = np.random.default_rng([seed, number, part, zlib.crc32(repr(form).encode())])
                    some = sample(form, values[form.tensor], share, random)
                    _add(squares, form, some.transpose(0, 2, 1) @ some)
                    drawn[form] += some.shape[1]
        done += size
        if progress is not None:
            progress(done)
    found = {}
    for form in every:
        if not np.isfinite(sums[form]).all():
            raise CalibrationError(
                f"the calibration samples bring infinity or NaN into {form.tensor!r}.\n"
                "Leave such samples out of calibration()."
            )
        hessian = squares.pop(form, None)
        if hessian is not None:
            hessian /= np.float32(max(1, drawn[form]))
        found[form] = Moment(sums[form] / max(1, rows[form]), hessian)
    return found


def _add(sums: dict[Form, np.ndarray], form: Form, summand: np.ndarray) -> None:
    if form in sums:
        sums[form] += summand
    else:
        sums[form] = summand
