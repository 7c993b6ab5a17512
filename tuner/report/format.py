"""Numbers as people read them: one way to write a metric, a drop, a time or a size, everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

MISSING = "–"
TIMES = "×"


def metric(value: float | None) -> str:
    """A metric: four decimals where it is small, four digits where it is large."""
    if value is None:
        return MISSING
    size = abs(value)
    if size and (size < 0.001 or size >= 100_000):
        return f"{value:.4g}"
    return f"{value:.4f}" if size < 10 else f"{value:.2f}"


def drop(value: float | None, relative: bool) -> str:
    """A drop in the target's unit: `0.66%` (relative) or `0.0047` (absolute); negative where better than float."""
    if value is None:
        return MISSING
    text = f"{100 * value:.2f}%" if relative else metric(value)
    return text[1:] if text.startswith("-") and not text.strip("-0.%") else text


def milliseconds(value: float | None) -> str:
    """A latency: `0.853 ms`, `12.4 ms`, `1.24 s`."""
    if value is None:
        return MISSING
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.3f} ms" if value < 1 else f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"


def decibels(value: float | None) -> str:
    """A ratio of powers: `31.4 dB`."""
    return MISSING if value is None else f"{value:.1f} dB"


def speedup(value: float | None) -> str:
    """A ratio of times: `1.72×`."""
    return MISSING if value is None else f"{value:.2f}{TIMES}"


def smaller(before: float | None, after: float | None) -> str:
    """`3.8× smaller`; empty where it is not."""
    return f"{before / after:.1f}{TIMES} smaller" if before and after and before > after else ""


def shape(sizes: Sequence[int | str]) -> str:
    """`1×3×224×224`; `scalar` without dimensions."""
    return TIMES.join(str(size) for size in sizes) or "scalar"


def seconds(value: float | None) -> str:
    """A wall time: `0.4 s`, `38 s`, `2 min 05 s`, `1 h 02 min`."""
    if value is None:
        return MISSING
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def clock(value: float) -> str:
    """A running clock: `0:07`, `12:40`, `1:02:03`."""
    whole = max(0, int(value))
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def size(value: float | None) -> str:
    """Bytes in decimal units: `590 kB`, `18.6 MB`, `2.31 GB`."""
    if value is None:
        return MISSING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= 0.9995 * factor:  # 999,999 bytes are 1 MB, not 1000 kB
            scaled = value / factor
            return f"{scaled:.0f} {unit}" if scaled >= 100 else f"{scaled:.3g} {unit}"
    return f"{value:.0f} B"


def interval(bounds: Sequence[float] | None, write: Callable[[float], str]) -> str:
    """`low to high` with the given way to write a number; empty where there is no interval."""
    return "" if bounds is None else f"{write(bounds[0])} to {write(bounds[1])}"


def count(value: float) -> str:
    """A count with thousands separated; fractions (of an evaluation) keep one decimal."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def many(value: int, noun: str, plural: str | None = None) -> str:
    """`1 layer`, `1,490 samples`."""
    return f"{count(value)} {noun if value == 1 else plural or noun + 's'}"
