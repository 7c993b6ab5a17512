"""autoquant: the fastest quantized ONNX model that keeps your metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import export, recover, tune
    from .errors import AutoquantError
    from .tuner.study.result import Result

__version__ = "0.1.0"
__all__ = ["AutoquantError", "Result", "__version__", "export", "recover", "tune"]

# Loaded when first asked for: `import autoquant` and `autoquant --help` stay quick.
_HOME = {
    "tune": ".api",
    "export": ".api",
    "recover": ".api",
    "AutoquantError": ".errors",
    "Result": ".tuner.study.result",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name], __name__), name)
