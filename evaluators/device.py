"""The device that sessions run on, and whether it really can be had."""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from ..errors import DeviceError, OptionError

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"

_DEFAULT_SEVERITY, _SILENT = 2, 4


@dataclass(frozen=True, slots=True)
class Device:
    """Where sessions run.

    Attributes:
        provider: ONNX Runtime's execution provider.
        index: Number of the accelerator; 0 on the CPU.
        name: As the user types it: `cpu`, `cuda:0`.
    """

    provider: str
    index: int
    name: str

    @property
    def providers(self) -> list[Any]:
        """The `providers` argument of an InferenceSession: this one first, the CPU behind it."""
        if self.provider == CPU_PROVIDER:
            return [CPU_PROVIDER]
        return [(self.provider, {"device_id": str(self.index)}), CPU_PROVIDER]


CPU = Device(CPU_PROVIDER, 0, "cpu")


def resolve(text: str) -> Device:
    """The device of `--device`.

    Args:
        text: `auto` (CUDA where a session really gets it, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises:
        OptionError: Another word.
        DeviceError: CUDA was asked for and a session does not get it; the text names what is missing.
    """
    word = text.strip().lower()
    if word == "cpu":
        return CPU
    if word == "auto":
        return Device(CUDA_PROVIDER, 0, "cuda:0") if loads(CUDA_PROVIDER) else CPU
    kind, _, number = word.partition(":")
    if kind != "cuda" or (":" in word and not number.isdecimal()):
        raise OptionError(f"--device must be auto, cpu, cuda or cuda:N, but got {text!r}.")
    index = int(number or 0)
    if not loads(CUDA_PROVIDER, index):
        raise DeviceError(f"--device {word}: no CUDA device here: {missing(CUDA_PROVIDER, index)}.\nUse --device cpu.")
    return Device(CUDA_PROVIDER, index, f"cuda:{index}")


@cache
def loads(provider: str, index: int = 0) -> bool:
    """Whether a session really gets this provider. `get_available_providers` only lists what was compiled in."""
    if provider == CPU_PROVIDER:
        return True
    if provider not in ort.get_available_providers():
        return False
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    with silenced():
        if provider in (CUDA_PROVIDER, TENSORRT_PROVIDER):
            preload()
        try:
            session = ort.InferenceSession(
                _tiny_model(), options, providers=[(provider, {"device_id": str(index)}), CPU_PROVIDER]
            )
        except Exception:  # noqa: BLE001 - ONNX Runtime's errors share no base class; any of them means no
            return False
    return provider in session.get_providers()


@cache
def preload() -> None:
    """Load the CUDA libraries that pip put beside onnxruntime (the `cuda` extra), which the linker does not find."""
    function = getattr(ort, "preload_dlls", None)
    if function is None:
        return
    # It prints what it does not find; what is missing is told by `missing`.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(OSError, RuntimeError):
        function()


def missing(provider: str, index: int = 0) -> str:
    """Why a session does not get `provider`: one clause for a person."""
    short = provider.removesuffix("ExecutionProvider")
    if provider not in ort.get_available_providers():
        return f"this ONNX Runtime ({ort.__version__}) was built without {short}; install onnxruntime-gpu"
    library = _library_error(short.lower())
    if library:
        return (
            f"ONNX Runtime {ort.__version__} cannot load {library}; "
            "install the CUDA libraries (`pip install 'autoquant[cuda]'`) or put them on the library path"
        )
    if index:
        return f"its libraries load, but a session on device {index} falls back to the CPU (is there such a device?)"
    return "its libraries load, but a session falls back to the CPU (is there a GPU and a recent driver?)"


def _library_error(kind: str) -> str:
    """The shared library that the provider `kind` needs and the linker does not find, "" if none."""
    names = {"linux": f"libonnxruntime_providers_{kind}.so", "win32": f"onnxruntime_providers_{kind}.dll"}
    name = names.get(sys.platform)
    path = Path(ort.__file__).parent / "capi" / name if name else None
    if path is None or not path.exists():
        return ""
    try:
        ctypes.CDLL(str(path), mode=ctypes.DEFAULT_MODE)
    except OSError as error:
        # "libcublasLt.so.13: cannot open shared object file: …"; an undefined symbol means that all were found
        first = str(error).partition(":")[0]
        return first if "cannot open" in str(error) else ("" if "undefined symbol" in str(error) else str(error))
    return ""


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """ONNX Runtime's own log and prints stay off the user's terminal while a provider is only being tried."""
    ort.set_default_logger_severity(_SILENT)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        ort.set_default_logger_severity(_DEFAULT_SEVERITY)


def _tiny_model() -> bytes:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    data: bytes = onnx.ModelProto.SerializeToString(model)
    return data
