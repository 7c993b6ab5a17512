"""Random records."""

from __future__ import annotations

import numpy as np
from autoquant.tuner.quantization.records.record import LayerRecord, Record, TensorRecord
from hypothesis import strategies as st

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12) | st.sampled_from(
    ["a:b", "/conv/Relu_output_0", "x: y", "1"]
)
SCALES = st.floats(float(np.float32(1e-12)), float(np.float32(1e12)), width=32)


@st.composite
def tensors(draw: st.DrawFn, kinds: tuple[str, ...] = ("activation", "weight", "bias")) -> TensorRecord:
    """One tensor: activations have one scale, constants up to four."""
    kind = draw(st.sampled_from(kinds))
    dtype = {"bias": "int32"}.get(kind) or draw(st.sampled_from(["uint8", "int8"]))
    channels = 1 if kind == "activation" else draw(st.integers(1, 4))
    lowest = TensorRecord("weight", (1.0,), (0,), dtype).lowest
    offset = st.just(0) if kind == "bias" else st.integers(lowest, lowest + 255)
    return TensorRecord(
        kind=kind,  # type: ignore[arg-type]
        scale=tuple(draw(st.lists(SCALES, min_size=channels, max_size=channels))),
        offset=tuple(draw(st.lists(offset, min_size=channels, max_size=channels))),
        dtype=dtype,
        axis=None if channels == 1 and draw(st.booleans()) else draw(st.integers(0, 3)),
        shape=tuple(draw(st.lists(st.integers(1, 9), max_size=4))),
    )


def activations() -> st.SearchStrategy[TensorRecord]:
    """Activations alone."""
    return tensors(("activation",))


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Tensors, and layers whose fields need not fit them."""
    layer = st.builds(
        LayerRecord,
        op_type=st.sampled_from(["Conv", "MatMul"]),
        precision=st.just("int8"),
        inputs=st.lists(NAMES, min_size=1, max_size=2).map(tuple),
        output=NAMES,
        weight=st.none() | NAMES,
        scale_d=st.lists(SCALES, max_size=2).map(tuple),
        offset_d=st.lists(st.integers(-128, 127), max_size=2).map(tuple),
        scale_w=st.lists(SCALES, max_size=3).map(tuple),
        offset_w=st.lists(st.integers(-128, 127), max_size=3).map(tuple),
        axis_w=st.none() | st.integers(0, 3),
        shape_w=st.lists(st.integers(1, 9), max_size=4).map(tuple),
        scale_b=st.lists(SCALES, max_size=3).map(tuple),
    )
    return Record(
        tensors=draw(st.dictionaries(NAMES, tensors(), max_size=4)),
        layers=draw(st.dictionaries(NAMES, layer, max_size=3)),
        about={"model": draw(st.text(max_size=5)), "trial": draw(st.integers(0, 99)), "drop": draw(st.none() | SCALES)},
    )
