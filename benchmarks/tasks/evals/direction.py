"""Is the text line upright? The fraction of lines classified correctly."""

from pathlib import Path

import numpy as np

with np.load(Path(__file__).resolve().parent / "data.npz") as data:
    LINES, LABELS, OTHER_LINES = data["x"], data["y"], data["cal"]

num_samples = len(LABELS)
score_range = (0.0, 1.0)


def score(session, indices):
    """1.0 for every line whose direction is right."""
    indices = np.asarray(indices)
    name = session.get_inputs()[0].name
    parts = np.split(indices, range(50, len(indices), 50))
    return np.concatenate([session.run(None, {name: LINES[part]})[0].argmax(1) == LABELS[part] for part in parts])


def calibration():
    """Lines that are not scored."""
    for first in range(0, len(OTHER_LINES), 8):
        yield {"x": OTHER_LINES[first : first + 8]}
