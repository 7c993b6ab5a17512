"""ONNX in: load, normalise, find layers, groups and glue (knows nothing of quantization)."""
