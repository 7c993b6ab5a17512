"""The report's pictures: trials as drop against cost, the search over time, the layers' precision."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape

from ...strategies.words import LAYER
from ..study.trial import TrialRecord
from . import format as write
from . import svg
from .trials import kind, settings

_KEY = {
    "best": ("delivered", "best"),
    "holds": ("holds the target", "holds"),
    "fails": ("loses too much", "fails"),
}


def drop_against_cost(
    trials: Sequence[TrialRecord],
    *,
    best: int | None,
    relative: bool,
    target: float | None,
    objective: str,
    front: Collection[int] = (),
) -> str:
    """Every scored trial: how much it loses against what it costs, a line through those on the front.

    Empty where there is nothing to draw.
    """
    drawn = [trial for trial in trials if trial.drop is not None and trial.cost is not None]
    if not drawn:
        return ""
    # One hopeless trial must not press all the others into a corner: far ones stand at the edge.
    drops = sorted(trial.drop for trial in drawn if trial.drop is not None)
    middle = drops[int(0.75 * (len(drops) - 1))]
    high = min(drops[-1], max(4 * (target or 0.0), 1.5 * middle))
    high = max(high, 1.25 * (target or 0.0), drops[0] + 1e-9)
    low = min(0.0, drops[0])
    pad = 0.04 * (high - low)
    x = svg.Axis(low - pad, high + pad, "drop of the metric" + (" (relative)" if relative else ""), _drops(relative))
    y = _costs(drawn, objective)
    points = [
        svg.Point(trial.drop or 0.0, trial.cost or 0.0, kind(trial, best), describe(trial, relative))
        for trial in sorted(drawn, key=lambda trial: (trial.number == best, trial.number))
    ]
    beyond = sum(drop > x.high for drop in drops)
    missing = {state: sum(trial.state == state for trial in trials) for state in ("pruned", "failed")}
    notes = [
        f"{write.many(beyond, 'trial')} beyond the right edge" if beyond else "",
        f"{missing['pruned']} stopped early, not drawn" if missing["pruned"] else "",
        f"{missing['failed']} failed" if missing["failed"] else "",
    ]
    note = "; ".join(words for words in notes if words)
    line = sorted((trial.drop or 0.0, trial.cost or 0.0) for trial in drawn if trial.number in front)
    picture = svg.scatter(points, x, y, limit=target, title="Trials: drop against cost", line=line) + key(points)
    if len(line) > 1:
        notes.insert(0, f"the line joins the {len(line)} trials on the front: nothing tried is both closer and cheaper")
        note = "; ".join(words for words in notes if words)
    return picture + (f'<p class="note">{note[0].upper()}{note[1:]}.</p>' if note else "")


def search_over_time(trials: Sequence[TrialRecord], *, best: int | None, relative: bool, objective: str) -> str:
    """Cost by trial number with the best so far as a staircase. Empty where there is nothing to draw."""
    drawn = [trial for trial in trials if trial.cost is not None]
    if len(drawn) < 2:
        return ""
    first, last = drawn[0].number, drawn[-1].number
    pad = 0.03 * (last - first) or 1.0
    x = svg.Axis(first - pad, last + pad, "trial", lambda value: f"{value:.0f}" if value == round(value) else "")
    points = [
        svg.Point(trial.number, trial.cost or 0.0, kind(trial, best), describe(trial, relative)) for trial in drawn
    ]
    stairs: list[tuple[int, float]] = []
    for trial in drawn:
        if trial.feasible and trial.cost is not None and (not stairs or trial.cost < stairs[-1][1]):
            stairs.append((trial.number, trial.cost))
    return svg.steps(stairs, points, x, _costs(drawn, objective), title="Cost by trial") + key(points)


def layer_strip(recipe: Mapping[str, str], layers: Sequence[str]) -> str:
    """Each layer's precision in graph order; names of the recipe that `layers` does not know come last."""
    chosen = {name.removeprefix(LAYER): value for name, value in recipe.items() if name.startswith(LAYER)}
    ordered = [(name, chosen[name]) for name in layers if name in chosen]
    ordered += [(name, value) for name, value in chosen.items() if name not in set(layers)]
    if not ordered:
        return ""
    counts: dict[str, int] = {}
    for _, value in ordered:
        counts[value] = counts.get(value, 0) + 1
    legend = "".join(
        f'<span><i class="p-{escape(value)}"></i>{escape(value)}: {write.many(number, "layer")}</span>'
        for value, number in counts.items()
    )
    floats = [name for name, value in ordered if value != "int8"]
    listed = ""
    if floats:
        names = ", ".join(f"<code>{escape(name)}</code>" for name in floats)
        listed = f"<details{' open' if len(floats) <= 12 else ''}><summary>In float</summary><p>{names}</p></details>"
    return svg.strip(ordered, title="Precision of each layer") + f'<div class="key">{legend}</div>' + listed


def describe(trial: TrialRecord, relative: bool) -> str:
    """A trial in the few lines that appear under the pointer."""
    lines = [
        f"trial {trial.number}" + (f" ({trial.phase})" if trial.phase else ""),
        f"metric {write.metric(trial.metric)}, drop {write.drop(trial.drop, relative)}",
        f"cost {trial.cost:.3f}" if trial.cost is not None else "",
        f"{trial.int8_layers} layers int8" if trial.int8_layers is not None else "",
        f"{write.speedup(trial.speedup)} as fast" if trial.speedup is not None else "",
        settings(trial.recipe),
    ]
    return "\n".join(line for line in lines if line)


def key(points: Sequence[svg.Point]) -> str:
    """The legend of the marks that occur."""
    present = {point.kind for point in points}
    marks = "".join(
        f'<span><svg viewBox="0 0 20 20"><g class="{css}">{svg.mark(css, 10, 10)}</g></svg>{text}</span>'
        for name, (text, css) in _KEY.items()
        if name in present
    )
    return f'<div class="key">{marks}</div>'


def _drops(relative: bool) -> svg.Writer:
    return (lambda value: f"{100 * value:.3g}%") if relative else (lambda value: f"{value:.3g}")


def _costs(trials: Sequence[TrialRecord], objective: str) -> svg.Axis:
    costs = [trial.cost for trial in trials if trial.cost is not None]
    low, high = min(costs), max(costs)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    return svg.Axis(max(0.0, low - pad), high + pad, f"{objective} relative to float", lambda value: f"{value:.3g}")
