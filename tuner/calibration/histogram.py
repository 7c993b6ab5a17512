"""A histogram of float32 values that needs no range beforehand, merges exactly and does not depend on order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MANTISSA_BITS = 11
"""Leading mantissa bits counted in the top octaves: a bin is at most 2⁻¹¹ of its values wide. A range end known to
half a bin is then known to 2⁻¹² of itself, 1/16 of a step of the 255 steps of an 8-bit range."""

OCTAVES = 15
"""Octaves below the largest magnitude that are counted finely; smaller values get `COARSE_BITS` mantissa bits."""

COARSE_BITS = 3

_ROW = 1 << MANTISSA_BITS
_FINE = OCTAVES * _ROW
_SHIFT = 23 - MANTISSA_BITS
_COARSE_SHIFT = 23 - COARSE_BITS
_MAGNITUDE = np.int32((1 << (8 + MANTISSA_BITS)) - 1)
_NEGATIVE = 1 << 15  # above _FINE: where the slots of negative values start
_COARSE = 1 << (8 + COARSE_BITS)
_BLOCK = 1 << 18  # values counted at a time: the temporaries stay in cache
_PENDING = 1 << 16  # values gathered before a count: below this, clearing the counters costs more than counting


@dataclass(frozen=True, slots=True)
class Bins:
    """The non-empty bins of a histogram in ascending order, disjoint.

    Attributes:
        lower: Lower edges, float64, shape [n]. A bin's values lie in [lower, upper], the edges cut to the exact
            smallest and largest value seen.
        upper: Upper edges, float64, shape [n].
        counts: Values in each, int64, shape [n], all positive.
    """

    lower: np.ndarray
    upper: np.ndarray
    counts: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """The value that stands for a bin: its middle; exact for zeros and where a bin is one value wide."""
        return np.asarray(0.5 * (self.lower + self.upper))


class Histogram:
    """Counts of float32 values over sign, exponent and leading mantissa bits.

    A value's bin is a shift of its bit pattern, so that no range has to be known. The `OCTAVES` octaves up to the
    largest magnitude seen keep `MANTISSA_BITS` bits; when a larger value raises the window, the octaves that leave it
    are folded into `COARSE_BITS` bits. What remains depends on the multiset of values alone, not on their order or on
    how they were split over `add` and `merge`. Memory is bounded (about 0.25 MB for each sign met).

    NaN and infinities are counted apart and otherwise ignored. Magnitudes below 2⁻¹²⁹ count as zero.
    """

    __slots__ = (
        "_coarse",
        "_count",
        "_fine",
        "_inf",
        "_max",
        "_min",
        "_nan",
        "_pending",
        "_pending_size",
        "_top",
        "_zeros",
    )

    def __init__(self) -> None:
        self._nan = 0
        self._inf = 0
        self._count = 0
        self._zeros = 0
        self._min = np.inf
        self._max = -np.inf
        self._top = 0  # biased exponent of the largest magnitude
        self._fine: list[np.ndarray | None] = [None, None]  # by sign; [_FINE] from exponent _base upwards
        self._coarse = np.zeros(2 * _COARSE, np.int64)  # by sign, exponent, 3 bits
        self._pending: list[np.ndarray] = []
        self._pending_size = 0

    def add(self, values: np.ndarray) -> None:
        """Count an array's values (any shape, any float type; counted as float32)."""
        flat = np.asarray(values, np.float32).reshape(-1)
        if flat.size >= _PENDING:
            self._add(flat)
        elif flat.size:
            self._pending.append(flat.copy())
            self._pending_size += flat.size
            if self._pending_size >= _PENDING:
                self._flush()

    def merge(self, other: Histogram) -> None:
        """Count all that `other` counted. `other` keeps its values."""
        self._flush()
        other._flush()
        self._raise_top(other._top)
        self._nan += other._nan
        self._inf += other._inf
        self._count += other._count
        self._zeros += other._zeros
        self._min = min(self._min, other._min)
        self._max = max(self._max, other._max)
        self._coarse += other._coarse
        for sign, fine in enumerate(other._fine):
            if fine is not None:
                self._add_fine(sign, fine, other._base)

    @property
    def count(self) -> int:
        """Finite values counted."""
        self._flush()
        return self._count

    @property
    def zeros(self) -> int:
        """Zeros counted."""
        self._flush()
        return self._zeros

    @property
    def nan(self) -> int:
        """NaNs met."""
        self._flush()
        return self._nan

    @property
    def inf(self) -> int:
        """Infinities met."""
        self._flush()
        return self._inf

    @property
    def min(self) -> float:
        """The smallest finite value, exactly; 0 when there is none."""
        self._flush()
        return self._min if self._count else 0.0

    @property
    def max(self) -> float:
        """The largest finite value, exactly; 0 when there is none."""
        self._flush()
        return self._max if self._count else 0.0

    def bins(self) -> Bins:
        """All non-empty bins in ascending order; zeros are a bin [0, 0]."""
        self._flush()
        keys: list[np.ndarray] = []
        shifts: list[np.ndarray] = []
        counts: list[np.ndarray] = []
        signs: list[np.ndarray] = []
        for sign in (0, 1):
            coarse = self._coarse[sign * _COARSE : (sign + 1) * _COARSE]
            found = np.flatnonzero(coarse)
            parts = [(found, _COARSE_SHIFT, coarse[found])]
            fine = self._fine[sign]
            if fine is not None:
                found = np.flatnonzero(fine)
                parts.append((found + self._base * _ROW, _SHIFT, fine[found]))
            for found, bits, count in parts:
                keys.append(found)
                shifts.append(np.full(len(found), bits))
                counts.append(count)
                signs.append(np.full(len(found), bool(sign)))
        key, shift = np.concatenate(keys), np.concatenate(shifts)
        negative, weight = np.concatenate(signs), np.concatenate(counts)
        inner = (key << shift).astype(np.uint32).view(np.float32).astype(np.float64)
        outer = np.minimum((key + 1) << shift, 0x7F7FFFFF).astype(np.uint32).view(np.float32).astype(np.float64)
        lower, upper = np.where(negative, -outer, inner), np.where(negative, -inner, outer)
        if self._zeros:
            lower, upper, weight = np.append(lower, 0.0), np.append(upper, 0.0), np.append(weight, self._zeros)
        order = np.lexsort((upper, lower))
        lower, upper = np.clip(lower[order], self._min, self._max), np.clip(upper[order], self._min, self._max)
        return Bins(lower, upper, weight[order])

    @property
    def _base(self) -> int:
        return max(self._top - OCTAVES + 1, 1)

    def _flush(self) -> None:
        if self._pending:
            flat = np.concatenate(self._pending)
            self._pending, self._pending_size = [], 0
            self._add(flat)

    def _add(self, flat: np.ndarray) -> None:
        flat = np.ascontiguousarray(flat)
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            low, high = float(block.min()), float(block.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                nan, finite = np.isnan(block), np.isfinite(block)
                self._nan += int(nan.sum())
                self._inf += int((~finite & ~nan).sum())
                block = block[finite]
                if not block.size:
                    continue
                low, high = float(block.min()), float(block.max())
            self._count += block.size
            self._min, self._max = min(self._min, low), max(self._max, high)
            self._raise_top(int(np.float32(abs(max(-low, high))).view(np.uint32) >> 23))
            self._count_block(block.view(np.int32), low < 0)

    def _count_block(self, bits: np.ndarray, signed: bool) -> None:
        """Count finite values given as int32 bit patterns whose magnitudes reach at most the top octave."""
        base = np.int32(self._base * _ROW - 1)
        slot = bits >> _SHIFT  # negative for values with a sign, -0.0 included
        if signed:
            slot &= _MAGNITUDE
        np.maximum(slot, base, out=slot)
        slot -= base  # 0: zero or below the window; else 1 + position in the window
        small = slot == 0
        if signed:
            slot |= (bits >> 31) & np.int32(_NEGATIVE)
        counts = np.bincount(slot.astype(np.intp))
        self._count_fine(0, counts[1 : _FINE + 1])
        zeros = int(counts[0])
        if len(counts) > _NEGATIVE:
            zeros += int(counts[_NEGATIVE])
            self._count_fine(1, counts[_NEGATIVE + 1 :])
        if zeros:
            small &= bits != 0
            keys = bits[small].view(np.uint32) >> np.uint32(_COARSE_SHIFT)
            coarse = np.bincount(keys.astype(np.intp), minlength=2 * _COARSE)
            coarse[[0, _COARSE]] = 0
            self._coarse += coarse
            zeros -= int(coarse.sum())
            self._zeros += zeros

    def _count_fine(self, sign: int, counts: np.ndarray) -> None:
        if not len(counts):
            return
        fine = self._fine[sign]
        if fine is None:
            fine = self._fine[sign] = np.zeros(_FINE, np.int64)
        fine[: len(counts)] += counts

    def _add_fine(self, sign: int, fine: np.ndarray, base: int) -> None:
        """Add fine counts of a window from exponent `base` ≤ ours on; the octaves below ours go to the coarse ones."""
        shift = min((self._base - base) * _ROW, _FINE)
        if shift:
            rows = fine[:shift].reshape(-1, 1 << (MANTISSA_BITS - COARSE_BITS)).sum(1)
            start = sign * _COARSE + (base << COARSE_BITS)
            self._coarse[start : start + len(rows)] += rows
        if fine[shift:].any():
            self._count_fine(sign, fine[shift:])

    def _raise_top(self, top: int) -> None:
        if top <= self._top:
            return
        base, old = self._base, self._fine
        self._top = top
        if self._base != base:
            self._fine = [None, None]
            for sign, fine in enumerate(old):
                if fine is not None:
                    self._add_fine(sign, fine, base)
