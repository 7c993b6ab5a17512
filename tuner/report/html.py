"""report.html: one self-contained page that shows what was reached and how. No script, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from ...strategies.words import LAYER, PRECISIONS
from ..study.front import among
from ..study.request import TargetDrop
from ..study.trial import TrialRecord
from . import cards, claims, figures, svg
from . import format as write
from .summary import holdout_sentence
from .trials import best, estimated, kind, settings


def render(
    title: str,
    trials: Sequence[TrialRecord],
    *,
    target: TargetDrop,
    objective: str,
    result: Mapping[str, Any] | None = None,
    layers: Sequence[str] = (),
    command: str = "",
) -> str:
    """The whole page.

    Args:
        title: What was tuned.
        trials: The study's trials.
        target: The tolerated drop.
        objective: `latency`, `size` or `ops`.
        result: The content of result.json; None while a study has none yet.
        layers: Names of the layers (or groups) in graph order.
        command: The command line that made the study.
    """
    chosen = best(trials)
    number = result["tuned"]["trial"] if result and result.get("tuned") else chosen.number if chosen else None
    tuned = next((trial for trial in trials if trial.number == number), None)
    points = result.get("front", ()) if result else ()
    parts = [
        _tiles(result, target) if result else "",
        _diagnosis(result.get("diagnosis") if result else None),
        _warnings(result.get("warnings", ()) if result else ()),
        _pictures(trials, number, target, objective, [point["trial"] for point in points]),
        cards.front(points, target, number),
        cards.evidence(result.get("evidence", ()) if result else (), target),
        _recipe(tuned, layers),
        cards.errors(result.get("errors", ()) if result else ()),
        cards.certificate(result.get("certificate") if result else None, target),
        _table(trials, number, target.relative),
        _facts(result, command),
    ]
    status = result["status"] if result else "open"
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        status=escape(status),
        verdict=escape(claims.headline(status, result.get("latency") if result else None)),
        why=escape(result.get("why", "") if result else f"drop allowed: {target}"),
        body="\n".join(part for part in parts if part),
        footer=escape(_footer(result)),
    )


def _tiles(result: Mapping[str, Any], target: TargetDrop) -> str:
    tuned, latency, size, layers = result.get("tuned"), result.get("latency"), result["size"], result["layers"]
    tiles = []

    def tile(name: str, big: str, *lines: str) -> None:
        notes = "".join(line if line.startswith("<svg") else f"<p>{line}</p>" for line in lines if line)
        tiles.append(f'<div class="tile"><h3>{name}</h3><div class="big">{big}</div>{notes}</div>')

    def change(before: str, after: str) -> str:
        return f'<span class="from">{escape(before)} → </span>{escape(after)}'

    if tuned:
        drop = write.drop(tuned["drop"], target.relative)
        better = f"{write.drop(-tuned['drop'], target.relative)} better than float"
        words, picture = better if tuned["drop"] < 0 else f"drop {drop}, {target} allowed", ""
        if tuned.get("drop_ci"):
            low, high = tuned["drop_ci"]

            def written(value: float) -> str:
                return write.drop(value, target.relative)

            words += f"; on unseen data {write.interval((low, high), written)} (95%)"
            picture = svg.interval(low, high, tuned["drop"], target.value, written, title="Drop with its interval")
        big = change(write.metric(result["baseline"]["metric"]), write.metric(tuned["metric"]))
        tile("metric", big, escape(words), picture)
    held = result.get("holdout")
    if held:
        tile(
            "held-out samples",
            change(write.metric(held["baseline"]), write.metric(held["metric"])),
            escape(holdout_sentence(held, target)),
        )
    if latency:
        interval = write.interval(latency.get("speedup_ci"), write.speedup)
        tile(
            "latency",
            change(write.milliseconds(latency["baseline_ms"]), write.milliseconds(latency["tuned_ms"])),
            escape(f"{write.speedup(latency['speedup'])} as fast" + (f" ({interval})" if interval else "")),
            escape(claims.credit(latency)),
            escape(_where(latency)),
        )
    before, after = size.get("baseline_bytes"), size.get("tuned_bytes")
    tile(
        "size",
        change(write.size(before), write.size(after)),
        write.smaller(before, after),
    )
    others = ", ".join(f"{layers[name]} {name}" for name in PRECISIONS[1:] if layers.get(name))
    tile("layers on integers", f'{layers.get("int8", 0)}<span class="from"> of {layers.get("total", 0)}</span>', others)
    return f'<section class="tiles">{"".join(tiles)}</section>'


def _where(latency: Mapping[str, Any]) -> str:
    parts = [str(latency.get("device") or "")]
    if latency.get("threads"):
        parts.append(write.many(latency["threads"], "thread"))
    for name, shape in (latency.get("input_shapes") or {}).items():
        parts.append(f"{name} {write.shape(shape)}")
    return ", ".join(part for part in parts if part)


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f'<section class="card warnings"><h2>To know before you ship it</h2><ul>{items}</ul></section>'


def _diagnosis(diagnosis: Mapping[str, Any] | None) -> str:
    """Why the target was not met, and what to do."""
    if not diagnosis:
        return ""

    def listed(sentences: Sequence[str]) -> str:
        return "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)

    return (
        f'<section class="card warnings"><h2>What keeps it from the target</h2><ul>{listed(diagnosis["findings"])}</ul>'
        f"<h2>What to do next</h2><ul>{listed(diagnosis['advice'])}</ul></section>"
    )


def _pictures(
    trials: Sequence[TrialRecord], number: int | None, target: TargetDrop, objective: str, front: Sequence[int]
) -> str:
    shown = []
    picture = figures.drop_against_cost(
        trials,
        best=number,
        relative=target.relative,
        target=target.value,
        objective=objective,
        front=front or [trial.number for trial in among(trials)],
    )
    if picture:
        shown.append(
            '<section class="card"><h2>What was tried</h2>'
            f"<p>Down is cheaper, left is closer to the float model; left of the line holds.</p>{picture}</section>"
        )
    picture = figures.search_over_time(trials, best=number, relative=target.relative, objective=objective)
    if picture:
        shown.append(
            '<section class="card"><h2>How the search went</h2>'
            f"<p>The line is the best so far that holds.</p>{picture}</section>"
        )
    return f'<div class="pair">{"".join(shown)}</div>' if shown else ""


def _recipe(tuned: TrialRecord | None, layers: Sequence[str]) -> str:
    if tuned is None:
        return ""
    rows = [(name, value) for name, value in tuned.recipe.items() if not name.startswith(LAYER)]
    table = "".join(f"<tr><th>{escape(name)}</th><td><code>{escape(value)}</code></td></tr>" for name, value in rows)
    return (
        f'<section class="card"><h2>The recipe of trial {tuned.number}</h2>'
        f"<p>Each cell is a layer, in the order of the graph.</p>{figures.layer_strip(tuned.recipe, layers)}"
        f'<details><summary>Settings</summary><table class="facts">{table}</table></details></section>'
    )


def _table(trials: Sequence[TrialRecord], number: int | None, relative: bool) -> str:
    if not trials:
        return ""
    timed = any(trial.speedup is not None for trial in trials)
    heads = [
        "trial",
        "step",
        "metric",
        "drop",
        "cost",
        *(["speed"] if timed else []),
        "size",
        "int8",
        "time",
        "settings",
    ]
    numeric = {"trial", "metric", "drop", "cost", "speed", "size", "int8", "time"}
    head = "".join(f"<th{' class=n' if name in numeric else ''}>{name}</th>" for name in heads)
    rows = []
    for trial in trials:
        drop = write.drop(trial.drop, relative)
        cells = [
            str(trial.number),
            trial.phase,
            estimated(trial),
            f"> {drop}" if trial.state == "pruned" else drop,
            write.MISSING if trial.cost is None else f"{trial.cost:.3f}",
            *([write.speedup(trial.speedup)] if timed else []),
            write.size(trial.size_bytes),
            write.MISSING if trial.int8_layers is None else str(trial.int8_layers),
            "reused" if trial.reused_from else write.seconds(sum(trial.seconds.values()) if trial.seconds else None),
            trial.error or settings(trial.recipe),
        ]
        row = "".join(
            f'<td class="{"n " if name in numeric else ""}{name}">{escape(cell)}</td>'
            for name, cell in zip(heads, cells, strict=True)
        )
        rows.append(f'<tr class="{kind(trial, number)}">{row}</tr>')
    how = " open" if len(trials) <= 30 else ""
    return (
        f'<section class="card"><details{how}><summary>All {write.many(len(trials), "trial")}</summary>'
        f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div></details></section>'
    )


def _facts(result: Mapping[str, Any] | None, command: str) -> str:
    rows: list[tuple[str, str]] = [("command", command)] if command else []
    if result:
        trials, seconds = result["trials"], result["seconds"]
        counts = [
            f"{write.count(trials[name])} {name}"
            for name in ("total", "complete", "pruned", "failed")
            if name in trials
        ]
        if "evaluations" in trials:
            counts.append(f"{write.count(round(trials['evaluations'], 1))} full evaluations")
        rows.append(("trials", ", ".join(counts)))
        rows.append(("time", ", ".join(f"{name} {write.seconds(value)}" for name, value in seconds.items())))
        if calibrated := claims.calibrated(result.get("calibration")):
            rows.append(("calibration", calibrated))
        rows.append(("scored on", _flat(result.get("scored_on", {}))))
        rows.append(("versions", _flat(result.get("versions", {}))))
        rows.append(("study", _flat(result.get("study", {}))))
    if not rows:
        return ""
    table = "".join(f"<tr><th>{name}</th><td><code>{escape(text)}</code></td></tr>" for name, text in rows)
    return f'<section class="card"><h2>How it was made</h2><table class="facts">{table}</table></section>'


def _flat(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value not in (None, ""))


def _footer(result: Mapping[str, Any] | None) -> str:
    version = result.get("versions", {}).get("autoquant", "") if result else ""
    return f"autoquant {version}".strip() + ". Hover over a mark for its trial, over a cell for its layer."
