import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from autoquant.evaluators.recording import Recorder
from autoquant.evaluators.session import open_session

from tests import zoo
from tests.evaluators.test_arrays import identity


def opened(proto: onnx.ModelProto) -> ort.InferenceSession:
    return open_session(proto.SerializeToString(), threads=1)


def rows(recorder: Recorder, name: str = "x") -> list[float]:
    """The first number of every sample kept."""
    return [float(row.flat[0]) for feed in recorder.feeds() for row in feed[name]]


def numbered(start: int, stop: int, width: int = 4) -> np.ndarray:
    return np.repeat(np.arange(start, stop, dtype="f4")[:, None], width, axis=1)


@pytest.fixture
def session() -> ort.InferenceSession:
    return opened(identity(["N", "W"]))


def test_it_is_a_session(session: ort.InferenceSession) -> None:
    recorder = Recorder(session)
    assert isinstance(recorder, ort.InferenceSession)
    x = numbered(0, 3)
    np.testing.assert_array_equal(recorder.run(None, {"x": x})[0], x)
    np.testing.assert_array_equal(recorder.run(["y"], {"x": x.tolist()})[0], x)
    assert [i.name for i in recorder.get_inputs()] == ["x"]
    assert recorder.get_providers() == session.get_providers()
    assert recorder.total == 6
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], x)  # the wrapped one goes on working
    assert recorder.total == 6


def test_few_samples_are_kept_in_order_and_in_batches(session: ort.InferenceSession) -> None:
    recorder = Recorder(session)
    for start in range(0, 20, 5):
        recorder.run(None, {"x": numbered(start, start + 5)})
    recorder.run(None, {"x": numbered(20, 22, width=9)})  # another width cannot share a batch
    assert rows(recorder) == list(range(22))
    assert [feed["x"].shape for feed in recorder.feeds()] == [(8, 4), (8, 4), (4, 4), (2, 9)]
    assert recorder.total == 22


def test_the_reservoir_is_bounded_seeded_and_fair(session: ort.InferenceSession) -> None:
    def kept(seed: int) -> list[float]:
        recorder = Recorder(session, limit_samples=50, seed=seed)
        for start in range(0, 1000, 25):
            recorder.run(None, {"x": numbered(start, start + 25)})
        assert recorder.total == 1000
        return rows(recorder)

    first = kept(0)
    assert first == kept(0) == sorted(first)
    assert first != kept(1)
    assert len(set(first)) == 50
    # Each thousandth is kept with probability 1/20: over 40 seeds every tenth of the data gets 200 ± 5 σ (≈ 70).
    counts = np.histogram(np.concatenate([kept(seed) for seed in range(40)]), bins=10, range=(0, 1000))[0]
    assert np.abs(counts - 200).max() < 70


def test_batches_do_not_matter_to_what_is_kept(session: ort.InferenceSession) -> None:
    whole, parts = Recorder(session, 20), Recorder(session, 20)
    whole.run(None, {"x": numbered(0, 200)})
    for start in range(0, 200, 7):
        parts.run(None, {"x": numbered(start, min(start + 7, 200))})
    assert rows(whole) == rows(parts)


def test_the_kept_samples_are_copies(session: ort.InferenceSession) -> None:
    recorder = Recorder(session)
    buffer = numbered(0, 2)
    recorder.run(None, {"x": buffer})
    buffer[:] = -1
    assert rows(recorder) == [0, 1]


def test_several_inputs_stay_together() -> None:
    proto = zoo.two_input_net()
    recorder = Recorder(opened(proto), limit_samples=10)
    for _ in range(10):
        image, features = np.random.default_rng(0).standard_normal((2, 3, 8, 8)), np.zeros((2, 4))
        features[:] = image[:, 0, 0, :4]
        recorder.run(None, {"image": image.astype("f4"), "features": features.astype("f4")})
    kept = list(recorder.feeds())
    assert sum(len(feed["image"]) for feed in kept) == 10
    for feed in kept:
        np.testing.assert_array_equal(feed["image"][:, 0, 0, :4], feed["features"])


@pytest.mark.parametrize("shape", [[4, 3], ["seq_len", 3]])
def test_feeds_that_cannot_be_divided_are_kept_whole(shape: list[int | str]) -> None:
    recorder = Recorder(opened(identity(shape)), limit_samples=10)
    for start in range(0, 40, 4):
        recorder.run(None, {"x": numbered(start, start + 4, 3)})
    feeds = list(recorder.feeds())
    assert recorder.total == 40
    assert [feed["x"].shape for feed in feeds] == [(4, 3), (4, 3)]
    assert all((np.diff(feed["x"][:, 0]) == 1).all() for feed in feeds)


def test_outputs_without_the_batch_forbid_dividing() -> None:
    proto = identity(["N", 3], out=["M"])
    proto.graph.node[0].CopyFrom(onnx.helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0))
    proto.graph.output[0].type.tensor_type.shape.Clear()
    recorder = Recorder(opened(proto), limit_samples=10)
    recorder.run(None, {"x": numbered(0, 6, 3)})
    assert [feed["x"].shape for feed in recorder.feeds()] == [(6, 3)]


def test_other_ways_to_run(session: ort.InferenceSession) -> None:
    recorder = Recorder(session)
    x = numbered(0, 2)
    recorder.run_with_ort_values(["y"], {"x": ort.OrtValue.ortvalue_from_numpy(x)})
    binding = recorder.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y")
    recorder.run_with_iobinding(binding)
    np.testing.assert_array_equal(binding.copy_outputs_to_cpu()[0], x)
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x + 2))
    recorder.run_with_iobinding(binding)
    assert rows(recorder) == [0, 1, 0, 1, 2, 3]


def test_run_async() -> None:
    recorder = Recorder(open_session(identity(["N", 4]).SerializeToString(), threads=2))
    done = threading.Event()
    recorder.run_async(["y"], {"x": numbered(4, 6)}, lambda *_: done.set(), None)
    assert done.wait(10)
    assert rows(recorder) == [4, 5]


def test_a_failing_run_is_not_kept(session: ort.InferenceSession) -> None:
    recorder = Recorder(session)
    with pytest.raises(ValueError, match="missing from input feed"):
        recorder.run(None, {"z": numbered(0, 2)})
    assert recorder.total == 0
    assert list(recorder.feeds()) == []


def test_a_recorder_outlives_the_weights_owner(tmp_path: Path) -> None:
    recorder = Recorder(opened(zoo.conv_net()))
    feed = zoo.feeds(zoo.conv_net(), 1)[0]
    assert np.isfinite(recorder.run(None, feed)[0]).all()
