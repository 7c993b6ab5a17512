"""The claims beside the verdict, in words: what int8 brought and what rewriting, the certificate, the front."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from ..study.request import TargetDrop
from . import format as write

VERDICTS = {
    "met": "target met",
    "not_met": "target not met",
    "no_gain": "nothing gained: keep the float model",
}
_FASTER = "nothing gained from int8, yet the model written is faster: take it"
_COLUMNS = ("trial", "drop", "cost", "metric", "speedup", "speedup_low", "speedup_high", "size_bytes", "int8_layers")


def headline(status: str, latency: Mapping[str, Any] | None) -> str:
    """The verdict in a few words. A faster file that is hardly quantized is still worth taking."""
    if status == "no_gain" and latency and latency["speedup_ci"][0] > 1.0:
        return _FASTER
    return VERDICTS.get(status, "no result yet")


def credit(latency: Mapping[str, Any] | None) -> str:
    """`2.10×: 1.60× from rewriting the float graph, 1.31× from int8`; empty where nothing was rewritten."""
    alone = latency.get("rewrites_only") if latency else None
    if not latency or not alone:
        return ""
    total, mine = latency["speedup"], alone["speedup"]
    if total == mine:
        return "all of it from rewriting the float graph"
    low, high = alone["speedup_ci"]
    if latency["speedup_ci"][0] <= 1.0:
        return f"rewriting the float graph alone: {write.speedup(mine)} ({write.interval((low, high), write.speedup)})"
    if low <= 1.0 <= high:
        return f"from int8; rewriting the float graph alone changes nothing beyond noise ({write.speedup(mine)})"
    return (
        f"{write.speedup(total)}: {write.speedup(mine)} from rewriting the float graph, "
        f"{write.speedup(total / mine)} from int8"
    )


def certified(certificate: Mapping[str, Any] | None) -> str:
    """What the certificate says of the float layers; empty where there is none, or no float layer."""
    if not certificate or not certificate["of"]:
        return ""
    count, refuted = certificate["of"], certificate["refuted"]
    if refuted == count:
        which = "the one float layer" if count == 1 else f"each of the {count} float layers"
        return f"complete: {which} was tried in int8 and refuted"
    return f"{refuted} of {write.many(count, 'float layer')} tried in int8 and refuted, the others open"


def refutation(layer: Mapping[str, Any], relative: bool) -> str:
    """Why one float layer stays float: `loses 1.32%`, `loses more than 1.10%`, `not faster: …`."""
    drop = write.drop(layer["drop"], relative)
    if layer["how"] == "scored":
        return f"loses {drop}"
    if layer["how"] == "raced":
        return f"loses more than {drop}, stopped early"
    if layer["how"] == "slower":
        return "not faster" + (f" (cost {layer['cost']:.3f})" if layer["cost"] is not None else "")
    if layer["how"] == "failed":
        return "does not run"
    return f"holds at {drop}, not chosen" if layer["drop"] is not None else "not tried"


def calibrated(calibration: Mapping[str, Any] | None) -> str:
    """`200 samples of calibration(), 37 of them evaluation inputs; …`; empty where nothing is known."""
    if not calibration:
        return ""
    count, overlap, coverage = calibration["samples"], calibration["overlap"], calibration["coverage"]
    of = "" if calibration["data_free"] else "of "
    text = f"{write.many(count, 'sample')} {of}{calibration['source']}"
    if calibration["of"]:
        text += f" ({calibration['select']} out of {write.count(calibration['of'])})"
    if overlap is not None:
        text += f"; {overlap} of {count} calibration samples are evaluation inputs"
    if coverage is not None:
        text += f"; {coverage['outside']} of {coverage['tensors']} tensors leave their calibrated range in evaluation"
    return text


def front(points: Sequence[Mapping[str, Any]], target: TargetDrop) -> str:
    """`12 points, drop 0.01% to 3.20%, 1.10× to 2.30× as fast`; empty without a front."""
    if not points:
        return ""
    drops = write.interval([points[0]["drop"], points[-1]["drop"]], lambda value: write.drop(value, target.relative))
    if all(point["speedup"] is not None for point in points):
        ends = write.interval([points[0]["speedup"], points[-1]["speedup"]], write.speedup) + " as fast"
    else:
        ends = "cost " + write.interval([points[0]["cost"], points[-1]["cost"]], lambda value: f"{value:.3f}")
    return f"{write.many(len(points), 'point')}, drop {drops}, {ends}"


def front_csv(points: Sequence[Mapping[str, Any]]) -> str:
    """The front as CSV, a row a point: what does not apply is empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for point in points:
        low, high = point["speedup_ci"] or (None, None)
        row = {**point, "speedup_low": low, "speedup_high": high}
        table.writerow([row[name] for name in _COLUMNS])
    return text.getvalue()
