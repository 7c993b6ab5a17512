"""A session that remembers a few of the samples it was fed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_inference_collection import IOBinding

from .base import Feed
from .feeds import Input, batch_of, inputs_of

_BATCH = 8


class Recorder(ort.InferenceSession):  # type: ignore[misc]
    """An InferenceSession over another one, keeping a seeded reservoir of the samples that are run through it.

    Every sample has the same chance to be kept (Vitter 1985, algorithm R), so that a data set sorted by class or
    length is represented as a whole. Feeds that cannot be divided along the batch are kept whole. The order of the
    samples and the seed decide what is kept, nothing else.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        limit_samples: int = 200,
        seed: int = 0,
        watch: Callable[[Feed], None] | None = None,
        inputs: Sequence[Input] | None = None,
    ) -> None:
        """Wrap `session`; both work side by side. At most `limit_samples` samples are kept, but at least one feed.

        Args:
            session: What runs.
            limit_samples: Samples kept.
            seed: Of the draw.
            watch: Called with every feed that fits the model, kept or not.
            inputs: What the session wants, where more is known of that than it says itself.
        """
        # No super().__init__: it would build a second session. The state is the wrapped one's.
        self.__dict__.update(session.__dict__)
        self._wrapped = session
        self._inputs = inputs_of(session) if inputs is None else inputs
        self._limit = limit_samples
        self._watch = watch
        self._random = np.random.default_rng(seed)
        self._kept: list[tuple[int, dict[str, np.ndarray]]] = []
        self._slots: int | None = None
        self._units = 0
        self._divided = False
        self._lock = threading.Lock()
        self.total = 0
        """Samples seen so far."""

    def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
        """Run the wrapped session and remember the feed."""
        outputs = super().run(output_names, input_feed, run_options)
        self._remember(input_feed, outputs)
        return outputs

    def run_async(
        self, output_names: Any, input_feed: Any, callback: Any, user_data: Any, run_options: Any = None
    ) -> Any:
        """Start the wrapped session and remember the feed."""
        self._remember(input_feed, None)
        return super().run_async(output_names, input_feed, callback, user_data, run_options)

    def run_with_ort_values(self, output_names: Any, input_dict_ort_values: Any, run_options: Any = None) -> Any:
        """Run the wrapped session and remember the feed."""
        outputs = super().run_with_ort_values(output_names, input_dict_ort_values, run_options)
        self._remember({name: value.numpy() for name, value in input_dict_ort_values.items()}, None)
        return outputs

    def io_binding(self) -> IOBinding:
        """A binding whose inputs are remembered when it runs (not those bound by address)."""
        return _Binding(self)

    def run_with_iobinding(self, iobinding: Any, run_options: Any = None) -> Any:
        """Run the wrapped session and remember what is bound."""
        super().run_with_iobinding(iobinding, run_options)
        if isinstance(iobinding, _Binding):
            self._remember(iobinding.feed(), None)

    def feeds(self) -> Iterator[Feed]:
        """What was kept, in the order it came, neighbours of equal shape in batches of up to 8."""
        group: list[dict[str, np.ndarray]] = []
        for _, feed in sorted(self._kept, key=lambda entry: entry[0]):
            if group and (not self._divided or len(group) == _BATCH or _shapes(feed) != _shapes(group[0])):
                yield _joined(group)
                group = []
            group.append(feed)
        if group:
            yield _joined(group)

    def _remember(self, feed: Mapping[str, Any], outputs: Any) -> None:
        arrays = {name: np.asarray(value) for name, value in feed.items()}
        if set(arrays) != {item.name for item in self._inputs}:
            return
        if self._watch is not None:
            self._watch(arrays)
        size = batch_of(arrays, self._inputs)
        if outputs is not None and any(np.shape(output)[:1] != (size,) for output in outputs):
            size = None  # outputs without the batch: the first dimension may count something else
        with self._lock:
            if self._slots is None:
                self._divided = size is not None
                rows = 1 if size is not None else _rows(arrays)
                self._slots = max(1, self._limit // max(1, rows))
            if not self._divided or size is None:
                self._offer(arrays, None)
                self.total += size or _rows(arrays)
                return
            for row in range(size):
                self._offer(arrays, row)
            self.total += size

    def _offer(self, arrays: dict[str, np.ndarray], row: int | None) -> None:
        """Keep one unit with probability slots / units seen."""
        assert self._slots is not None
        number, self._units = self._units, self._units + 1
        slot = number if number < self._slots else int(self._random.integers(0, number + 1))
        if slot >= self._slots:
            return
        part = slice(None) if row is None else slice(row, row + 1)
        entry = (number, {name: array[part].copy() if array.ndim else array.copy() for name, array in arrays.items()})
        if slot == len(self._kept):
            self._kept.append(entry)
        else:
            self._kept[slot] = entry


class _Binding(IOBinding):  # type: ignore[misc]
    """An IOBinding that knows what was bound from numpy or as OrtValue."""

    def __init__(self, session: ort.InferenceSession) -> None:
        super().__init__(session)
        self._bound: dict[str, Any] = {}

    def bind_cpu_input(self, name: str, arr_on_cpu: np.ndarray) -> None:
        super().bind_cpu_input(name, arr_on_cpu)
        self._bound[name] = arr_on_cpu

    def bind_ortvalue_input(self, name: str, ortvalue: ort.OrtValue) -> None:
        super().bind_ortvalue_input(name, ortvalue)
        self._bound[name] = ortvalue

    def clear_binding_inputs(self) -> None:
        super().clear_binding_inputs()
        self._bound.clear()

    def feed(self) -> dict[str, np.ndarray]:
        """Inputs bound so far, by name."""
        return {n: v.numpy() if isinstance(v, ort.OrtValue) else np.asarray(v) for n, v in self._bound.items()}


def _shapes(feed: Mapping[str, np.ndarray]) -> list[tuple[int, ...]]:
    return [array.shape for array in feed.values()]


def _rows(arrays: Mapping[str, np.ndarray]) -> int:
    """Samples in a feed that cannot be divided: its largest first dimension."""
    return max((array.shape[0] for array in arrays.values() if array.ndim), default=1)


def _joined(group: list[dict[str, np.ndarray]]) -> Feed:
    if len(group) == 1:
        return group[0]
    return {name: np.concatenate([feed[name] for feed in group]) for name in group[0]}
