"""autoquant: the fastest quantized ONNX model that keeps your metric."""

__version__ = "0.1.0"
