"""Names of what lies in an output folder."""

from __future__ import annotations

from pathlib import Path

DATABASE = "study.db"
MODEL = "model.onnx"
RECIPE = "recipe.json"
RESULT = "result.json"
REPORT = "report.html"
FRONT = "front.csv"
# What a resumed run finds again: single samples for probes and clock, the baseline's and the trials' per-sample scores.
FEEDS = "feeds.npz"
BASELINE_SCORES = "baseline.npy"
SCORES = "samples"
# Results of corrections, by the hash of their content: a part of the study.
CORRECTIONS = "corrections"


def model_bytes(path: Path) -> int:
    """Size of a model file, its external data beside it included."""
    data = path.with_name(path.name + ".data")
    return path.stat().st_size + (data.stat().st_size if data.exists() else 0)
