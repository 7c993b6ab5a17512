"""The summary at the end of a run: what was reached, where the files are, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...strategies.words import PRECISIONS
from ..study.files import DATABASE
from ..study.request import TargetDrop
from ..study.result import Result
from . import claims
from . import format as write

LOOKS = {"met": ("✓ ", "bold green"), "not_met": ("✗ ", "bold red"), "no_gain": ("", "bold yellow")}


def summary(result: Result) -> RenderableType:
    """The table that ends a run."""
    mark, style = LOOKS[result.status]
    parts: list[RenderableType] = [Text(), Text(mark + claims.headline(result.status, result.latency), style=style)]
    if result.why:
        parts.append(Padding(Text(result.why), (0, 0, 0, 2)))
    parts += [Text(), Padding(_figures(result), (0, 0, 0, 2))]
    if result.warnings:
        parts.append(Text())
        parts += [Padding(Text(f"! {warning}", style="yellow"), (0, 0, 0, 2)) for warning in result.warnings]
    if result.diagnosis:
        parts += [Text(), Padding(_diagnosis(result.diagnosis), (0, 0, 0, 2))]
    parts += [Text(), Padding(_next(result), (0, 0, 0, 2))]
    return Group(*parts)


def _figures(result: Result) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("")
    table.add_column("float", justify="right", no_wrap=True)
    table.add_column("tuned", justify="right", no_wrap=True, style="bold")
    table.add_column("")
    tuned = result.tuned
    table.add_row(
        "metric",
        write.metric(result.baseline_metric),
        write.metric(tuned.metric if tuned else None),
        drop_sentence(result),
    )
    if result.holdout:
        table.add_row(
            "held out",
            write.metric(result.holdout["baseline"]),
            write.metric(result.holdout["metric"]),
            holdout_sentence(result.holdout, result.target),
        )
    latency = result.latency
    if latency:
        table.add_row(
            "latency",
            write.milliseconds(latency["baseline_ms"]),
            write.milliseconds(latency["tuned_ms"]),
            latency_sentence(latency),
        )
        if credit := claims.credit(latency):
            table.add_row("", "", "", credit)
    baseline, small = result.size.get("baseline_bytes"), result.size.get("tuned_bytes")
    table.add_row("size", write.size(baseline), write.size(small or None), write.smaller(baseline, small))
    total = result.layers.get("total", 0)
    table.add_row("layers", str(total), f"{result.layers.get('int8', 0)} int8", _others(result))
    if result.tables and result.tables["weight8"]:
        table.add_row("tables", str(result.tables["total"]), f"{result.tables['weight8']} on 8 bits", "")
    if certified := claims.certified(result.certificate):
        table.add_row("certificate", "", "", certified)
    if calibrated := claims.calibrated(result.calibration):
        table.add_row("calibration", "", "", calibrated)
    if result.front:
        table.add_row("front", "", "", claims.front(result.front, result.target))
    for place, candidate in enumerate(result.evidence):
        words = _offered(result, candidate)
        table.add_row("" if place else "int8 offered", "", write.speedup(candidate["speedup"]), words)
    table.add_row("search", "", write.seconds(result.seconds.get("total")), trials_sentence(result))
    return table


def drop_sentence(result: Result) -> str:
    """`drop 0.66% of 1% allowed (95% interval on unseen data: 0.10% to 1.20%)`."""
    if result.tuned is None:
        return f"{result.target} allowed"
    relative = result.target.relative
    text = f"drop {write.drop(result.tuned.drop, relative)} of {result.target} allowed"
    if result.tuned.drop < 0:
        text = f"{write.drop(-result.tuned.drop, relative)} better than float"
    if result.tuned.drop_ci is not None:
        text += (
            f" (95% interval on unseen data: {write.interval(result.tuned.drop_ci, lambda v: write.drop(v, relative))})"
        )
    return text


def holdout_sentence(holdout: Mapping[str, Any], target: TargetDrop) -> str:
    """`drop 0.40% on 200 samples the search never saw (95%: -1.20% to 2.00%)`."""

    def written(value: float) -> str:
        return write.drop(value, target.relative)

    drop = holdout["drop"]
    text = f"{written(-drop)} better than float" if drop < 0 else f"drop {written(drop)}"
    return (
        f"{text} on {write.many(holdout['samples'], 'sample')} the search never saw "
        f"(95%: {write.interval(holdout['drop_ci'], written)})" + ("" if holdout["holds"] else ": does not hold")
    )


def _diagnosis(diagnosis: Mapping[str, Any]) -> Table:
    """Why the target was not met, and what to do."""
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, key in (("why", "findings"), ("next", "advice")):
        for place, sentence in enumerate(diagnosis[key]):
            table.add_row("" if place else name, sentence)
    return table


def latency_sentence(latency: Mapping[str, Any]) -> str:
    """`1.72× as fast (95%: 1.68× to 1.75×) on cpu, 2 threads`."""
    ratio = latency["speedup"]
    low_high = latency.get("speedup_ci")
    if low_high and low_high[0] <= 1.0 <= low_high[1]:
        text = f"{write.speedup(ratio)}: no difference beyond noise"
    elif ratio >= 1.0:
        text = f"{write.speedup(ratio)} as fast"
    else:
        text = f"{write.speedup(ratio)} as fast: slower"
    if low_high:
        text += f" (95%: {write.interval(low_high, write.speedup)})"
    where = [str(latency["device"])] if latency.get("device") else []
    if latency.get("threads"):
        where.append(write.many(latency["threads"], "thread"))
    return text + (f" on {', '.join(where)}" if where else "")


def trials_sentence(result: Result) -> str:
    """`14 trials: 11 complete, 2 stopped early, 1 failed; 12.4 evaluations`."""
    trials = result.trials
    parts = [
        f"{write.count(trials[key])} {word}"
        for key, word in (("complete", "complete"), ("pruned", "stopped early"), ("failed", "failed"))
        if trials.get(key)
    ]
    text = write.many(int(trials.get("total", 0)), "trial")
    if len(parts) > 1:
        text += f": {', '.join(parts)}"
    if "evaluations" in trials:
        text += f"; {write.count(round(trials['evaluations'], 1))} full evaluations"
    return text


def _others(result: Result) -> str:
    parts = [f"{result.layers[name]} {name}" for name in PRECISIONS[1:] if result.layers.get(name)]
    return ", ".join(parts)


def _offered(result: Result, candidate: Mapping[str, Any]) -> str:
    """`trial 7: cost 1.220, drop 0.40%, 50 layers int8`."""
    drop = write.drop(candidate["drop"], result.target.relative)
    if not candidate["holds"]:
        drop += " (too much)"
    layers = write.many(candidate["int8_layers"], "layer")
    return f"trial {candidate['trial']}: cost {candidate['cost']:.3f}, drop {drop}, {layers} int8"


def _next(result: Result) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name in ("model", "recipe", "front", "result", "report"):
        if name in result.files:
            table.add_row(name, shown(result.files[name]))
    study = study_words(result)
    table.add_row("trials", f"autoquant trials {study}" + (" --front" if result.front else ""))
    table.add_row("dashboard", f"autoquant dashboard {study}")
    table.add_row("resume", "run the same command again; a higher --max-trials or --timeout searches on")
    return table


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def study_words(result: Result) -> str:
    """The words after a verb that name this run's study: its folder, or else the storage and the study's name."""
    storage, name = result.study["storage"], result.study["name"]
    if Path(storage).name == DATABASE and "://" not in storage:
        return shlex.join([shown(Path(storage).parent)])
    return shlex.join([storage, "--study-name", name])
