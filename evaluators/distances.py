"""Label-free distances between the float model's outputs and a candidate's, by the name a probe carries.

Each is a function (reference outputs, found outputs) → float: at least 0, lower is better, infinite where the
candidate's outputs hold a NaN or have other shapes. Samples are the rows along the first axis where all outputs of a
feed agree in it, else the feed is one sample; the value is the mean over samples, then over outputs.

Some look at classes. The class axis is the last one of an output [N, C] or [N, T, C] (each of T time steps is one
decision) and axis 1 of [N, C, H, W]; values that are not negative and sum to 1 there are probabilities p, all others
are taken for logits, p their softmax. An embedding is thus read as logits too: for small differences the divergences
are then half its squared error weighted by p, which does no harm. Outputs without a class axis, and integer ones,
count with ‖found − reference‖² / (‖found − reference‖² + ‖reference‖²) instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from .distance import Outputs, distance, floats, power

Distance = Callable[[Outputs, Outputs], float]

_LEAST_PROBABILITY = 1e-8
_LEAST_ERROR = 1e-12
_NEAR = 1e-2
_MOST_EATEN = 2.0


def kl(reference: Outputs, found: Outputs) -> float:
    """KL divergence Σ p·ln(p/q) of the candidate's classes q from the float model's p, in nats, mean over decisions.

    Kullback & Leibler, On Information and Sufficiency, 1951. Probabilities under 1e-8 count as 1e-8.
    """

    def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        p, q = np.maximum(p, _LEAST_PROBABILITY), np.maximum(q, _LEAST_PROBABILITY)
        ratio = q / p
        logs = np.where(ratio < 0.5, np.log(ratio), np.log1p(np.maximum(ratio, 0.5) - 1))
        # p·ln(p/q) + q − p: each term at least 0, which float32 would lose otherwise; sums of p and q are nearly 1
        return _total(p * (ratio - 1 - logs))

    return _mean(_decisions(reference, found, divergence))


def hellinger(reference: Outputs, found: Outputs) -> float:
    """Squared Hellinger distance ½·Σ (√p − √q)², at most 1, mean over decisions.

    Hellinger, Neue Begründung der Theorie quadratischer Formen, 1909. For small differences a quarter of the KL
    divergence, but no single wrong decision outweighs all others.
    """
    return _mean(_decisions(reference, found, _hellinger))


def worst_hellinger(reference: Outputs, found: Outputs) -> float:
    """As `hellinger`, but of a sample's decisions the one farthest off: a line is misread by its worst letter."""
    return _mean(_decisions(reference, found, _hellinger, worst=True))


def margin(reference: Outputs, found: Outputs) -> float:
    """How much of the winning class's lead is eaten: (m − m′)/m, within [0, 2], mean over decisions.

    m is ln p(first) − ln p(second) of the float model, m′ the candidate's lead of the same class over its best
    other one: from 1 on the decision flips.
    """
    return _mean(_decisions(reference, found, _eaten))


def worst_margin(reference: Outputs, found: Outputs) -> float:
    """As `margin`, but of a sample's decisions the one whose lead shrinks most."""
    return _mean(_decisions(reference, found, _eaten, worst=True))


def flips(reference: Outputs, found: Outputs) -> float:
    """Fraction of decisions whose first class is another."""

    def flipped(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(q).any(-1), np.nan, p.argmax(-1) != q.argmax(-1))

    return _mean(_decisions(reference, found, flipped))


def cosine(reference: Outputs, found: Outputs) -> float:
    """1 − cosine of the angle between the two outputs of a sample, mean over samples; 1 where just one is zero."""

    def angle(expected: np.ndarray, got: np.ndarray) -> np.ndarray:
        lengths = [np.sqrt(power(rows)) for rows in (expected, got)]
        units = [
            rows / np.where(length == 0, 1, length).astype(rows.dtype)[:, None]
            for rows, length in zip((expected, got), lengths, strict=True)
        ]
        one_zero = (lengths[0] == 0) != (lengths[1] == 0)
        return np.where(one_zero, 1.0, power(units[1] - units[0]) / 2)  # 1 − cos, without its cancellation

    return _mean(_samples(reference, found, angle))


def sqnr(reference: Outputs, found: Outputs) -> float:
    """10^(−SQNR/10), SQNR = 10·lg(‖reference‖² / ‖found − reference‖²) dB being the mean over samples.

    The geometric mean of the relative squared errors, where `distance` is the arithmetic one: no single sample
    outweighs the others. An SQNR above 120 dB counts as 120 dB; where all do, the value is 0.
    """
    least = math.log(_LEAST_ERROR)

    def level(expected: np.ndarray, got: np.ndarray) -> np.ndarray:
        error, whole = power(got - expected), power(expected)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(error == 0, least, np.maximum(np.log(error / whole), least))

    value = _mean(_samples(reference, found, level), empty=least)
    return math.exp(value) if value > least * (1 - 1e-9) else 0.0


def certainty(sample: Sequence[np.ndarray]) -> float:
    """How sure a model is of one sample: the least ln p(first) − ln p(second) of all its decisions.

    Args:
        sample: The outputs of a single sample.

    Returns:
        At least 0; infinity where no output has classes.
    """
    least = math.inf
    for output in sample:
        axis = _class_axis(output)
        if axis is not None:
            rows = np.moveaxis(floats(output), axis, -1).reshape(-1, output.shape[axis])
            rows = rows[np.isfinite(rows).all(axis=1)]
            if len(rows):
                p, _ = _probabilities(rows, rows)
                least = min(least, float(_lead(p, p.argmax(axis=-1)).min()))
    return least


KINDS: Mapping[str, Distance] = {
    "distance": distance,
    "kl": kl,
    "hellinger": hellinger,
    "worst_hellinger": worst_hellinger,
    "cosine": cosine,
    "sqnr": sqnr,
    "margin": margin,
    "worst_margin": worst_margin,
    "flips": flips,
}
"""Name of a probe → the distance it measures."""

_Rowwise = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _hellinger(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return _total(np.square(np.sqrt(p) - np.sqrt(q))) / 2


def _lead(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Logarithm of the probability at `first` less that of the best other class."""
    winner = np.take_along_axis(values, first[..., None], -1)[..., 0]
    others = values.copy()
    np.put_along_axis(others, first[..., None], -1, -1)
    best, second = np.log(np.maximum(np.stack([winner, others.max(axis=-1)]).astype(np.float64), _LEAST_PROBABILITY))
    return np.asarray(best - second)


def _eaten(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    first = p.argmax(axis=-1)
    lead, left = _lead(p, first), _lead(q, first)
    eaten = np.where(lead > 0, (lead - left) / np.where(lead > 0, lead, 1.0), left < 0)
    return np.clip(np.where(np.isnan(left), np.nan, eaten), 0.0, _MOST_EATEN)


def _total(terms: np.ndarray) -> np.ndarray:
    """Sum over the classes, in float64."""
    return np.asarray(terms.sum(axis=-1, dtype=np.float64))


def _decisions(
    reference: Outputs, found: Outputs, compare: _Rowwise, *, worst: bool = False
) -> Iterator[tuple[int, np.ndarray]]:
    """(Position of the output, value per sample) of every feed: `compare` over p and q [decisions, C]."""
    for position, expected, got in _pairs(reference, found):
        if got is None:
            yield position, np.full(1, np.inf)
        elif (axis := _class_axis(expected)) is None:
            yield position, _bounded(expected.reshape(len(expected), -1), got.reshape(len(got), -1))
        else:
            count, classes = len(expected), expected.shape[axis]
            rows = [np.moveaxis(floats(array), axis, -1).reshape(count, -1, classes) for array in (expected, got)]
            known = ~np.isnan(rows[0]).any(-1) & ~np.isposinf(rows[0]).any(-1)
            values = np.zeros(known.shape)
            if known.any():
                kept = rows if known.all() else [array[known][None] for array in rows]
                values[known] = compare(*_probabilities(*kept)).reshape(-1)
            yield position, values.max(axis=1) if worst else values.sum(axis=1) / np.maximum(known.sum(axis=1), 1)


def _samples(reference: Outputs, found: Outputs, compare: _Rowwise) -> Iterator[tuple[int, np.ndarray]]:
    """(Position of the output, value per sample) of every feed: `compare` over [samples, elements]."""
    for position, expected, got in _pairs(reference, found):
        if got is None:
            yield position, np.full(1, np.inf)
            continue
        rows = [floats(array).reshape(len(array), -1) for array in (expected, got)]
        known = np.isfinite(rows[0])
        yield position, compare(*(rows if known.all() else [np.where(known, array, 0) for array in rows]))


def _pairs(reference: Outputs, found: Outputs) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    """(Position, expected, got) with the samples along axis 0; None where the shapes differ. Empty outputs left out."""
    for whole, mine in zip(reference, found, strict=True):
        rows = {array.shape[:1] for array in whole}
        alike = len(rows) == 1 and () not in rows
        for position, (expected, got) in enumerate(zip(whole, mine, strict=True)):
            if expected.shape != got.shape:
                yield position, expected, None
            elif expected.size:
                yield position, *((expected, got) if alike else (expected[None], got[None]))


def _class_axis(array: np.ndarray) -> int | None:
    """The axis of the classes in [samples, …], None where there is none."""
    if array.dtype.kind != "f" or array.ndim not in (2, 3, 4):
        return None
    axis = 1 if array.ndim == 4 else array.ndim - 1
    return axis if array.shape[axis] > 1 else None


def _probabilities(expected: np.ndarray, got: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities along the last axis: as they are where the reference looks like that, else by softmax."""
    if expected.min() >= 0 and np.abs(expected.sum(axis=-1) - 1.0).max() <= _NEAR:
        return expected, np.maximum(got, 0)
    return _softmax(expected), _softmax(got)


def _softmax(logits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # infinities among a candidate's logits become NaN: infinitely far
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _bounded(expected: np.ndarray, got: np.ndarray) -> np.ndarray:
    if expected.dtype.kind != "f":
        return np.asarray((expected != got).mean(axis=1))
    known = np.isfinite(expected)
    wide, error = np.where(known, floats(expected), 0), np.where(known, floats(got) - floats(expected), 0)
    errors, powers = power(error), power(wide)
    return np.where(errors == 0, 0.0, errors / np.where(errors == 0, 1.0, errors + powers))


def _mean(parts: Iterator[tuple[int, np.ndarray]], *, empty: float = 0.0) -> float:
    """Mean over samples, then over outputs; infinity for a NaN anywhere."""
    gathered: dict[int, list[np.ndarray]] = {}
    for position, values in parts:
        gathered.setdefault(position, []).append(values)
    means = [float(np.concatenate(values).mean()) for values in gathered.values()]
    value = float(np.mean(means)) if means else empty
    return math.inf if math.isnan(value) else value
