"""The runtimes' profiles."""

from __future__ import annotations

from ...errors import OptionError
from .base import Target

# ONNX Runtime 1.31, read from its optimized graphs: what becomes a QLinear… kernel, and what lets int8 pass.
_CPU_LAYERS = {"Conv": True, "MatMul": False, "Gemm": False, "LSTM": False}
_CPU_GLUE = (
    "Add", "Mul", "Concat", "Where", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu", "Softmax",
    "MaxPool", "Resize", "Transpose", "Reshape", "Flatten", "Gather", "Slice", "Squeeze", "Unsqueeze", "Split",
    "Expand",
)  # fmt: skip

# What becomes an integer kernel by our own arrangement (quantization/lookups.py).
_LOOKUPS = ("HardSigmoid",)

# Float kernels whose weights the file holds on integers: a quarter or an eighth of the bytes, in the time of float.
_CPU_WEIGHTS = {
    **{"MatMul": ("int4", "weight8"), "Gemm": ("int4", "weight8")},
    **dict.fromkeys(("Conv", "ConvTranspose", "LSTM", "GRU", "RNN", "Gather"), ("weight8",)),
}

# ONNX Runtime's QNN provider: operators it maps to integer ones of the HTP backend, every one with Q and DQ around it.
_QNN_LAYERS = {"Conv": True, "ConvTranspose": True, "MatMul": True, "Gemm": True}
_QNN_GLUE = (
    "Add", "Sub", "Mul", "Div", "Concat", "Where", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu",
    "Softmax", "HardSwish", "Gelu", "Tanh", "MaxPool", "Resize", "Transpose", "Reshape", "Flatten", "Gather", "Slice",
    "Squeeze", "Unsqueeze", "Split", "Expand", "Pad", "Relu", "Clip",
)  # fmt: skip

# Instruction sets whose u8 × s8 products accumulate without saturating.
_FULL_WEIGHTS = ("vnni", "amx", "neon", "dot", "i8mm", "sve")

TARGETS = ("cpu", "cuda", "tensorrt", "qnn")


def get(name: str) -> Target:
    """The profile of `cpu`, `cuda`, `tensorrt` or `qnn`; `auto` is `cpu` unless TensorRT really loads.

    Raises:
        OptionError: No such target.
    """
    if name == "auto":
        name = "tensorrt" if _tensorrt_loads() else "cpu"
    if name == "cpu":
        return Target(
            name="cpu",
            precisions=("int8", "fp32"),
            activation={"asymmetric": "uint8", "symmetric": "uint8"},
            weight={"symmetric": "int8", "asymmetric": "int8"},
            weight_bits=8 if any(word in _instruction_set() for word in _FULL_WEIGHTS) else 7,
            bias="int32",
            layers=_CPU_LAYERS,
            glue=(*_CPU_GLUE, *_LOOKUPS),
            symmetries=("asymmetric", "symmetric"),
            weight_only=_CPU_WEIGHTS,
        )
    if name == "qnn":
        # An NPU: activations of 8 or 16 bits, weights of 8, per channel for Conv and ConvTranspose. Never timed here.
        return Target(
            name="qnn",
            precisions=("int8", "int16", "fp32"),
            activation={"asymmetric": "uint8", "symmetric": "uint8"},
            weight={"symmetric": "int8"},
            weight_bits=8,
            bias="int32",
            layers=_QNN_LAYERS,
            glue=_QNN_GLUE,
            symmetries=("asymmetric", "symmetric"),
        )
    if name == "tensorrt":
        return Target(
            name="tensorrt",
            precisions=("int8", "fp16", "fp32"),
            activation={"symmetric": "int8"},
            weight={"symmetric": "int8"},
            weight_bits=8,
            bias="float",
            layers={"Conv": False, "ConvTranspose": False, "MatMul": False, "Gemm": False},
            glue=("Add", "AveragePool", "GlobalAveragePool", "MaxPool", "Concat"),
            symmetries=("symmetric",),
        )
    if name == "cuda":
        # Its kernels are float: int8 is simulated there, never faster.
        return Target(
            name="cuda",
            precisions=("int8", "fp16", "fp32"),
            activation={"asymmetric": "uint8", "symmetric": "int8"},
            weight={"symmetric": "int8", "asymmetric": "int8"},
            weight_bits=8,
            bias="float",
            layers={"Conv": False, "ConvTranspose": False, "MatMul": False, "Gemm": False},
            glue=_CPU_GLUE,
            symmetries=("asymmetric", "symmetric"),
        )
    raise OptionError(f"no target {name!r}; there are: auto, {', '.join(TARGETS)}")


def _instruction_set() -> str:
    from ...evaluators.machine import instruction_set

    return instruction_set()


def _tensorrt_loads() -> bool:
    """Whether a session really gets the TensorRT provider (it is listed even where its libraries are missing)."""
    import onnxruntime as ort

    if "TensorrtExecutionProvider" not in ort.get_available_providers():
        return False
    from ...evaluators.device import loads

    return loads("TensorrtExecutionProvider")
