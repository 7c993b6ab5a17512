"""Small pictures as inline SVG: drawn by CSS classes, so that they follow the page into the dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 14, 46

Writer = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Point:
    """One mark of a scatter plot; `kind` is its CSS class (`holds`, `fails`, `pruned` or `best`)."""

    x: float
    y: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its range, its label and how its numbers are written."""

    low: float
    high: float
    label: str
    write: Writer

    def place(self, value: float, start: float, end: float) -> float:
        """The coordinate of a value; values outside stay at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / ((self.high - self.low) or 1.0)
        return start + share * (end - start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round values inside the range, about as many as wanted."""
        step = nice_step((self.high - self.low) / wanted)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def nice_step(rough: float) -> float:
    """The 1, 2 or 5 times a power of ten at or above a positive number."""
    if rough <= 0 or not math.isfinite(rough):
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next((factor * power for factor in (1.0, 2.0, 5.0) if factor * power >= rough * 0.999), 10.0 * power)


def scatter(
    points: Sequence[Point],
    x: Axis,
    y: Axis,
    *,
    limit: float | None,
    title: str,
    line: Sequence[tuple[float, float]] = (),
) -> str:
    """A scatter plot with an optional vertical limit; what lies to its left is shaded as good.

    Args:
        points: Drawn in order, the last on top. Points beyond an axis are drawn at its edge.
        x: Horizontal axis.
        y: Vertical axis.
        limit: Value on `x` up to which a point is good.
        title: What a screen reader says.
        line: (x, y) of points to join, under the marks.
    """
    parts = [_open(WIDTH, HEIGHT, title), _axes(x, y)]
    if len(line) > 1:
        joined = " ".join(
            f"{x.place(across, LEFT, WIDTH - RIGHT):.1f},{y.place(up, HEIGHT - BOTTOM, TOP):.1f}" for across, up in line
        )
        parts.append(f'<polyline class="front-line" points="{joined}"/>')
    if limit is not None:
        at = x.place(limit, LEFT, WIDTH - RIGHT)
        parts.insert(
            1, f'<rect class="good" x="{LEFT}" y="{TOP}" width="{at - LEFT:.1f}" height="{HEIGHT - TOP - BOTTOM}"/>'
        )
        parts.append(f'<line class="limit" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        anchor, nudge = ("end", -6) if at > WIDTH * 0.8 else ("start", 6)
        parts.append(
            f'<text class="limit" x="{at + nudge:.1f}" y="{TOP + 12}" text-anchor="{anchor}">'
            f"target {escape(x.write(limit))}</text>"
        )
    for point in points:
        left, top = x.place(point.x, LEFT, WIDTH - RIGHT), y.place(point.y, HEIGHT - BOTTOM, TOP)
        parts.append(f'<g class="{point.kind}"><title>{escape(point.text)}</title>{mark(point.kind, left, top)}</g>')
    return "".join(parts) + "</svg>"


def mark(kind: str, x: float, y: float) -> str:
    """A point's shape around (x, y)."""
    # Shapes differ as well as colours: a dot holds, a cross does not, a ring was stopped early, a star is delivered.
    if kind == "fails":
        return f'<path d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"/>'
    if kind == "best":
        corners = []
        for index in range(10):
            radius, angle = (10.0, 4.2)[index % 2], math.pi * index / 5 - math.pi / 2
            corners.append(f"{x + radius * math.cos(angle):.1f},{y + radius * math.sin(angle):.1f}")
        return f'<polygon points="{" ".join(corners)}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4.5 if kind == "holds" else 4}"/>'


def steps(best: Sequence[tuple[int, float]], points: Sequence[Point], x: Axis, y: Axis, *, title: str) -> str:
    """Trials in order with the best so far as a descending staircase.

    Args:
        best: (trial, value) wherever the best changed, in order.
        points: The trials.
        x: Horizontal axis, trials.
        y: Vertical axis.
        title: What a screen reader says.
    """
    picture = scatter(points, x, y, limit=None, title=title)
    if not best:
        return picture
    places = [(x.place(number, LEFT, WIDTH - RIGHT), y.place(value, HEIGHT - BOTTOM, TOP)) for number, value in best]
    path = f"M{places[0][0]:.1f} {places[0][1]:.1f}"
    for left, top in places[1:]:
        path += f"H{left:.1f}V{top:.1f}"
    return picture.removesuffix("</svg>") + f'<path class="best-line" d="{path}H{WIDTH - RIGHT}"/></svg>'


def strip(layers: Sequence[tuple[str, str]], *, title: str) -> str:
    """Layers in graph order as a row of cells coloured by precision.

    Args:
        layers: (name, precision) in graph order.
        title: What a screen reader says.
    """
    height, count = 34, max(1, len(layers))
    cell = WIDTH / count
    gap = 1.0 if cell > 4 else 0.0
    parts = [_open(WIDTH, height, title)]
    for index, (name, precision) in enumerate(layers):
        parts.append(
            f'<rect class="p-{escape(precision)}" x="{index * cell:.2f}" y="2" width="{max(0.5, cell - gap):.2f}" '
            f'height="30" rx="1.5"><title>{escape(name)}: {escape(precision)}</title></rect>'
        )
    return "".join(parts) + "</svg>"


def interval(low: float, high: float, value: float, limit: float, write: Writer, *, title: str) -> str:
    """A value with its interval against a limit, on a line from the least to the greatest of them all."""
    width, height = 300, 40
    ends = (min(low, value, 0.0), max(high, value, limit))
    pad = (ends[1] - ends[0]) * 0.08 or 1.0
    axis = Axis(ends[0] - pad, ends[1] + pad, "", write)

    def at(number: float) -> float:
        return axis.place(number, 4, width - 4)

    return (
        _open(width, height, title)
        + f'<line class="axis" x1="4" y1="16" x2="{width - 4}" y2="16"/>'
        + f'<line class="axis" x1="{at(0):.1f}" y1="11" x2="{at(0):.1f}" y2="21"/>'
        + f'<line class="band" x1="{at(low):.1f}" y1="16" x2="{at(high):.1f}" y2="16"/>'
        + f'<line class="limit" x1="{at(limit):.1f}" y1="4" x2="{at(limit):.1f}" y2="26"/>'
        + f'<circle class="dot" cx="{at(value):.1f}" cy="16" r="5"/>'
        + f'<text class="small" x="{at(0):.1f}" y="37" text-anchor="middle">0</text>'
        + f'<text class="small limit" x="{at(limit):.1f}" y="37" text-anchor="middle">{escape(write(limit))}</text>'
        + "</svg>"
    )


def _open(width: float, height: float, title: str) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'


def _axes(x: Axis, y: Axis) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in y.ticks():
        at = y.place(value, bottom, TOP)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{escape(y.write(value))}</text>')
    for value in x.ticks(7):
        at = x.place(value, LEFT, right)
        parts.append(f'<line class="axis" x1="{at:.1f}" y1="{bottom}" x2="{at:.1f}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{escape(x.write(value))}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>')
    middle = (LEFT + right) / 2
    parts.append(f'<text class="label" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x.label)}</text>')
    height = (TOP + bottom) / 2
    parts.append(
        f'<text class="label" x="14" y="{height}" text-anchor="middle" transform="rotate(-90 14 {height})">'
        f"{escape(y.label)}</text>"
    )
    return "".join(parts)
