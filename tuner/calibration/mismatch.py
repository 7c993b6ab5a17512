"""Whether the samples of an evaluation are like those of a calibration, by the ranges of all tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .ranges import Ranges
from .statistics import Statistics

MARGIN = 0.1
"""Of a calibrated range: so far beyond its ends a value may lie and count as inside."""
_LEAST = 1e-3
_FEWEST = 8
"""Values at least: of small tensors a few lie outside by chance."""
_NARROW = 0.25
_SHARE = 0.02
_CHANCE = 1.6


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What some samples of the evaluation do to the calibrated ranges.

    Attributes:
        samples: Of the evaluation that were looked at.
        tensors: Compared.
        outside: Tensors with more than 0.1 % of their values, and 8 at least, beyond the smallest and largest
            calibrated one, by more than a tenth of the range.
        narrow: Tensors that reach less than a quarter of their calibrated range.
        worst: The tensor with the most values outside, an input of the model before any other; "" where there is none.
        beyond: Fraction of its values.
        reach: Its largest magnitude over the largest calibrated one.
    """

    samples: int
    tensors: int
    outside: int
    narrow: int
    worst: str = ""
    beyond: float = 0.0
    reach: float = 1.0

    def unlike(self, calibrated: int) -> bool:
        """Whether calibration on that many samples saw other data than the evaluation feeds.

        Of like data some tensors' values lie outside too, by chance the more the fewer samples were calibrated on: on
        the public tasks up to 6 % of the tensors at 16 samples and 1 % at 128.
        """
        limit = max(1.0, (_SHARE + _CHANCE / max(calibrated, 1)) * self.tensors)
        return self.outside > limit or self.narrow > limit

    def to_json(self) -> dict[str, Any]:
        """A JSON-able form."""
        return asdict(self)


def mismatch(met: Statistics, ranges: Ranges, inputs: Mapping[str, Any] | tuple[str, ...] = ()) -> Mismatch:
    """Compare what some samples bring with the smallest and largest values that calibration saw.

    Args:
        met: Statistics of these samples.
        ranges: What calibration found.
        inputs: Names of the model's inputs.
    """
    compared = outside = narrow = 0
    worst: tuple[bool, float, str, float] = (False, 0.0, "", 1.0)
    for tensor, statistics in met.tensors.items():
        histogram = statistics.histogram
        if not histogram.count or tensor not in ranges.values:
            continue
        compared += 1
        low, high = ranges.get(tensor, "minmax", "asymmetric")
        room, most = MARGIN * (high - low), max(-low, high)
        bins = histogram.bins()
        count = int(bins.counts[(bins.lower > high + room) | (bins.upper < low - room)].sum())
        beyond = count / histogram.count if count >= _FEWEST else 0.0
        reach = max(abs(histogram.min), abs(histogram.max)) / most if most > 0 else 1.0
        outside += beyond > _LEAST
        narrow += reach < _NARROW
        if beyond > _LEAST or reach < _NARROW:
            worst = max(worst, (tensor in inputs, max(beyond, _LEAST), tensor, reach), key=lambda found: found[:2])
    _, beyond, tensor, reach = worst
    return Mismatch(met.samples, compared, outside, narrow, tensor, beyond if tensor else 0.0, reach)
