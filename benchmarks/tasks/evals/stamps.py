"""ImageNet top-1: the prediction must be one of the classes accepted for the picture. Pixels are stored as uint8."""

from pathlib import Path

import numpy as np

with np.load(Path(__file__).resolve().parent / "data.npz") as data:
    PICTURES, ACCEPTED, OTHER_PICTURES = data["x"], data["y"], data["cal"]
MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]

num_samples = len(PICTURES)
score_range = (0.0, 1.0)


def score(session, indices):
    """1.0 for every picture whose class is right."""
    indices = np.asarray(indices)
    name = session.get_inputs()[0].name
    scores = np.zeros(len(indices))
    for first in range(0, len(indices), 16):
        part = indices[first : first + 16]
        predicted = session.run(None, {name: normalised(PICTURES[part])})[0].argmax(1)
        scores[first : first + 16] = (ACCEPTED[part] == predicted[:, None]).any(1)
    return scores


def calibration():
    """Pictures that are not scored."""
    for first in range(0, len(OTHER_PICTURES), 8):
        yield {"x": normalised(OTHER_PICTURES[first : first + 8])}


def normalised(pixels):
    """uint8 [n, 3, 224, 224] → float32, ImageNet's mean and deviation."""
    return (pixels.astype(np.float32) / 255 - MEAN) / DEVIATION
