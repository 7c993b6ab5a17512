"""What calibration has seen: a histogram and a shape per tensor."""

from __future__ import annotations

from dataclasses import dataclass, field

from .histogram import Histogram


@dataclass(slots=True)
class TensorStatistics:
    """One activation tensor.

    Attributes:
        histogram: Of all its values in all feeds.
        shape: Its shape in the first feed, as fed; None if it was never computed.
    """

    histogram: Histogram = field(default_factory=Histogram)
    shape: tuple[int, ...] | None = None


@dataclass(slots=True)
class Statistics:
    """All tensors of one calibration, or of a part of it.

    Attributes:
        tensors: By name.
        samples: Samples seen: the sum of the feeds' first dimensions.
    """

    tensors: dict[str, TensorStatistics] = field(default_factory=dict)
    samples: int = 0

    def merge(self, other: Statistics) -> None:
        """Take in what `other` has seen. The order of merging only decides whose shapes are kept: the first's."""
        self.samples += other.samples
        for name, theirs in other.tensors.items():
            ours = self.tensors.setdefault(name, TensorStatistics())
            ours.histogram.merge(theirs.histogram)
            ours.shape = ours.shape or theirs.shape
