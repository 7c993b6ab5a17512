import numpy as np
import pytest
from autoquant.errors import ChangedInputsError
from autoquant.tuner.study.fingerprint import FeedHasher, Fingerprint, hash_feeds

STUDY = Fingerprint("m", "e", "c")


def test_round_trip():
    assert Fingerprint.from_json(STUDY.to_json()) == STUDY
    assert Fingerprint.from_json({"model": "m"}) == Fingerprint("m", "")


@pytest.mark.parametrize("now", [STUDY, Fingerprint("m", "e"), Fingerprint("", "", "c")])
def test_the_same_or_not_known(now: Fingerprint):
    STUDY.require_same(now, "study.db")


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (Fingerprint("x", "e", "c"), "the model has changed since"),
        (Fingerprint("m", "x"), "the eval file has changed since"),
        (Fingerprint("m", "e", "x"), "the calibration inputs have changed since"),
        (Fingerprint("x", "x", "c"), "the model and the eval file have changed since"),
    ],
)
def test_changed_inputs_are_named(now: Fingerprint, words: str):
    with pytest.raises(ChangedInputsError) as caught:
        STUDY.require_same(now, "out/study.db")
    text = str(caught.value)
    assert text.startswith(words)
    assert "out/study.db" in text
    assert "--fresh" in text
    assert len(text.splitlines()) == 2


def test_feeds_differ_by_name_type_shape_value_and_order():
    x = np.arange(6, dtype=np.float32)
    kinds = [
        [{"x": x}],
        [{"y": x}],
        [{"x": x.astype(np.float64)}],
        [{"x": x.reshape(2, 3)}],
        [{"x": x + 1}],
        [{"x": x}, {"x": x}],
        [{"x": x, "y": x}],
        [{"x": x[:0]}],
        [],
        [{"x": np.array(["a", "b"], dtype=object)}],
        [{"x": np.array(["a", "c"], dtype=object)}],
        [{"x": x}, {"x": x + 1}],
        [{"x": x + 1}, {"x": x}],
    ]
    assert len({hash_feeds(feeds) for feeds in kinds}) == len(kinds)


def test_equal_feeds_are_equal():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert hash_feeds([{"x": x.T, "y": x}]) == hash_feeds([{"y": x, "x": np.ascontiguousarray(x.T)}])


def test_feeds_are_hashed_one_by_one_too():
    feeds = [{"x": np.full((1, 2), i)} for i in range(3)]
    hasher = FeedHasher()
    for feed in feeds:
        hasher.update(feed)
    assert hasher.hexdigest() == hash_feeds(feeds)
