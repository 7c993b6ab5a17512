"""Sections of the page that prove a claim: the certificate, the front, the evidence of no gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..study.request import TargetDrop
from . import claims
from . import format as write
from .errors import columns, noisiest

_OPEN_UP_TO = 20


def certificate(held: Mapping[str, Any] | None, target: TargetDrop) -> str:
    """Each float layer of the delivered recipe with what refutes its int8 form. Empty where all are int8."""
    if not held or not held["of"]:
        return ""
    rows = [
        (
            f"<code>{escape(layer['layer'])}</code>",
            escape(claims.refutation(layer, target.relative)),
            write.MISSING if layer["trial"] is None else str(layer["trial"]),
        )
        for layer in held["layers"]
    ]
    return _card(
        "Why these layers stay float",
        f"With all else equal, one at a time in int8: {claims.certified(held)}.",
        ("layer", "in int8 it", "trial"),
        rows,
    )


def errors(layers: Sequence[Mapping[str, Any]]) -> str:
    """What quantization does to each int8 layer, the noisiest output first. Empty without any."""
    shown = columns(ordered := noisiest(layers))
    rows = [
        (f"<code>{escape(layer['layer'])}</code>", *(cells[place] for cells in shown.values()))
        for place, layer in enumerate(ordered)
    ]
    if not rows:
        return ""
    return _card(
        "What quantization does to each layer",
        "Signal to quantization noise on the probe samples; 6 dB are one bit. <em>Output alone</em>: all before the "
        "layer in float; <em>in the model</em>: with everything the layers before it add; <em>+</em>: what that "
        "correction alone gains over none.",
        ("layer", *shown),
        rows,
    )


def front(points: Sequence[Mapping[str, Any]], target: TargetDrop, number: int | None) -> str:
    """The points of the front; each is a trial that `autoquant export` rebuilds. Empty without a front."""
    rows = [
        (
            str(point["trial"]) + (" ★" if point["trial"] == number else ""),
            write.drop(point["drop"], target.relative),
            write.metric(point["metric"]),
            f"{point['cost']:.3f}",
            _speed(point),
            write.size(point["size_bytes"]),
            str(point["int8_layers"]),
        )
        for point in points
    ]
    if not rows:
        return ""
    return _card(
        "The front",
        "From the closest to the float model to the cheapest; nothing tried is both. "
        "<code>autoquant export STUDY --trial N --out X.onnx</code> writes any of them.",
        ("trial", "drop", "metric", "cost", "speed", "size", "int8"),
        rows,
    )


def evidence(candidates: Sequence[Mapping[str, Any]], target: TargetDrop) -> str:
    """The cheapest candidates with anything in int8, where nothing was gained. Empty elsewhere."""
    rows = [
        (
            str(candidate["trial"]),
            _speed(candidate),
            f"{candidate['cost']:.3f}",
            write.drop(candidate["drop"], target.relative) + ("" if candidate["holds"] else ": too much"),
            str(candidate["int8_layers"]),
        )
        for candidate in candidates
    ]
    if not rows:
        return ""
    return _card(
        "What int8 offered",
        "The cheapest candidates with anything in int8, against the float file.",
        ("trial", "speed", "cost", "drop", "int8"),
        rows,
    )


def _speed(entry: Mapping[str, Any]) -> str:
    interval = write.interval(entry.get("speedup_ci"), write.speedup)
    return write.speedup(entry["speedup"]) + (f" ({interval})" if interval else "")


def _card(title: str, text: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table under a title. Cells are HTML already."""
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    how = " open" if len(rows) <= _OPEN_UP_TO else ""
    return (
        f'<section class="card"><h2>{title}</h2><p>{text}</p><details{how}><summary>{len(rows)}</summary>'
        f'<div class="wide"><table><tr>{head}</tr>{body}</table></div></details></section>'
    )
