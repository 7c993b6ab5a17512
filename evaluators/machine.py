"""The machine and the Python environment: what is installed, what the processor can do.

Nothing here imports onnxruntime at module level: `check_installation` must be able to speak before a broken
installation does.
"""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InstallationError

if TYPE_CHECKING:
    from .device import Device

# All of them unpack into the folder `onnxruntime`.
_DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-training",
)


def check_installation() -> None:
    """See that exactly one onnxruntime distribution is installed.

    Raises:
        InstallationError: None or several are; the text holds the pip command that mends it.
    """
    found = {name: version for name in _DISTRIBUTIONS if (version := _version(name)) is not None}
    if len(found) == 1:
        return
    wanted = _preferred()
    if not found:
        raise InstallationError(
            f"ONNX Runtime is not installed in this Python environment ({sys.prefix}).\n"
            f"Install it: {sys.executable} -m pip install {wanted}"
        )
    kept = f"{wanted}=={found[wanted]}" if wanted in found else wanted
    names = " and ".join(f"{name} {version}" for name, version in found.items())
    raise InstallationError(
        f"{names} are both installed in one environment and overwrite each other's files. Mend it:\n"
        f"{sys.executable} -m pip uninstall -y {' '.join(found)} && {sys.executable} -m pip install {kept}"
    )


def _preferred() -> str:
    """The distribution autoquant depends on here (the markers of pyproject.toml)."""
    gpu = sys.platform in ("linux", "win32") and platform.machine() in ("x86_64", "AMD64")
    return "onnxruntime-gpu" if gpu else "onnxruntime"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@cache
def instruction_set() -> str:
    """The widest integer instructions of this processor.

    Returns:
        On x86 `avx512_vnni`, `avx_vnni`, `avx512`, `avx2`, `avx` or `sse`; on ARM `neon_dotprod` or `neon`; else the
        machine's architecture. Where the system does not tell (Windows knows no VNNI) the weaker one is named: it
        costs a little accuracy, never a saturated sum.
    """
    return classify(platform.machine(), _features())


def classify(machine: str, features: Iterable[str]) -> str:
    """The name of the best of `features` (as Linux spells them) on an architecture."""
    have = set(features)
    machine = machine.lower()
    if machine in ("x86_64", "amd64", "i386", "i686", "x86"):
        for name in ("avx512_vnni", "avx_vnni"):
            if name in have:
                return name
        if {"avx512f", "avx512bw"} <= have:
            return "avx512"
        return next((name for name in ("avx2", "avx") if name in have), "sse")
    if machine in ("aarch64", "arm64"):
        return "neon_dotprod" if "asimddp" in have else "neon"
    return machine


def _features() -> set[str]:
    """The processor's feature flags, in Linux's spelling; empty where the system does not tell."""
    if sys.platform == "darwin":
        return _features_macos()
    if sys.platform == "win32":
        return _features_windows()
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return set(value.split())
    return set()


def _features_macos() -> set[str]:
    names = {
        "hw.optional.avx2_0": ("avx2",),
        "hw.optional.avx512f": ("avx512f",),
        "hw.optional.avx512bw": ("avx512bw",),
        "hw.optional.avx512vnni": ("avx512_vnni",),
        "hw.optional.arm.FEAT_DotProd": ("asimddp",),
    }
    found: set[str] = set()
    for key, features in names.items():
        try:
            told = subprocess.run(
                ["/usr/sbin/sysctl", "-n", key], capture_output=True, text=True, timeout=5, check=False
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        if told.strip() == "1":
            found.update(features)
    return found


def _features_windows() -> set[str]:
    # IsProcessorFeaturePresent's constants: 39 AVX, 40 AVX2, 41 AVX512F, 43 ARM v8.2 dot product
    present = getattr(ctypes, "windll").kernel32.IsProcessorFeaturePresent  # noqa: B009 - exists on Windows only
    names = {39: ("avx",), 40: ("avx2",), 41: ("avx512f", "avx512bw"), 43: ("asimddp",)}
    return {feature for number, features in names.items() if present(number) for feature in features}


def versions() -> dict[str, str]:
    """Versions of what a result depends on: autoquant, Python and the libraries; absent ones are left out."""
    from .. import __version__  # late: the package re-exports functions that import this module

    found = {"autoquant": __version__, "python": platform.python_version()}
    for name in (*_DISTRIBUTIONS, "onnx", "numpy", "optuna"):
        version = _version(name)
        if version is not None:
            found[name] = version
    return found


def scored_on(device: Device, *, simulated: bool, threads: int | None) -> dict[str, Any]:
    """Where a score comes from. Scores whose records differ are never compared as if they were equal.

    Args:
        device: Where the sessions run.
        simulated: Whether quantization is simulated around float kernels there instead of run on integers.
        threads: Threads asked for, None for ONNX Runtime's own choice.
    """
    import onnxruntime

    return {
        "provider": device.provider,
        "device": device.name,
        "kernels": "simulated" if simulated else "fused",
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "instruction_set": instruction_set(),
        "threads": threads,
    }
