"""Run the user's own code: its folder importable, its errors reported as its own."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ..errors import EvaluationError
from .session import explain

_OURS = Path(__file__).parent
_PACKAGE = __name__.partition(".")[0]


class UserCode:
    """The surroundings of one eval file.

    While its code runs, its folder is the first on `sys.path` and `sys.argv` holds its path alone, as if it had been
    started as a script. What it imports from its folder is taken out of `sys.modules` afterwards and put back the
    next time, so that eval files of different folders may each have their own `utils.py`; likewise the working
    directory, should it change that.
    """

    def __init__(self, path: Path | None, name: str) -> None:
        """Args: `path` of the file, None for code that is imported already; `name`: what messages call it."""
        self.name = name
        self._path = path
        self._folder = str(path.parent) if path else None
        self._modules: dict[str, ModuleType] = {}
        self._depth = 0
        self._before: set[str] = set()
        self._argv: list[str] = []
        self._outer_directory = self._directory = ""

    def load(self) -> ModuleType:
        """Execute the file.

        Raises:
            EvaluationError: It cannot be read or does not import.
        """
        assert self._path is not None
        try:
            source = self._path.read_bytes()
        except OSError as error:
            raise EvaluationError(f"Cannot read the eval file {self._path}: {error.strerror or error}.") from error
        module = ModuleType(self._module_name())
        module.__file__ = str(self._path)
        self._modules[module.__name__] = module  # dataclasses and pickle look their module up
        importlib.invalidate_caches()
        with self.running(None):
            # No loader: it would leave bytecode beside the user's file.
            exec(compile(source, str(self._path), "exec", dont_inherit=True), module.__dict__)
        return module

    def _module_name(self) -> str:
        """The file's stem, so that worker processes find it; another where that would shadow a module."""
        assert self._path is not None
        stem = self._path.stem
        taken = stem in sys.modules or stem in sys.stdlib_module_names or not stem.isidentifier()
        return f"_{_PACKAGE}_eval_{stem}" if taken else stem

    @contextlib.contextmanager
    def running(self, what: str | None, inputs: str = "") -> Iterator[None]:
        """Run the user's code inside; whatever it raises becomes an EvaluationError.

        Args:
            what: The function that runs, for the message, such as `evaluate()`; None while the file is imported.
            inputs: The model's inputs, told when a session refuses the feed.

        Raises:
            EvaluationError: The code raised or exited. KeyboardInterrupt passes.
        """
        self._enter()
        try:
            yield
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise self.failure(error, what, inputs) from error
        finally:
            self._leave()

    def failure(self, error: BaseException, what: str | None, inputs: str = "") -> EvaluationError:
        """The error that tells the user what their code did."""
        where = f"{self.name}: {what}" if what else self.name
        if isinstance(error, SystemExit):
            said = f"{where} called sys.exit({'' if error.code is None else error.code!r})"
            said += "" if what else " while it was imported"
            hint = "" if what else "\nGuard the script part of the file with `if __name__ == '__main__':`."
        else:
            refused = bool(inputs) and _from_session(error)
            lines = str(error).strip().splitlines() or [""]
            first = explain(error) if refused else lines[0] if len(lines[0]) <= 300 else f"{lines[0][:297]}..."
            text = f"{type(error).__name__}: {first}" if first else type(error).__name__
            hint = f"\nThe model's inputs: {inputs}." if refused else ""
            said = f"{where} raised {text}" if what else f"{where} does not import: {text}"
        return EvaluationError(f"{said}{hint}", traceback=own_traceback(error))

    def _enter(self) -> None:
        self._depth += 1
        if self._folder is None or self._depth > 1:
            return
        sys.path.insert(0, self._folder)
        self._before = set(sys.modules)
        self._argv, sys.argv = sys.argv, [str(self._path)]
        self._outer_directory = _working_directory()
        if self._directory:
            os.chdir(self._directory)
        for name, module in self._modules.items():
            sys.modules.setdefault(name, module)

    def _leave(self) -> None:
        self._depth -= 1
        if self._folder is None or self._depth:
            return
        with contextlib.suppress(ValueError):  # the user's code may have changed sys.path itself
            sys.path.remove(self._folder)
        sys.argv = self._argv
        here = _working_directory()
        self._directory = here if here != self._outer_directory else ""
        if self._directory and self._outer_directory:
            os.chdir(self._outer_directory)
        for name in set(sys.modules) - self._before:
            module = sys.modules[name]
            if name in self._modules or self._is_local(name, module):
                self._modules[name] = sys.modules.pop(name)

    def _is_local(self, name: str, module: ModuleType) -> bool:
        """Whether a module is the user's own: from the file's folder, but not from an environment inside it."""
        file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
        if not isinstance(file, str) or name.partition(".")[0] == _PACKAGE:
            return False
        path = Path(file)
        if "site-packages" in path.parts or "dist-packages" in path.parts:
            return False
        return self._folder is not None and path.is_relative_to(self._folder)


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # it was removed
        return ""


def _from_session(error: BaseException) -> bool:
    """Whether ONNX Runtime raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and "onnxruntime" in Path(frames[-1].filename).parts


def own_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, without autoquant's frames."""
    report = traceback.TracebackException.from_exception(error)
    waiting: list[traceback.TracebackException | None] = [report]
    while waiting:
        part = waiting.pop()
        if part is not None:
            users = [frame for frame in part.stack if Path(frame.filename).parent != _OURS]
            part.stack = traceback.StackSummary.from_list(users)
            waiting += [part.__cause__, part.__context__, *(part.exceptions or ())]
    return "".join(report.format())
