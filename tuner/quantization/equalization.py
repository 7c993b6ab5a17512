"""Cross-layer equalization: channels scaled so that weights, and activations, use one grid evenly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_ROUNDS = 100
_SETTLED = 1e-4
_LEAST = 1e-4
_BALANCES = 2.0 ** np.arange(-8, 9)


def parted(weight: np.ndarray, axis: int, groups: int = 1) -> np.ndarray:
    """A weight as [groups, outputs / groups, inputs / groups, positions of the kernel]; axis: of its outputs."""
    moved = np.moveaxis(weight, axis, 0)
    return np.asarray(moved.reshape(groups, moved.shape[0] // groups, moved.shape[1], -1))


@dataclass(frozen=True, slots=True)
class Reach:
    """The largest magnitudes of a weight, channel by channel.

    Attributes:
        rows: Of each output channel, float64 [outputs].
        columns: Of each input channel, float64 [inputs].
        parts: The largest magnitude of each output (of a group) for each input channel, float64
            [groups, outputs / groups, inputs / groups].
    """

    parts: np.ndarray

    @classmethod
    def of(cls, weight: np.ndarray, axis: int, groups: int = 1) -> Reach:
        """Of a Conv's weight (axis 0), a Gemm's or a MatMul's."""
        return cls(np.abs(parted(weight, axis, groups)).max(axis=3).astype(np.float64))

    def scaled(self, inputs: np.ndarray | None = None, outputs: np.ndarray | None = None) -> Reach:
        """With input channels multiplied and output channels divided."""
        parts = self.parts
        if inputs is not None:
            parts = parts * inputs.reshape(parts.shape[0], 1, -1)
        if outputs is not None:
            parts = parts / outputs.reshape(parts.shape[0], -1, 1)
        return Reach(parts)

    @property
    def rows(self) -> np.ndarray:  # noqa: D102 - see the class
        return np.asarray(self.parts.max(axis=2).reshape(-1))

    @property
    def columns(self) -> np.ndarray:  # noqa: D102 - see the class
        return np.asarray(self.parts.max(axis=1).reshape(-1))


def equalized(reaches: Mapping[str, Reach], pairs: Sequence[tuple[str, Sequence[str]]]) -> list[np.ndarray]:
    """The scales of cross-layer equalization.

    Of each pair the channels between are divided by s = √(r₁/r₂), r₁ the range of the channel in the weight that
    writes it and r₂ in those that read it, so that both become √(r₁·r₂); pair after pair, until nothing changes
    (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1 and
    equation 11). A channel that one side does not use keeps its scale.

    Args:
        reaches: Layer → the reach of its weight.
        pairs: The layer that writes and those that read, for each activation.

    Returns:
        float64 [channels] for each pair.
    """
    now = dict(reaches)
    found = [np.ones_like(now[writer].rows) for writer, _ in pairs]
    for _ in range(_ROUNDS):
        moved = 0.0
        for place, (writer, readers) in enumerate(pairs):
            before = now[writer].rows
            behind = np.max([now[reader].columns for reader in readers], axis=0)
            used = (before > 0) & (behind > 0)
            step = np.sqrt(np.divide(before, behind, out=np.ones_like(before), where=used))
            now[writer] = now[writer].scaled(outputs=step)
            for reader in readers:
                now[reader] = now[reader].scaled(inputs=step)
            found[place] = found[place] * step
            moved = max(moved, float(np.abs(np.log(step)).max(initial=0.0)))
        if moved < _SETTLED:
            break
    return [centred(scale) for scale in found]


def absorbed(low: np.ndarray, mean: np.ndarray, square: np.ndarray) -> np.ndarray:
    """How much of a channel behind a Relu is never left: c = max(0, E[x] − 3σ), no value seen below it.

    The paper takes E and σ from BatchNorm; here they are those of the calibration samples, and their least value is
    a bound, so that the function stays the same on them (Nagel et al. 2019, section 4.1.3).

    Args:
        low: Least value, float64 [channels].
        mean: E[x].
        square: E[x²].
    """
    deviation = np.sqrt(np.maximum(square - mean * mean, 0.0))
    found: np.ndarray = np.minimum(np.maximum(mean - 3.0 * deviation, 0.0), np.maximum(low, 0.0))
    return found


def spread(rows: np.ndarray | None, low: np.ndarray, high: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Scales of what an integer Conv writes for float operators, which divide them out again for nothing.

    All channels share the scale of the output and, per tensor, that of the weight. With channel c divided by
    v = max(r/max r, λ·R/max R), r its weight's range and R its own, the error of both roundings is
    v²·(Δw²·E‖x‖²/12 + Δy²/12) in what it was before; λ is that of the least sum of errors relative to R².

    Args:
        rows: r, float64 [channels]; None where each channel of the weight has its own scale: v = R/max R.
        low: Least value of each channel, float64 [channels].
        high: The largest.
        energy: E‖x‖² of what the weight of each channel meets, float64 [channels].
    """
    own = np.maximum(np.maximum(high, 0.0), np.maximum(-low, 0.0))
    alive = own > 0
    if not alive.any():
        return np.ones_like(own)
    own = np.where(alive, own, own[alive].max())
    if rows is None or not rows.max() > 0:
        return centred(np.maximum(own / own.max(), _LEAST))
    best, least = np.ones_like(own), np.inf
    for balance in _BALANCES:
        scale = np.maximum(np.maximum(rows / rows.max(), balance * own / own.max()), _LEAST)
        weight_step = (rows / scale).max() / 127.0
        step = (np.maximum(high / scale, 0.0).max() - np.minimum(low / scale, 0.0).min()) / 255.0
        error = float((scale**2 * (weight_step**2 * energy + step**2) / own**2)[alive].sum())
        if error < least:
            best, least = scale, error
    return centred(best)


def centred(scale: np.ndarray) -> np.ndarray:
    """The same up to a common factor, of geometric mean 1."""
    return np.asarray(scale / np.exp(np.log(scale).mean()), np.float64)
