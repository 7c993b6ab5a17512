"""From statistics to the ranges of every calibrator."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from .calibrators import CALIBRATORS, calibrate
from .histogram import Bins
from .ranges import Ranges
from .statistics import Statistics


def compute_ranges(statistics: Statistics) -> Ranges:
    """The range of every tensor that had finite values, under every calibrator and symmetry.

    Tensors that were never computed (or were nothing but NaN), and those with infinities (masks), which integers cannot
    hold, are left out: what needs one stays in float.
    """
    seen = {
        name: tensor
        for name, tensor in statistics.tensors.items()
        if tensor.histogram.count and not tensor.histogram.inf
    }
    distinct = {id(tensor.histogram): tensor.histogram for tensor in seen.values()}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # numpy leaves the lock for the long loops
        found = dict(
            zip(distinct, pool.map(lambda histogram: _ranges(histogram.bins()), distinct.values()), strict=True)
        )
    return Ranges(
        values={name: found[id(tensor.histogram)] for name, tensor in seen.items()},
        shapes={name: tensor.shape for name, tensor in statistics.tensors.items() if tensor.shape is not None},
        samples=statistics.samples,
    )


def _ranges(bins: Bins) -> dict[str, dict[str, tuple[float, float]]]:
    ranges: dict[str, dict[str, tuple[float, float]]] = {}
    for calibrator in CALIBRATORS:
        asymmetric = calibrate(bins, calibrator, symmetric=False)
        # Where nothing is negative both symmetries have one grid; the percentile alone counts its tails differently.
        same = bins.lower[0] >= 0 and not calibrator.startswith("percentile")
        symmetric = asymmetric if same else calibrate(bins, calibrator, symmetric=True)
        ranges[calibrator] = {"asymmetric": asymmetric, "symmetric": symmetric}
    return ranges
