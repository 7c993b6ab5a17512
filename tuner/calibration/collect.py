"""One streaming pass of calibration feeds through the float model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from ...errors import CalibrationError
from ...evaluators.base import Feed
from ...evaluators.feeds import Input, batch_of, counted, describe, problem, single
from ...evaluators.session import explain
from ..graph.model import Model
from .statistics import Statistics, TensorStatistics

ACTIVATION_BYTES = 512 << 20
"""Activations held at once; feeds that would need more are split along the batch where the model allows it."""


class OpenSession(Protocol):
    """`autoquant.evaluators.session.open_session`, or one with a device bound to it."""

    def __call__(self, model: bytes, *, weights: Mapping[str, np.ndarray]) -> ort.InferenceSession:
        """An onnxruntime session of a skeleton and its weights."""
        ...


def collect(
    model: Model,
    tensors: Sequence[str],
    feeds: Iterable[Feed],
    *,
    open_session: OpenSession,
    progress: Callable[[int], None] | None = None,
) -> Statistics:
    """Run the feeds and count every value of the tensors.

    Memory does not depend on the number of feeds: a feed's activations are counted and dropped before the next runs.

    Args:
        model: The float model.
        tensors: Float tensors of the main graph, inputs and outputs included.
        feeds: Inputs of one run each, consumed one by one.
        open_session: Opens the model with its extra outputs.
        progress: Called with the number of samples done after each feed.

    Raises:
        CalibrationError: No feeds, a feed that does not fit the model's inputs, NaN in a feed, or a run that fails.
    """
    names = list(dict.fromkeys(tensors))
    statistics = Statistics({name: TensorStatistics() for name in names})
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for samples, parts in stream(model, names, feeds, open_session=open_session):
            shapes: dict[str, tuple[int, ...]] = {}
            for values in parts:
                for _ in pool.map(
                    lambda name, value: statistics.tensors[name].histogram.add(value), values, values.values()
                ):
                    pass  # raises what a thread raised
                for name, value in values.items():
                    before = shapes.get(name, (0,))
                    shapes[name] = (before[0] + value.shape[0], *value.shape[1:]) if value.ndim else ()
            for name, shape in shapes.items():
                if statistics.tensors[name].shape is None:
                    statistics.tensors[name].shape = shape
            statistics.samples += samples
            if progress is not None:
                progress(statistics.samples)
    return statistics


def stream(
    model: Model, tensors: Sequence[str], feeds: Iterable[Feed], *, open_session: OpenSession
) -> Iterator[tuple[int, Iterator[dict[str, np.ndarray]]]]:
    """Run feed by feed: (samples of the feed, its parts: tensor → values), each part run when it is asked for.

    Raises:
        CalibrationError: As `collect`.
    """
    names = list(dict.fromkeys(tensors))
    session = open_session(with_outputs(model.proto, names), weights=model.weights)
    inputs = model.inputs
    given_names = {value.name for value in inputs}
    runner = _Runner(session, inputs, [name for name in names if name not in given_names])

    def run(feed: Feed, number: int) -> Iterator[dict[str, np.ndarray]]:
        for part in runner.parts(feed):
            yield {**runner.run(part, number), **{name: part[name] for name in names if name in given_names}}

    number = 0
    for number, given in enumerate(feeds, 1):
        feed = checked(given, inputs, number)
        yield counted(feed), run(feed, number)
    if not number:
        raise CalibrationError(
            "No calibration samples: calibration() yielded nothing. It must yield at least one feed."
        )


def with_outputs(proto: onnx.ModelProto, tensors: Sequence[str]) -> bytes:
    """The model, serialized, with these float tensors as graph outputs too (inputs and present outputs excepted)."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    present = {value.name for value in (*copy.graph.output, *copy.graph.input)}
    for name in tensors:
        if name not in present:
            value = copy.graph.output.add(name=name)
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    data: bytes = copy.SerializeToString()
    return data


def checked(given: object, inputs: Sequence[Input], number: int) -> Feed:
    """A feed as the user's `calibration()` yielded it, once it is known to fit."""
    if not isinstance(given, Mapping):
        raise CalibrationError(
            f"Calibration feed {number} is a {type(given).__name__}, not a dict of input name to array.\n"
            f"The model's inputs: {describe(inputs)}."
        )
    feed = {str(name): np.asarray(value) for name, value in given.items()}
    wrong = problem(feed, inputs)
    empty = {item.name for item in inputs if item.shape is not None and 0 in item.shape}  # as declared: its only form
    for name, value in feed.items():
        if wrong is None and not value.size and name not in empty:
            wrong = f"input {name!r} is empty, shape {list(value.shape)}"
        if wrong is None and value.dtype.kind == "f" and np.isnan(value).any():
            wrong = f"input {name!r} holds NaN"
    if wrong is not None:
        raise CalibrationError(f"Calibration feed {number}: {wrong}.\nThe model's inputs: {describe(inputs)}.")
    return feed


class _Runner:
    """Runs feeds, in parts along the batch where whole they would hold too much memory."""

    def __init__(self, session: ort.InferenceSession, inputs: Sequence[Input], fetched: Sequence[str]) -> None:
        self._session = session
        self._inputs = inputs
        self._fetched = list(fetched)
        self._sample_bytes: int | None = None  # None before the first feed; 0 where one sample alone does not run

    def parts(self, feed: Feed) -> list[Feed]:
        """The feed, or parts of it with fewer samples each."""
        samples = batch_of(feed, self._inputs) or 1
        if samples == 1:
            return [feed]
        if self._sample_bytes is None:
            self._sample_bytes = self._measure(single(feed, self._inputs))
        part = max(1, ACTIVATION_BYTES // self._sample_bytes) if self._sample_bytes else samples
        return [{name: value[i : i + part] for name, value in feed.items()} for i in range(0, samples, part)]

    def run(self, feed: Feed, number: int) -> dict[str, np.ndarray]:
        """The fetched tensors' values."""
        if not self._fetched:
            return {}
        try:
            values = self._session.run(self._fetched, dict(feed))
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise CalibrationError(f"Calibration feed {number}: the model fails on it: {explain(error)}") from error
        return dict(zip(self._fetched, values, strict=True))

    def _measure(self, sample: Feed) -> int:
        try:
            values = self._session.run(self._fetched, dict(sample)) if self._fetched else []
        except Exception:  # noqa: BLE001 - the graph cannot take a batch of one; their errors share no base class
            return 0
        return sum(value.nbytes for value in values)
