"""How well a model reads text lines: the fraction of lines read without a single wrong character.

The third and fastest form of an eval file: `score(session, indices)` returns one score per line, in the order asked
for, so that autoquant may shuffle the lines, stop early on a hopeless candidate and compare line by line.
"""

from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[2] / "demo" / "lines.npz"
if not DATA.exists():
    raise FileNotFoundError(f"{DATA} is missing: run examples/ocr/prepare.py first")
with np.load(DATA) as data:
    LINES, WIDTHS, TEXTS = data["line_pixels"], data["line_widths"], data["line_texts"]
    OTHER_LINES, OTHER_WIDTHS = data["calibration_pixels"], data["calibration_widths"]
    CHARACTERS = data["characters"]

num_samples = len(TEXTS)
score_range = (0.0, 1.0)


def score(session, indices):
    """1.0 for every line read exactly, 0.0 for the others."""
    indices = np.asarray(indices)
    name = session.get_inputs()[0].name
    scores = np.zeros(len(indices))
    for part, pixels in batches(LINES[indices], WIDTHS[indices]):
        classes = session.run(None, {name: pixels})[0].argmax(-1)
        scores[part] = [read(row) == text for row, text in zip(classes, TEXTS[indices[part]], strict=True)]
    return scores


def calibration():
    """Lines that are not scored."""
    for _, pixels in batches(OTHER_LINES, OTHER_WIDTHS):
        yield {"x": pixels}


def batches(lines, widths, size=16):
    """Yield (positions, float32 [n, 3, 48, W]) with lines of similar width together; padding is zero."""
    padded = np.maximum(320, -(-widths // 32) * 32)
    for width in np.unique(padded):
        alike = np.flatnonzero(padded == width)
        for part in np.split(alike, range(size, len(alike), size)):
            grey = lines[part, :, :width] if width <= lines.shape[2] else pad(lines[part], width)
            inside = np.arange(width) < widths[part, None]
            pixels = np.where(inside[:, None, :], grey.astype(np.float32) / 127.5 - 1.0, np.float32(0.0))
            yield part, np.repeat(pixels[:, None], 3, axis=1)


def pad(lines, width):
    """Lines continued to the right with zeros."""
    return np.pad(lines, ((0, 0), (0, 0), (0, width - lines.shape[2])))


def read(classes):
    """Best path of CTC: repeats merged, blanks (class 0) dropped."""
    kept = (classes != 0) & np.append(True, classes[1:] != classes[:-1])
    return "".join(CHARACTERS[classes[kept]])
