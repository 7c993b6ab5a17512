"""Whether calibration saw what a model meets: tensors whose values leave the calibrated range, or fill little of it."""

from __future__ import annotations

from dataclasses import dataclass

from .ranges import Ranges
from .statistics import Statistics

_CHANCE = 3.0
_LEAST = 1e-3
_NARROW = 0.25
"""Of the calibrated range must be reached, else integers are spent on values that never come."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """One tensor's values against what calibration saw of it.

    Attributes:
        tensor: Its name.
        beyond: Fraction of the values outside the calibrated range.
        reach: Largest magnitude over the largest calibrated one.
    """

    tensor: str
    beyond: float
    reach: float

    def unlike(self, samples: int) -> bool:
        """Whether calibration on that many samples saw other data.

        Of data like the calibration's, however alike the values within one sample, at most 2 ⁄ (samples + 1) lie
        beyond the extremes of the samples seen, on average: every one of the samples + 1 is as likely to hold them.
        """
        return self.beyond > max(_LEAST, _CHANCE * 2.0 / (samples + 1)) or self.reach < _NARROW


def coverage(met: Statistics, ranges: Ranges) -> list[Coverage]:
    """Every tensor with values and a range, in the order of the statistics.

    Args:
        met: What the model meets in use.
        ranges: What calibration found; the smallest and largest values seen count.
    """
    found = []
    for tensor, statistics in met.tensors.items():
        histogram = statistics.histogram
        if not histogram.count or tensor not in ranges.values:
            continue
        low, high = ranges.get(tensor, "minmax", "asymmetric")
        bins = histogram.bins()
        outside = (bins.lower >= high) & (bins.upper > high) | (bins.upper <= low) & (bins.lower < low)
        most = max(-low, high)
        reach = max(abs(histogram.min), abs(histogram.max)) / most if most > 0 else 1.0
        found.append(Coverage(tensor, float(bins.counts[outside].sum()) / histogram.count, reach))
    return found
