"""The samples that a run keeps for its probes."""

import numpy as np
from autoquant.evaluators.feeds import Input
from autoquant.evaluators.session import open_session
from autoquant.tuner.study import feeds
from autoquant.tuner.study.feeds import CLOSER_SAMPLES, POOL, PROBE_SAMPLES, Sampler, telling

from tests import zoo

INPUTS = [Input("x", "float32", ("N", 2))]


def passed(batches, seed=0, inputs=INPUTS):
    sampler = Sampler(inputs, seed)
    assert list(sampler.watch(batches)) == batches
    return sampler


def rows(sampler):
    return [float(feed["x"][0, 0]) for feed in sampler.kept]


def batches(count, size):
    values = np.arange(count * size, dtype=np.float32).repeat(2).reshape(count, size, 2)
    return [{"x": batch} for batch in values]


def test_few_large_batches_give_as_many_samples_as_many_small_ones():
    for count, size in ((2, 64), (128, 1)):
        sampler = passed(batches(count, size))
        assert all(feed["x"].shape == (1, 2) for feed in sampler.kept)
        assert len(set(rows(sampler))) == len(sampler.kept) == POOL
    assert rows(passed(batches(2, 64))) == rows(passed(batches(128, 1)))
    assert rows(passed(batches(2, 64))) != rows(passed(batches(2, 64), seed=1))


def test_every_sample_is_as_likely():
    counts = np.zeros(160)
    for seed in range(400):
        counts[[int(value) for value in rows(passed(batches(20, 8), seed))]] += 1
    expected = 400 * POOL / 160
    assert abs(counts - expected).max() < 4.5 * np.sqrt(expected)


def test_a_feed_that_cannot_be_divided_is_one_sample():
    fixed = [Input("x", "float32", (4, 2))]
    sampler = passed(batches(3, 4), inputs=fixed)
    assert [feed["x"].shape for feed in sampler.kept] == [(4, 2)] * 3


def test_kept_samples_come_back(tmp_path):
    kept = passed(batches(3, 4)).kept
    feeds.save(tmp_path / "feeds.npz", kept, kept[0])
    again, timed = feeds.load(tmp_path / "feeds.npz")
    assert [feed["x"].tolist() for feed in again] == [feed["x"].tolist() for feed in kept]
    assert timed["x"].tolist() == kept[0]["x"].tolist()
    assert feeds.load(tmp_path / "none.npz") is None


def test_large_samples_are_fewer(monkeypatch):
    monkeypatch.setattr(feeds, "POOL_BYTES", 20 * 8)
    assert len(passed(batches(4, 32)).kept) == 20
    monkeypatch.setattr(feeds, "POOL_BYTES", 0)
    assert len(passed(batches(4, 32)).kept) == PROBE_SAMPLES


def test_probes_are_the_samples_the_model_is_least_sure_of():
    proto = zoo.conv_net()
    session = open_session(proto.SerializeToString(), threads=1)
    pool = zoo.feeds(proto, 40, batch=1)
    found = telling(pool, session)
    sure = []
    for feed in pool:
        logits = np.sort(session.run(None, feed)[0].astype(np.float64)[0])
        sure.append(logits[-1] - logits[-2])
    ranked = np.argsort(sure)
    parts = [sorted(ranked[:PROBE_SAMPLES]), sorted(ranked[PROBE_SAMPLES:CLOSER_SAMPLES])]
    assert [id(feed) for feed in found] == [id(pool[place]) for part in parts for place in part]
    assert telling(pool[:5], session) == pool[:5]
