from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from autoquant.errors import EvaluationError, ModelError
from autoquant.evaluators.evaluation import Evaluation, load_evaluation
from autoquant.evaluators.session import open_session
from onnx import TensorProto, helper

from tests import zoo

Write = Callable[..., Evaluation]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Save a model and arrays, and load the evaluation."""

    def written(kind: str, proto: onnx.ModelProto, **arrays: np.ndarray) -> Evaluation:
        model = zoo.save(proto, tmp_path / "m.onnx")
        np.savez(tmp_path / "data.npz", **arrays)
        return load_evaluation(f"{kind}:{tmp_path / 'data.npz'}", model_path=model)

    return written


def identity(shape: list[int | str], dtype: int = TensorProto.FLOAT, out: list[int | str] | None = None, op="Identity"):
    """y = x, so that the outputs are what a test wants them to be."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"])], "g", [value("x", dtype, shape)], [value("y", dtype, out or shape)]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def opened(proto: onnx.ModelProto) -> ort.InferenceSession:
    return open_session(proto.SerializeToString(), threads=1)


RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((75, 4)).astype("f4")


@pytest.mark.parametrize("batch", ["N", 1, 8])
@pytest.mark.parametrize("labels", ["labels", "label", "y"])
def test_accuracy(write: Write, batch: int | str, labels: str) -> None:
    truth = LOGITS.argmax(axis=1)
    truth[::5] = (truth[::5] + 1) % 4
    proto = identity([batch, 4])
    if labels == "y":  # also when an output is called so
        truth = truth[:, None]
    evaluation = write("accuracy", proto, x=LOGITS, **{labels: truth})
    told: list[tuple[int, int | None]] = []
    scored = evaluation.score(opened(proto), progress=lambda done, total: told.append((done, total)))
    assert (evaluation.form, evaluation.num_samples, evaluation.score_range) == ("accuracy", 75, (0.0, 1.0))
    assert scored.metric == pytest.approx(0.8)
    np.testing.assert_array_equal(scored.samples, np.arange(75) % 5 != 0)
    assert told[-1] == (75, 75)
    np.testing.assert_array_equal(evaluation.score_some(opened(proto), np.array([5, 74, 0])), [0, 1, 0])
    feed = evaluation.latency_feed()
    assert feed["x"].shape == (1 if batch == "N" else batch, 4)
    feeds = list(evaluation.calibration())
    assert all(len(feed["x"]) == (batch if isinstance(batch, int) else 8) for feed in feeds[:-1])
    seen = np.unique(np.concatenate([feed["x"] for feed in feeds]), axis=0)
    assert len(seen) == 75


def test_accuracy_of_sequences_and_of_class_numbers(write: Write) -> None:
    logits = RNG.standard_normal((6, 5, 3)).astype("f4")
    truth = logits.argmax(axis=-1)
    truth[0, :2] = (truth[0, :2] + 1) % 3
    proto = identity(["N", 5, 3])
    assert write("accuracy", proto, x=logits, labels=truth).score(opened(proto)).samples.tolist() == [
        0.6,
        1,
        1,
        1,
        1,
        1,
    ]
    proto = identity(["N"], TensorProto.INT64)
    scored = write("accuracy", proto, x=np.array([1, 2, 3]), labels=np.array([1, 2, 0])).score(opened(proto))
    assert scored.samples.tolist() == [1, 1, 0]


def test_a_nan_is_no_right_answer(write: Write) -> None:
    proto = identity(["N", 3])
    x = np.array([[np.nan, 0, 0], [1, 0, 0]], "f4")
    assert write("accuracy", proto, x=x, labels=np.zeros(2, int)).score(opened(proto)).samples.tolist() == [0, 1]


def test_calibration_spreads_over_the_file(write: Write) -> None:
    proto = identity(["N", 1])
    evaluation = write("fidelity", proto, x=np.arange(5000, dtype="f4")[:, None])
    seen = np.concatenate([feed["x"][:, 0] for feed in evaluation.calibration()])
    assert len(seen) == 200
    assert (seen[0], seen[-1]) == (0, 4999)


def test_fidelity_of_class_scores(write: Write) -> None:
    float_proto, candidate = identity(["N", 4]), identity(["N", 4], op="Neg")
    evaluation = write("fidelity", float_proto, x=LOGITS)
    base = opened(float_proto)
    with pytest.raises(RuntimeError, match="prepare"):
        evaluation.score(base)
    evaluation.prepare(base)
    assert evaluation.score(base).metric == 1.0
    expected = LOGITS.argmax(axis=1) == LOGITS.argmin(axis=1)
    np.testing.assert_array_equal(evaluation.score(opened(candidate)).samples, expected)
    np.testing.assert_array_equal(evaluation.score_some(opened(candidate), np.array([3])), expected[3:4])


def test_fidelity_without_room_for_the_references(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoquant.evaluators.arrays._KEPT_BYTES", 100)
    float_proto, candidate = identity(["N", 2, 3]), identity(["N", 2, 3], op="Relu")
    x = RNG.standard_normal((70, 2, 3)).astype("f4")
    evaluation = write("fidelity", float_proto, x=x)
    evaluation.prepare(opened(float_proto))
    flat = x.reshape(70, -1).astype("f8")
    expected = 1 - (np.minimum(flat, 0) ** 2).sum(axis=1) / (flat**2).sum(axis=1)
    for _ in range(2):
        np.testing.assert_allclose(evaluation.score(opened(candidate)).samples, expected, rtol=1e-6)


def test_fidelity_of_several_inputs_and_outputs(write: Write) -> None:
    proto = zoo.two_input_net()
    rng = np.random.default_rng(5)
    image, features = rng.standard_normal((40, 3, 8, 8)), rng.standard_normal((40, 4))  # float64 is narrowed
    evaluation = write("fidelity", proto, image=image, features=features)
    evaluation.prepare(opened(proto))
    scored = evaluation.score(opened(proto))
    assert (scored.metric, len(scored.samples)) == (1.0, 40)


def test_outputs_without_a_batch_axis_are_run_one_by_one(write: Write) -> None:
    proto = identity(["N", 6], out=["M"])
    proto.graph.node[0].CopyFrom(helper.make_node("ReduceMax", ["x"], ["y"], axes=[0], keepdims=0))
    x = RNG.standard_normal((9, 6)).astype("f4")
    evaluation = write("fidelity", proto, x=x)
    evaluation.prepare(opened(proto))
    scored = evaluation.score(opened(proto))
    assert len(scored.samples) == 9
    assert scored.metric == 1.0


def test_a_sample_may_be_a_whole_feed(write: Write) -> None:
    proto = identity(["T", 4])
    x = RNG.standard_normal((5, 7, 4)).astype("f4")  # five sequences of seven steps
    evaluation = write("accuracy", proto, x=x, labels=x.argmax(axis=-1))
    assert evaluation.num_samples == 5
    assert evaluation.score(opened(proto)).samples.tolist() == [1.0] * 5
    assert evaluation.latency_feed()["x"].shape == (7, 4)


def test_the_fingerprint_tells_content_and_kind(write: Write) -> None:
    proto, labels = identity(["N", 4]), np.zeros(75, int)
    first = write("accuracy", proto, x=LOGITS, labels=labels).fingerprint
    assert write("accuracy", proto, x=LOGITS, labels=labels).fingerprint == first
    assert write("fidelity", proto, x=LOGITS, labels=labels).fingerprint != first
    assert write("accuracy", proto, x=LOGITS, labels=labels + 1).fingerprint != first


GOOD = {"x": LOGITS, "labels": np.zeros(75, int)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "accuracy:data.npz needs an array `labels` beside the inputs, but holds x.\nWithout labels"),
        ({"x": None, "image": LOGITS}, "has no array 'x', only labels, image.\nThe model's inputs: x float32 [N, 4]."),
        ({"labels": np.zeros(70, int)}, "differ in their number of samples (first axis): x 75, labels 70"),
        ({"labels": np.full(75, 0.5)}, "labels must be class numbers, [N], but is float64 [75]"),
        ({"labels": np.array(["a"] * 75)}, "labels must be class numbers, [N], but is <U1 [75]"),
        ({"x": np.zeros((0, 4), "f4"), "labels": np.zeros(0, int)}, "accuracy:data.npz holds no samples"),
        (
            {"x": np.zeros((75, 5), "f4")},
            "input 'x' has shape [1, 5], but the model wants x float32 [N, 4].\nThe model",
        ),
        ({"x": np.zeros((75, 4), "u1")}, "'x' is uint8, but the model wants float32; store the samples as the model"),
        ({"x": np.float32(3)}, "'x' must hold samples along its first axis, not a scalar"),
    ],
)
def test_arrays_that_do_not_fit(write: Write, change: dict[str, np.ndarray | None], message: str) -> None:
    arrays = {name: array for name, array in (GOOD | change).items() if array is not None}
    with pytest.raises(EvaluationError) as error:
        write("accuracy", identity(["N", 4]), **arrays)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("labels", "shape", "message"),
    [
        (np.full(75, 4), ["N", 4], "labels lie between 4 and 4, but the first output has 4 classes, 0 to 3"),
        (np.full(75, -1), ["N", 4], "labels lie between -1 and -1"),
        (np.zeros((75, 2), int), ["N", 4], "gives predictions of shape [32], but labels are [32, 2]"),
        (np.zeros(75, int), ["N", 1], "the first output (float32 [32, 1]) has no axis of class scores"),
    ],
)
def test_labels_that_do_not_fit_the_output(write: Write, labels: np.ndarray, shape: list[int | str], message) -> None:
    proto = identity(shape)
    x = np.ascontiguousarray(LOGITS[:, : shape[1]])
    with pytest.raises(EvaluationError) as error:
        write("accuracy", proto, x=x, labels=labels).score(opened(proto))
    assert message in str(error.value)
    assert "write an eval file" in str(error.value)


def test_a_model_that_fails_on_them(write: Write) -> None:
    proto = identity(["N", 4], out=["M", 3])
    proto.graph.node[0].CopyFrom(helper.make_node("Reshape", ["x", "s"], ["y"]))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 7]), "s"))
    evaluation = write("accuracy", proto, **GOOD)
    with pytest.raises(EvaluationError, match=r"the model fails on these inputs: .*reshape"):
        evaluation.score(opened(proto))


def test_outputs_that_are_no_tensors(write: Write) -> None:
    proto = identity(["N", 4])
    proto.graph.node[0].CopyFrom(helper.make_node("SequenceConstruct", ["x"], ["y"]))
    proto.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None))
    evaluation = write("fidelity", proto, x=LOGITS)
    evaluation.prepare(opened(proto))
    with pytest.raises(EvaluationError, match="output 'y' is no tensor"):
        evaluation.score(opened(proto))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"junk" * 20, "holds no plain arrays; write it with numpy.savez"),
        (b"PK\x03\x04 broken", "cannot be read (File is not a zip file)"),
        (b"", "cannot be read (No data left in file)"),
    ],
)
def test_files_that_are_no_arrays(tmp_path: Path, content: bytes, message: str) -> None:
    model = zoo.save(identity(["N", 4]), tmp_path / "m.onnx")
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(EvaluationError) as error:
        load_evaluation(f"accuracy:{tmp_path / 'd.npz'}", model_path=model)
    assert message in str(error.value)


def test_pickled_objects_and_single_arrays_are_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="holds no plain arrays"):
        write("accuracy", identity(["N", 4]), x=np.array([None, {}]), labels=np.zeros(2))
    np.save(tmp_path / "one.npy", LOGITS)
    with pytest.raises(EvaluationError, match=r"a single array; save the inputs by name with numpy\.savez"):
        load_evaluation(f"fidelity:{tmp_path / 'one.npy'}", model_path=tmp_path / "m.onnx")


def test_the_model_must_be_readable(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=LOGITS)
    with pytest.raises(ModelError, match="Cannot read the model"):
        load_evaluation(f"fidelity:{tmp_path / 'data.npz'}", model_path=tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"junk" * 30)
    with pytest.raises(ModelError, match="is not an ONNX model"):
        load_evaluation(f"fidelity:{tmp_path / 'data.npz'}", model_path=tmp_path / "bad.onnx")
