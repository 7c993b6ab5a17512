import numpy as np
from autoquant.evaluators.feeds import Input
from autoquant.tuner.calibration.identity import Met, digests

INPUTS = (Input("x", "float32", ("N", 4)), Input("mask", "int64", ("N", None)))
FIXED = (Input("x", "float32", (2, 4)),)


def feed(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((rows, 4)).astype(np.float32), "mask": np.ones((rows, 3), np.int64)}


def cut(whole: dict[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
    return {name: array[rows] for name, array in whole.items()}


def test_a_sample_is_the_same_in_any_batch() -> None:
    whole = feed(6)
    apart = [digest for start in (0, 2, 5) for digest in digests(cut(whole, slice(start, start + 3)), INPUTS)]
    together = digests(whole, INPUTS)
    assert len(set(together)) == 6
    assert set(apart) == set(together)


def test_another_value_type_shape_or_name_is_another_sample() -> None:
    one = feed(1)
    nudged = {**one, "x": np.nextafter(one["x"], np.float32(9))}
    others = [nudged, {**one, "mask": one["mask"].astype(np.int32)}, {**one, "mask": np.ones((1, 4), np.int64)}]
    found = {digests(other, INPUTS)[0] for other in [one, *others]}
    assert len(found) == 4


def test_large_samples_are_told_apart_wherever_they_differ() -> None:
    pictures = (Input("x", "float32", ("N", 3, 37, 41)),)
    whole = np.random.default_rng(0).standard_normal((1, 3, 37, 41)).astype(np.float32)
    found = {digests({"x": whole}, pictures)[0], digests({"x": np.ascontiguousarray(whole[:, ::-1])}, pictures)[0]}
    for place in range(0, whole.size, 97):
        nudged = whole.copy()
        nudged.reshape(-1)[place] += 1e-3
        found.add(digests({"x": nudged}, pictures)[0])
    assert len(found) == 2 + len(range(0, whole.size, 97))
    again = np.concatenate([whole + 1, whole])[1:]
    assert digests({"x": again}, pictures)[0] in found


def test_what_cannot_be_divided_is_one_sample() -> None:
    assert len(digests({"x": np.zeros((2, 4), np.float32)}, FIXED)) == 1


def test_text_has_a_digest_too() -> None:
    texts = (Input("t", "str", ("N",)),)
    first, second = digests({"t": np.array(["a", "b"], object)}, texts)
    assert first != second


def test_repetitions_and_constants_are_counted() -> None:
    met = Met(INPUTS, constants=True)
    met.add(feed(4))
    met.add(cut(feed(4), slice(1, 3)))
    met.add({"x": np.repeat(np.float32([[0], [7]]), 4, axis=1), "mask": np.ones((2, 3), np.int64)})
    assert (met.total, met.repeated, met.constant) == (8, 2, 2)
    assert len(met.digests) == 6


def test_integers_alone_are_not_called_constant() -> None:
    met = Met((Input("mask", "int64", ("N", None)),), constants=True)
    met.add({"mask": np.ones((3, 5), np.int64)})
    assert met.constant == 0
