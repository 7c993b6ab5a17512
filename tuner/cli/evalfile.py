"""The eval.py that `autoquant init` writes: code that fits a model's inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

BATCH = 32  # samples a run where the model takes any number
CALIBRATION = 128


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output: numpy's name of its type, and its shape with names for what is free."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None

    def __str__(self) -> str:
        shape = "of any shape" if self.shape is None else "[" + ", ".join(str(size) for size in self.shape) + "]"
        return f"{self.name}: {self.dtype} {shape}"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def batch(self) -> int | None:
        """Samples a run: a number where the model is fixed to one, 32 where it is free, None without a batch axis."""
        shapes = [tensor.shape for tensor in self.inputs]
        if not shapes or any(shape is None or not shape for shape in shapes):
            return None
        firsts = {shape[0] if isinstance(shape[0], int) else BATCH for shape in shapes if shape}
        fixed = any(isinstance(shape[0], int) for shape in shapes if shape)
        alone = all(len(shape) == 1 for shape in shapes if shape)
        return None if len(firsts) > 1 or (fixed and alone) else firsts.pop()

    @property
    def classifies(self) -> bool:
        """Whether the first output looks like scores of classes rather than a number."""
        shape = self.outputs[0].shape
        return shape is None or (len(shape) >= 2 and shape[-1] != 1)


def signature(proto: onnx.ModelProto) -> Signature:
    """Inputs and outputs of a model whose weights are no inputs."""
    return Signature(_tensors(proto.graph.input), _tensors(proto.graph.output))


def _tensors(values: Sequence[onnx.ValueInfoProto]) -> tuple[Tensor, ...]:
    found = []
    for value in values:
        kind = value.type.tensor_type
        try:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
        except KeyError:  # a sequence, a map, an undeclared type
            dtype = "float32"
        shape = None
        if kind.HasField("shape"):
            shape = tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "N" for dim in kind.shape.dim
            )
        found.append(Tensor(value.name, dtype, shape))
    return tuple(found)


def source(model: str, wanted: Signature) -> str:
    """The file's text.

    Args:
        model: The model's file name.
        wanted: What the model takes and gives.
    """
    batch = wanted.batch
    free = batch is not None and not any(isinstance(t.shape[0], int) for t in wanted.inputs if t.shape)
    first = wanted.inputs[0].name if wanted.inputs else "x"
    lines = "\n".join(f"    {tensor}" for tensor in wanted.inputs)
    outputs = "\n".join(f"    {tensor}" for tensor in wanted.outputs)
    rows = "DATA[{0}][indices]" if batch is not None else "DATA[{0}][indices[0]]"
    entries = "\n".join(
        f"        {quoted(t.name)}: {rows.format(quoted(t.name))}.astype({quoted(t.dtype)})," for t in wanted.inputs
    )
    if wanted.classifies:
        metric = "accuracy"
        compare = "output.argmax(-1) == labels" if batch is not None else "[(output.argmax(-1) == labels[0]).all()]"
        declared = "score_range = (0.0, 1.0)"
    else:
        metric = "mean absolute error"
        compare = "np.abs(output.reshape(len(labels), -1) - labels.reshape(len(labels), -1)).mean(1)"
        declared = "higher_is_better = False"
    chunk = "chunk" if free or batch in (1, None) else "np.resize(chunk, BATCH)"
    cut = "" if chunk == "chunk" or batch is None else "[: len(chunk)]"
    step = batch or 1
    return f'''"""The metric of {model}: {metric}.

The model takes
{lines}
and gives
{outputs}
"""

from pathlib import Path

import numpy as np

BATCH = {step}


def load():
    """Your data: one array per input of the model, and `labels`, all with the samples along the first axis."""
    return np.load(Path(__file__).with_name("data.npz"))


DATA = dict(load())
num_samples = len(DATA[{quoted(first)}])
{declared}


def feed(indices):
    """What the model is fed for these samples."""
    return {{
{entries}
    }}


def score(session, indices):
    """One score a sample; the metric is their mean."""
    scores = []
    for start in range(0, len(indices), BATCH):
        chunk = np.asarray(indices[start : start + BATCH])
        output = session.run([{quoted(wanted.outputs[0].name)}], feed({chunk}))[0]{cut}
        labels = DATA["labels"][chunk]
        scores.extend({compare})
    return np.asarray(scores)


def calibration():
    """A hundred or so representative samples, from which the ranges of the activations are taken."""
    chosen = np.random.default_rng(0).permutation(num_samples)[:{CALIBRATION}]
    for start in range(0, len(chosen), BATCH):
        yield feed({chunk.replace("chunk", "chosen[start : start + BATCH]")})
'''


def quoted(text: str) -> str:
    """A Python string literal in double quotes."""
    return json.dumps(text)
