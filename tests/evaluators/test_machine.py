import json
import subprocess
import sys
from pathlib import Path

import pytest
from autoquant.errors import InstallationError
from autoquant.evaluators import machine
from autoquant.evaluators.device import CPU


def installed(monkeypatch: pytest.MonkeyPatch, found: dict[str, str]) -> None:
    monkeypatch.setattr(machine, "_version", found.get)


def test_this_environment_is_whole() -> None:
    machine.check_installation()


def test_both_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, {"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.31.1"})
    monkeypatch.setattr(machine, "_preferred", lambda: "onnxruntime-gpu")
    with pytest.raises(InstallationError) as caught:
        machine.check_installation()
    first, second = str(caught.value).splitlines()
    assert "onnxruntime 1.30.0 and onnxruntime-gpu 1.31.1" in first
    assert "pip uninstall -y onnxruntime onnxruntime-gpu &&" in second
    assert second.endswith("pip install onnxruntime-gpu==1.31.1")


def test_no_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, {})
    with pytest.raises(InstallationError, match=r"not installed.*\n.*pip install onnxruntime"):
        machine.check_installation()


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"])
def test_one_distribution(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, {name: "1.31.1"})
    machine.check_installation()


@pytest.mark.parametrize(
    ("architecture", "features", "expected"),
    [
        ("x86_64", "fma avx avx2 avx512f avx512bw avx512_vnni", "avx512_vnni"),
        ("AMD64", "avx avx2 avx_vnni", "avx_vnni"),
        ("x86_64", "avx avx2 avx512f avx512bw", "avx512"),
        ("x86_64", "avx avx2", "avx2"),
        ("x86_64", "avx", "avx"),
        ("x86_64", "", "sse"),
        ("aarch64", "fp asimd asimddp", "neon_dotprod"),
        ("arm64", "", "neon"),
        ("riscv64", "", "riscv64"),
    ],
)
def test_instruction_sets(architecture: str, features: str, expected: str) -> None:
    assert machine.classify(architecture, features.split()) == expected


def test_versions_and_scored_on_are_json() -> None:
    versions = machine.versions()
    assert {"autoquant", "python", "onnx", "numpy"} <= set(versions)
    record = machine.scored_on(CPU, simulated=False, threads=2)
    assert record["kernels"] == "fused"
    assert record["instruction_set"] == machine.instruction_set()
    json.dumps([versions, record])
    assert record != machine.scored_on(CPU, simulated=True, threads=2)


def test_distributions_are_found_by_their_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "onnxruntime_gpu"):
        folder = tmp_path / f"{name}-9.9.9.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 9.9.9\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InstallationError, match=r"onnxruntime 9\.9\.9 and onnxruntime-gpu 9\.9\.9 are both installed"):
        machine.check_installation()


def test_the_check_needs_no_onnxruntime_and_evaluators_no_tuner() -> None:
    """A broken installation cannot be imported; and the arrows between the packages run one way."""
    code = (
        "import sys, autoquant.evaluators.machine as machine; machine.instruction_set(); machine.check_installation()\n"
        "assert not {'onnxruntime', 'onnx', 'numpy'} & set(sys.modules)\n"
        "import autoquant.evaluators as package, importlib, pkgutil\n"
        "for module in pkgutil.iter_modules(package.__path__):\n"
        "    importlib.import_module(f'autoquant.evaluators.{module.name}')\n"
        "assert not [name for name in sys.modules if name.startswith(('autoquant.tuner', 'autoquant.strategies'))]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
