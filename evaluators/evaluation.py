"""From `--eval` to an Evaluation."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import EvaluationError
from .arrays import ArrayEvaluation
from .protocol import Evaluation, Form, Progress
from .usercode import UserCode
from .userfile import UserEvaluation

__all__ = ["Evaluation", "Form", "Progress", "load_evaluation"]

_TAKES = "--eval takes a Python file, accuracy:data.npz or fidelity:inputs.npz"


def load_evaluation(spec: Any, *, model_path: Path) -> Evaluation:
    """The evaluation that `spec` describes.

    Args:
        spec: Path of an eval file; `accuracy:data.npz` or `fidelity:inputs.npz`; a callable; or an object (a module)
            with the names an eval file has.
        model_path: The float ONNX file, for the names, types and shapes of its inputs.

    Raises:
        EvaluationError: No such file, it does not import, it has none of the three forms, or its arrays do not fit.
    """
    if isinstance(spec, str):
        kind, _, rest = spec.partition(":")
        if kind == "accuracy":
            return ArrayEvaluation("accuracy", Path(rest), model_path)
        if kind == "fidelity":
            return ArrayEvaluation("fidelity", Path(rest), model_path)
        spec = Path(spec)
    if isinstance(spec, Path):
        return _from_file(spec, model_path)
    name = getattr(spec, "__name__", type(spec).__name__)
    named = any(hasattr(spec, attribute) for attribute in ("evaluate", "score"))
    if callable(spec) and not named:
        return UserEvaluation(_Callable(spec), UserCode(None, name), _source_hash(spec), model_path, function=name)
    if named or isinstance(spec, ModuleType):
        return UserEvaluation(spec, UserCode(None, name), _source_hash(spec), model_path)
    raise EvaluationError(f"{_TAKES}; from Python also a function or an object, but got {type(spec).__name__}.")


def _from_file(path: Path, model_path: Path) -> Evaluation:
    if path.suffix.lower() in (".npz", ".npy"):
        raise EvaluationError(
            f"{path} holds arrays. Say what they are for: accuracy:{path} (inputs and labels) or fidelity:{path}."
        )
    if not path.exists():
        raise EvaluationError(f"No such eval file: {path}.\n{_TAKES}.")
    if not path.is_file():
        raise EvaluationError(f"{path} is not a file.\n{_TAKES}.")
    path = path.resolve()
    code = UserCode(path, path.name)
    module = code.load()
    return UserEvaluation(module, code, hashlib.sha256(path.read_bytes()).hexdigest(), model_path)


class _Callable:
    """A bare function in the shape of an eval file; attributes of the function count as the file's names."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.evaluate = function

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


def _source_hash(thing: Any) -> str:
    """sha256 of the module's file or of the source; of the qualified name where there is neither."""
    file = getattr(thing, "__file__", None)
    if isinstance(thing, ModuleType) and file and Path(file).is_file():
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    plain = inspect.isroutine(thing) or inspect.isclass(thing)
    try:
        text = inspect.getsource(inspect.unwrap(thing) if plain else type(thing))
    except (OSError, TypeError, ValueError):
        text = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
    return hashlib.sha256(text.encode()).hexdigest()
