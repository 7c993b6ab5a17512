"""The errors of a study's layers, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from . import format as write
from .cards import noisiest

_NOISY = 20.0
"""Decibels below which an output is marked: a tenth of its amplitude is noise."""


def table(found: Mapping[str, Any]) -> RenderableType:
    """Signal-to-noise ratios of each int8 layer, the output with the most noise of its own first.

    Args:
        found: As `study.layererrors.of_study`.
    """
    layers = found["layers"]
    corrected = any(layer["uncorrected"] is not None for layer in layers)
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    rows.add_column("layer", overflow="fold")
    heads = ["weight", "input", "output alone", *(["uncorrected"] if corrected else []), "in the model"]
    for head in heads:
        rows.add_column(head, justify="right", no_wrap=True)
    for layer in noisiest(layers):
        shown = [layer["weight"], layer["input"], layer["local"]]
        shown += [layer["uncorrected"]] if corrected else []
        rows.add_row(layer["layer"], *(write.decibels(value) for value in shown), _marked(layer["propagated"]))
    return Group(
        Text.assemble(
            (f"Trial {found['trial']}", "bold"),
            (f"  signal to quantization noise of {write.many(len(layers), 'int8 layer')}; 6 dB are one bit", "dim"),
        ),
        Padding(rows, (0, 0, 0, 2)),
    )


def _marked(value: float | None) -> Text:
    return Text(write.decibels(value), style="yellow" if value is not None and value < _NOISY else "")
