"""The errors of a study's layers: their columns, for the page and for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from . import format as write

_NOISY = 20.0
"""Decibels below which an output is marked: a tenth of its amplitude is noise."""
IN_THE_MODEL = "in the model"


def noisiest(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The layers' errors, the output with the most noise of its own first."""
    return sorted(layers, key=lambda layer: math.inf if layer["local"] is None else layer["local"])


def columns(layers: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Heading → a cell for each layer: its ratios, and what each correction of the recipe gained alone.

    Args:
        layers: As `study.layererrors.analysed`, in the order of the cells.
    """
    found = {
        "weight": [write.decibels(layer["weight"]) for layer in layers],
        "input": [write.decibels(layer["input"]) for layer in layers],
        "output alone": [write.decibels(layer["local"]) for layer in layers],
    }
    if any(layer["uncorrected"] is not None for layer in layers):
        found["uncorrected"] = [write.decibels(layer["uncorrected"]) for layer in layers]
    for name in dict.fromkeys(name for layer in layers for name in layer.get("corrections", {})):
        gains = [layer.get("corrections", {}).get(name, {}).get("gain") for layer in layers]
        found[f"+{name.rpartition('/')[2]}"] = [_gain(gain) for gain in gains]
    return found | {IN_THE_MODEL: [write.decibels(layer["propagated"]) for layer in layers]}


def table(found: Mapping[str, Any]) -> RenderableType:
    """Signal-to-noise ratios of each int8 layer, the output with the most noise of its own first.

    Args:
        found: As `study.layererrors.of_study`.
    """
    layers = noisiest(found["layers"])
    shown = columns(layers)
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    rows.add_column("layer", overflow="fold")
    for head in shown:
        rows.add_column(head, justify="right", no_wrap=True)
    for place, layer in enumerate(layers):
        marked = layer["propagated"] is not None and layer["propagated"] < _NOISY
        cells = [
            Text(cells[place], style="yellow" if marked and head == IN_THE_MODEL else "")
            for head, cells in shown.items()
        ]
        rows.add_row(layer["layer"], *cells)
    return Group(
        Text.assemble(
            (f"Trial {found['trial']}", "bold"),
            (f"  signal to quantization noise of {write.many(len(layers), 'int8 layer')}; 6 dB are one bit", "dim"),
        ),
        Padding(rows, (0, 0, 0, 2)),
    )


def _gain(value: float | None) -> str:
    return write.MISSING if value is None else f"{value:+.1f} dB"
