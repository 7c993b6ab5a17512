"""Where a session's time goes, kernel by kernel."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from ..errors import EvaluationError
from .base import Feed
from .session import explain

_SUFFIX = "_kernel_time"


@dataclass(frozen=True, slots=True)
class KernelTime:
    """A node of the optimized graph.

    Attributes:
        name: Its name there.
        op_type: Its operator.
        ms: Median time of one run, milliseconds; the profiler's own cost (some microseconds a node) is in it.
    """

    name: str
    op_type: str
    ms: float


def kernel_times(
    open_session: Callable[[Path], ort.InferenceSession], feed: Feed, *, runs: int = 15, warmup: int = 3
) -> list[KernelTime]:
    """Profile a session.

    Args:
        open_session: Opens it with this `profile_prefix`.
        feed: Inputs of the runs.
        runs: Runs that count.
        warmup: Runs before them.

    Returns:
        Every kernel of the main graph, in the order they ran.

    Raises:
        EvaluationError: The model fails on the feed.
    """
    with tempfile.TemporaryDirectory(prefix="autoquant-") as folder:
        session = open_session(Path(folder) / "profile")
        try:
            for _ in range(warmup + runs):
                session.run(None, dict(feed))
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise EvaluationError(f"The model fails on the inputs to time: {explain(error)}") from error
        finally:
            path = Path(session.end_profiling())
        events = json.loads(path.read_text())
    times: dict[str, list[float]] = {}
    types: dict[str, str] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            name = name[: -len(_SUFFIX)]
            times.setdefault(name, []).append(event["dur"] / 1e3)
            types[name] = event["args"].get("op_name", "")
    return [KernelTime(name, types[name], statistics.median(found[warmup:] or found)) for name, found in times.items()]
