"""Open an inference session, from a file or from a skeleton with its weights beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from ..errors import DeviceError, ModelError
from .device import CPU, CPU_PROVIDER, Device, missing, preload

_SILENT = 4

# What `OrtValue.ortvalue_from_numpy` takes. Everything else (bfloat16, float8, 4-bit, strings) is inlined.
_SHARED = frozenset(np.dtype(kind) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"))


def open_session(
    model: bytes | Path,
    *,
    weights: Mapping[str, np.ndarray] | None = None,
    device: Device = CPU,
    threads: int | None = None,
    disabled_optimizers: Sequence[str] = (),
    optimized_path: Path | None = None,
    profile_prefix: Path | None = None,
    fused: bool = True,
) -> ort.InferenceSession:
    """Open a session.

    Args:
        model: A file, or a serialized model. A skeleton's stripped initializers (marked as external data, without a
            file) take their data from `weights`, without a copy.
        weights: Initializer name → data, dtype and shape as declared. Names the model does not have are an error.
        device: Where it runs.
        threads: Threads within an operator, None for ONNX Runtime's own choice (the physical cores).
        disabled_optimizers: Names of graph transformers to leave out.
        profile_prefix: Record every kernel's time; `end_profiling` writes a file whose name begins so.
        fused: Whether operators between DequantizeLinear and QuantizeLinear may become integer kernels.
        optimized_path: Write ONNX Runtime's optimized graph here, its larger initializers to `<name>.data` beside it.

    Returns:
        The session. It stops spinning when a run ends, so that sessions which live side by side do not slow each
        other; it never falls back to another provider behind the user's back.

    Raises:
        ModelError: ONNX Runtime does not take the model.
        DeviceError: The session does not get `device`.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not fused:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    if optimized_path is not None:
        options.optimized_model_filepath = str(optimized_path)
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", f"{optimized_path.name}.data"
        )
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    values: dict[str, ort.OrtValue] = {}
    if weights:
        if isinstance(model, Path):
            raise TypeError("weights go with a serialized model, but got a path")
        shared = {name: array for name, array in weights.items() if array.dtype.newbyteorder("=") in _SHARED}
        if len(shared) < len(weights):
            model = _inline(model, {name: array for name, array in weights.items() if name not in shared})
        values = {name: ort.OrtValue.ortvalue_from_numpy(_plain(array)) for name, array in shared.items()}
        options.add_external_initializers(list(values), list(values.values()))
    if device.provider != CPU_PROVIDER:
        preload()
    extra = {"disabled_optimizers": list(disabled_optimizers)} if disabled_optimizers else {}
    source = str(model) if isinstance(model, Path) else model
    try:
        session = ort.InferenceSession(source, options, providers=device.providers, **extra)
    except Exception as error:  # ONNX Runtime's errors share no base class
        what = f"{model}" if isinstance(model, Path) else "the model"
        raise ModelError(f"ONNX Runtime {ort.__version__} cannot load {what}: {explain(error)}") from error
    session.disable_fallback()
    if device.provider not in session.get_providers():
        raise DeviceError(f"no session on {device.name}: {missing(device.provider, device.index)}")
    session._autoquant_weights = values  # the session reads these buffers for as long as it lives
    return session


def explain(error: BaseException) -> str:
    """The human part of an ONNX Runtime error, on one line."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    # source locations of the C++ build: /onnxruntime_src/…/file.cc:123 function(…)
    text = re.sub(r"\S*onnxruntime_src/\S+", "", text).strip()
    return text if len(text) <= 300 else f"{text[:297]}..."


def _plain(array: np.ndarray) -> np.ndarray:
    """Contiguous and in the machine's byte order: ONNX Runtime reads the bare buffer."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _inline(model: bytes, weights: Mapping[str, np.ndarray]) -> bytes:
    """The model with the data of these initializers written into it."""
    proto = onnx.ModelProto.FromString(model)
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            whole = numpy_helper.from_array(np.asarray(weights[tensor.name]), tensor.name)
            whole.data_type = tensor.data_type
            tensor.CopyFrom(whole)
    data: bytes = proto.SerializeToString()
    return data
