"""The fraction of text lines read without a mistake (CTC, best path). Pixels are stored as uint8, normalised here."""

from pathlib import Path

import numpy as np

with np.load(Path(__file__).resolve().parent / "data.npz") as data:
    LINES, WIDTHS, PADDED, TEXTS = data["x"], data["real"], data["padded"], data["text"]
    OTHER_LINES, OTHER_WIDTHS = data["cal"], data["cal_real"]
    CHARACTERS = np.array(["", *data["chars"], " "])  # class 0 is the blank, the last one a space

num_samples = len(TEXTS)
score_range = (0.0, 1.0)


def score(session, indices):
    """1.0 for every line read exactly."""
    indices = np.asarray(indices)
    name = session.get_inputs()[0].name
    scores = np.zeros(len(indices))
    for width in np.unique(PADDED[indices]):
        alike = np.flatnonzero(PADDED[indices] == width)
        for part in np.split(alike, range(16, len(alike), 16)):
            lines = indices[part]
            pixels = normalised(LINES[lines, :, :, :width], WIDTHS[lines])
            classes = session.run(None, {name: pixels})[0].argmax(-1)
            scores[part] = [read(row) == text for row, text in zip(classes, TEXTS[lines], strict=True)]
    return scores


def calibration():
    """Lines that are not scored."""
    for first in range(0, len(OTHER_LINES), 8):
        part = slice(first, first + 8)
        yield {"x": normalised(OTHER_LINES[part], OTHER_WIDTHS[part])}


def normalised(pixels, widths):
    """uint8 [n, 3, 48, W] → float32 in -1…1, zero to the right of each line's own width."""
    inside = np.arange(pixels.shape[3]) < widths[:, None]
    return np.where(inside[:, None, None, :], pixels.astype(np.float32) / 127.5 - 1, np.float32(0))


def read(classes):
    """Best path: repeats merged, blanks dropped."""
    kept = (classes != 0) & np.append(True, classes[1:] != classes[:-1])
    return "".join(CHARACTERS[classes[kept]])
