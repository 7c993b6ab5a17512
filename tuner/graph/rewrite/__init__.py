"""Exact rewrites of the float graph that ONNX Runtime does not make by itself, one a file."""
