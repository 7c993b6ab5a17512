"""A model, its session, and eval files for it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort
import pytest
from autoquant.evaluators.evaluation import load_evaluation
from autoquant.evaluators.protocol import Evaluation
from autoquant.evaluators.session import open_session

from tests import zoo


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.save(zoo.conv_net(), tmp_path_factory.mktemp("model") / "conv.onnx")


@pytest.fixture(scope="module")
def session(model: Path) -> ort.InferenceSession:
    return open_session(model, threads=1)


@pytest.fixture
def write(tmp_path: Path, model: Path) -> Callable[..., Evaluation]:
    """Write an eval file and load it."""

    def written(source: str, name: str = "eval.py") -> Evaluation:
        path = tmp_path / name
        path.write_text(textwrap.dedent(source))
        return load_evaluation(str(path), model_path=model)

    return written
