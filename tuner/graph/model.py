"""A float model in memory: a light graph, its weights beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from ...evaluators.feeds import Input, inputs_of_graph

INLINE_BYTES = 1024
"""Initializers of more bytes than this live in `Model.weights`, the others whole in `Model.proto`."""


@dataclass(frozen=True)
class Model:
    """A normalised ONNX model. Treat as read-only; whoever changes the graph copies `proto` first (it is small).

    Attributes:
        proto: The model with every main-graph initializer above `INLINE_BYTES` stripped of its data: the
            TensorProto stays in `graph.initializer` with name, dims and dtype, marked as external data. Small
            initializers (shapes, scalars, indices) stay whole, as do strings and types that numpy lacks (bfloat16,
            int4). Constant nodes of the main graph have become initializers, and what depended on constants alone
            too. Every node has a unique name. Subgraphs (If/Loop/Scan bodies) are untouched.
        weights: Data of the stripped initializers by name; arrays may be read-only memory maps.
        path: The file it came from.
        fingerprint: sha256 (hex) of the file's content as given, external data included.
        opset: Version of the default domain in `proto` (after lifting).
        notes: What loading changed or noticed, one sentence each, for the user ("opset lifted from 11 to 17").
        source_bytes: Size of the file as given, external data included.
    """

    proto: onnx.ModelProto
    weights: Mapping[str, np.ndarray]
    path: Path
    fingerprint: str
    opset: int
    notes: tuple[str, ...]
    source_bytes: int

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """What feeds must fit: the inputs as the file declares them, too."""
        return inputs_of_graph(self.proto.graph)
