"""Run the user's own code: its folder importable, its errors reported as its own."""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ..errors import EvaluationError

_OURS = str(Path(__file__).resolve().parent)
_PACKAGE = __name__.partition(".")[0]


class UserCode:
    """The surroundings of one eval file.

    While its code runs, its folder is the first on `sys.path`, as if it had been started as a script. What it
    imports from there is taken out of `sys.modules` afterwards and put back the next time, so that eval files of
    different folders may each have their own `utils.py`.
    """

    def __init__(self, path: Path | None, name: str) -> None:
        """Args: `path` of the file, None for code that is imported already; `name`: what messages call it."""
        self.name = name
        self._path = path
        self._folder = str(path.parent) if path else None
        self._modules: dict[str, ModuleType] = {}
        self._depth = 0
        self._before: set[str] = set()

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
        with self.running("does not import"):
            # No loader: it would leave bytecode beside the user's file.
            exec(compile(source, str(self._path), "exec"), module.__dict__)
        return module

    def _module_name(self) -> str:
        """The file's stem, so that worker processes find it; another where that would shadow a module."""
        assert self._path is not None
        stem = self._path.stem
        taken = stem in sys.modules or stem in sys.stdlib_module_names or not stem.isidentifier()
        return f"_{_PACKAGE}_eval_{stem}" if taken else stem

    @contextlib.contextmanager
    def running(self, what: str, inputs: str = "") -> Iterator[None]:
        """Run the user's code inside; whatever it raises becomes an EvaluationError.

        Args:
            what: What is being done, for the message: `does not import`, or a function such as `evaluate()`.
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

    def failure(self, error: BaseException, what: str, inputs: str = "") -> EvaluationError:
        """The error that tells the user what their code did."""
        if isinstance(error, SystemExit):
            text = f"called sys.exit({'' if error.code is None else error.code!r})"
            hint = "\nGuard the script part of the file with `if __name__ == '__main__':`." if "import" in what else ""
        else:
            lines = str(error).strip().splitlines() or [""]
            first = lines[0] if len(lines[0]) <= 300 else f"{lines[0][:297]}..."
            text = f"{type(error).__name__}: {first}" if first else type(error).__name__
            hint = f"\nThe model's inputs: {inputs}." if inputs and _from_session(error) else ""
        said = f"{self.name} {what}: {text}" if "import" in what else f"{self.name}: {what} raised {text}"
        if isinstance(error, SystemExit) and "import" not in what:
            said = f"{self.name}: {what} {text}"
        return EvaluationError(f"{said}{hint}", traceback=own_traceback(error))

    def _enter(self) -> None:
        self._depth += 1
        if self._folder is None or self._depth > 1:
            return
        sys.path.insert(0, self._folder)
        importlib.invalidate_caches()
        self._before = set(sys.modules)
        for name, module in self._modules.items():
            sys.modules.setdefault(name, module)

    def _leave(self) -> None:
        self._depth -= 1
        if self._folder is None or self._depth:
            return
        with contextlib.suppress(ValueError):  # the user's code may have changed sys.path itself
            sys.path.remove(self._folder)
        for name in set(sys.modules) - self._before:
            module = sys.modules[name]
            if name in self._modules or self._is_local(name, module):
                self._modules[name] = sys.modules.pop(name)

    def _is_local(self, name: str, module: ModuleType) -> bool:
        """Whether a module is the user's own: from the file's folder, but not from an environment inside it."""
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or name.partition(".")[0] == _PACKAGE:
            return False
        path = Path(file)
        if "site-packages" in path.parts or "dist-packages" in path.parts:
            return False
        return self._folder is not None and path.is_relative_to(self._folder)


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
            users = [frame for frame in part.stack if not frame.filename.startswith(_OURS)]
            part.stack = traceback.StackSummary.from_list(users)
            waiting += [part.__cause__, part.__context__, *(part.exceptions or ())]
    return "".join(report.format())
