"""Praise or complaint: the fraction of sentences that a fixed logistic head tells right from the embeddings."""

from pathlib import Path

import numpy as np

with np.load(Path(__file__).resolve().parent / "data.npz") as data:
    IDS, LENGTHS, LABELS = data["ids"], data["len"], data["y"]
    OTHER_IDS, OTHER_LENGTHS = data["cal"], data["cal_len"]
    WEIGHTS, BIAS = data["coef"], data["bias"]

num_samples = len(LABELS)
score_range = (0.0, 1.0)


def score(session, indices):
    """1.0 for every sentence judged right; sentences of similar length share a batch."""
    indices = np.asarray(indices)
    scores = np.zeros(len(indices))
    order = np.argsort(LENGTHS[indices], kind="stable")
    for part in np.split(order, range(32, len(order), 32)):
        sentences = indices[part]
        embeddings = session.run(None, feed(IDS[sentences], LENGTHS[sentences], LENGTHS[sentences].max()))[0]
        scores[part] = (embeddings @ WEIGHTS + BIAS[0] > 0) == (LABELS[sentences] == 1)
    return scores


def calibration():
    """Sentences that are not scored, padded to one width."""
    for first in range(0, len(OTHER_IDS), 8):
        part = slice(first, first + 8)
        yield feed(OTHER_IDS[part], OTHER_LENGTHS[part], OTHER_IDS.shape[1])


def feed(ids, lengths, width):
    """Token ids and mask, int64 [n, width]."""
    return {"input_ids": ids[:, :width], "attention_mask": (np.arange(width) < lengths[:, None]).astype(np.int64)}
