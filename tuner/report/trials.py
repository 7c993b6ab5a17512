"""A study's trials as tables: a DataFrame for programs, a rich table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...strategies.base import Recipe
from ...strategies.words import (
    ACTIVATION_SYMMETRY,
    CALIBRATOR,
    UNCORRECTED,
    WEIGHT_GRANULARITY,
    WEIGHT_ONLY,
    WEIGHT_SYMMETRY,
)
from ..study.trial import TrialRecord
from . import format as write

if TYPE_CHECKING:
    import pandas as pd

MARKS = {"best": "★", "holds": "✓", "fails": "✗", "pruned": "╌", "failed": "!", "running": "…"}
STYLES = {
    "best": "bold green",
    "holds": "green",
    "fails": "red",
    "pruned": "dim",
    "failed": "yellow",
    "running": "cyan",
}


def frame(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """One row a trial, in the order given.

    Returns:
        Columns `number`, `state`, `phase`, `feasible`, the measured numbers, `seconds/<part>`, `recipe_hash`, `error`,
        then one `params/<name>` per parameter of the recipe. Numbers a trial does not have are NaN.
    """
    import pandas as pd

    rows = []
    for trial in trials:
        row: dict[str, object] = {
            "number": trial.number,
            "state": trial.state,
            "phase": trial.phase,
            "feasible": trial.feasible,
            "metric": trial.metric,
            "drop": trial.drop,
            "cost": trial.cost,
            "speedup": trial.speedup,
            "latency_ms": trial.latency_ms,
            "size_bytes": trial.size_bytes,
            "int8_layers": trial.int8_layers,
            "samples": trial.samples,
            "recipe_hash": trial.recipe_hash,
            "reused_from": trial.reused_from,
            "error": trial.error,
        }
        row |= {f"seconds/{part}": value for part, value in trial.seconds.items()}
        row |= {f"params/{name}": value for name, value in trial.recipe.items()}
        rows.append(row)
    if not rows:
        return pd.DataFrame(columns=["number", "state", "phase", "feasible", "metric", "drop", "cost"])
    table = pd.DataFrame(rows)
    # Parameters last, whatever trial brought which column first.
    return table[sorted(table.columns, key=lambda name: str(name).startswith("params/"))]


def best(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The feasible trial of least cost, the earliest among equals."""
    held = [trial for trial in trials if trial.feasible and trial.cost is not None]
    return min(held, key=lambda trial: (trial.cost or 0.0, trial.number), default=None)


def estimated(trial: TrialRecord) -> str:
    """Its metric; of a trial stopped early an estimate."""
    return f"≈ {write.metric(trial.metric)}" if trial.state == "pruned" else write.metric(trial.metric)


def kind(trial: TrialRecord, best_number: int | None) -> str:
    """`best`, `holds`, `fails`, `pruned`, `failed` or `running`: how a trial is shown everywhere."""
    if trial.number == best_number:
        return "best"
    if trial.state == "complete":
        return "holds" if trial.feasible else "fails"
    return trial.state


def settings(recipe: Recipe) -> str:
    """The recipe's global choices in a few words: `percentile_99.99 asymmetric, weights per_channel`."""
    activation = [recipe[name] for name in (CALIBRATOR, ACTIVATION_SYMMETRY) if name in recipe]
    weights = [recipe[name] for name in (WEIGHT_GRANULARITY, WEIGHT_SYMMETRY) if name in recipe]
    parts = [" ".join(activation), f"weights {' '.join(weights)}" if weights else ""]
    glue = recipe.glue("int8")
    parts.append(f"glue {', '.join(glue)}" if glue else "")
    others = {precision: len(recipe.layers(precision)) for precision in ("int16", *WEIGHT_ONLY)}
    parts += [f"{write.many(number, 'layer')} {precision}" for precision, number in others.items() if number]
    corrections = [name for name, off in UNCORRECTED.items() if recipe.get(name, off) != off]
    parts += [f"{name.split('/')[-1]} {recipe[name]}" for name in corrections]
    return ", ".join(part for part in parts if part)


def table(trials: Sequence[TrialRecord], *, relative: bool, target: str) -> RenderableType:
    """The trials for a terminal, the delivered one starred.

    Args:
        trials: In the order to show.
        relative: Whether drops are relative to the baseline.
        target: The tolerated drop as the user wrote it.
    """
    if not trials:
        return Text("No trial yet.")
    chosen = best(trials)
    timed = any(trial.speedup is not None for trial in trials)
    heads = ["", "trial", "step", "metric", "drop", "cost", *(["speed"] if timed else []), "size", "int8", "time"]
    rows: list[list[Text]] = []
    for trial in trials:
        looks = kind(trial, chosen.number if chosen else None)
        drop = write.drop(trial.drop, relative)
        cells = [
            Text(MARKS[looks], style=STYLES[looks]),
            str(trial.number),
            trial.phase,
            estimated(trial),
            Text(f"> {drop}" if trial.state == "pruned" else drop, style=STYLES[looks]),
            write.MISSING if trial.cost is None else f"{trial.cost:.3f}",
            *([write.speedup(trial.speedup)] if timed else []),
            write.size(trial.size_bytes),
            write.MISSING if trial.int8_layers is None else str(trial.int8_layers),
            "reused" if trial.reused_from else write.seconds(sum(trial.seconds.values()) if trial.seconds else None),
            Text(trial.error, style="yellow") if trial.error else settings(trial.recipe),
        ]
        rows.append([cell if isinstance(cell, Text) else Text(cell) for cell in cells])
    shown = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for index, name in enumerate(heads):
        # The figures keep their width, the settings give way.
        widest = max([len(name), *(row[index].cell_len for row in rows)])
        shown.add_column(name, justify="left" if name in ("", "step") else "right", no_wrap=True, min_width=widest)
    shown.add_column("settings", overflow="ellipsis", no_wrap=True, ratio=1)
    for row in rows:
        shown.add_row(*row)
    return Group(shown, Text(), Text(f"{legend(trials)}  drop allowed: {target}", style="dim"))


def legend(trials: Sequence[TrialRecord]) -> str:
    """What the marks in front mean, those that occur."""
    words = {
        "best": "best",
        "holds": "holds the target",
        "fails": "loses too much",
        "pruned": "stopped early",
        "failed": "failed",
        "running": "running or killed",
    }
    chosen = best(trials)
    present = {kind(trial, chosen.number if chosen else None) for trial in trials}
    return "  ".join(f"{MARKS[name]} {text}" for name, text in words.items() if name in present)
