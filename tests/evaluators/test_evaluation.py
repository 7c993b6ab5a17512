import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from autoquant.errors import CalibrationError, EvaluationError
from autoquant.evaluators.evaluation import load_evaluation


def short(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert len(text.splitlines()) <= 2, text
    assert "Traceback" not in text
    return text


# --- the three forms


def test_function(write, session) -> None:
    evaluation = write(
        """
        import numpy as np
        def evaluate(session):
            out = session.run(None, {"x": np.zeros((2, 3, 16, 16), "f4")})[0]
            return np.float32(out.shape[1])
        """
    )
    scored = evaluation.score(session)
    assert (evaluation.form, scored.metric, scored.samples) == ("function", 10.0, None)
    assert scored.seconds > 0
    assert evaluation.num_samples is None
    assert evaluation.score_some(session, np.array([0])) is None
    assert evaluation.calibration() is None
    assert evaluation.latency_feed() is None
    assert evaluation.higher_is_better is True
    assert evaluation.score_range is None


def test_generator(write, session) -> None:
    evaluation = write(
        """
        import numpy as np
        higher_is_better = False
        shuffled = True
        def evaluate(session):
            yield np.array([True, False])
            yield [True]
            yield np.bool_(False)
        """
    )
    assert (evaluation.form, evaluation.higher_is_better, evaluation.shuffled) == ("generator", False, True)
    told: list[tuple[int, int | None]] = []
    scored = evaluation.score(session, progress=lambda done, total: told.append((done, total)))
    np.testing.assert_array_equal(scored.samples, [1, 0, 1, 0])
    assert scored.samples is not None
    assert scored.samples.dtype == np.float64
    assert scored.metric == 0.5
    assert told == [(2, None), (3, None), (4, None)]
    assert evaluation.num_samples == 4
    assert evaluation.score_range == (0.0, 1.0)  # boolean scores need no declaration


def test_a_function_that_returns_a_generator(write, session) -> None:
    evaluation = write("def evaluate(session):\n    return (score for score in [1.0, 2.0])\n")
    assert evaluation.form == "function"
    np.testing.assert_array_equal(evaluation.score(session).samples, [1.0, 2.0])
    assert evaluation.form == "generator"


def test_random_access(write, session) -> None:
    evaluation = write(
        """
        num_samples = 1200
        score_range = (0, 2000)
        def score(session, indices):
            return [int(i) for i in indices]
        def evaluate(session):
            raise AssertionError("score() goes first")
        """
    )
    told: list[tuple[int, int | None]] = []
    scored = evaluation.score(session, progress=lambda done, total: told.append((done, total)))
    assert evaluation.form == "random_access"
    np.testing.assert_array_equal(scored.samples, np.arange(1200))
    assert told == [(512, 1200), (1024, 1200), (1200, 1200)]
    np.testing.assert_array_equal(evaluation.score_some(session, np.array([7, 3])), [7, 3])
    assert evaluation.score_range == (0.0, 2000.0)


def test_feeds_for_calibration_and_latency(write, session) -> None:
    evaluation = write(
        """
        import numpy as np
        def evaluate(session): return 1
        def calibration():
            for i in range(3):
                yield {"x": np.full((4, 3, 16, 16), i, "f4")}
        """
    )
    for _ in range(2):  # a fresh iterator each time
        assert [float(feed["x"].max()) for feed in evaluation.calibration()] == [0, 1, 2]
    assert evaluation.latency_feed()["x"].shape == (1, 3, 16, 16)


def test_latency_inputs(write) -> None:
    evaluation = write(
        """
        import numpy as np
        def evaluate(session): return 1
        def latency_inputs(): return {"x": np.zeros((5, 3, 16, 16), "f4")}
        """
    )
    assert evaluation.latency_feed()["x"].shape == (5, 3, 16, 16)


# --- functions and objects


def test_callables_and_objects(model: Path, session) -> None:
    def evaluate(session):
        yield np.ones(3)

    evaluation = load_evaluation(evaluate, model_path=model)
    assert (evaluation.form, evaluation.name) == ("generator", "evaluate")
    assert evaluation.score(session).metric == 1.0
    assert len(evaluation.fingerprint) == 64
    other = load_evaluation(lambda session: 3, model_path=model)
    assert other.score(session).metric == 3.0
    assert other.fingerprint != evaluation.fingerprint

    holder = SimpleNamespace(num_samples=2, score=lambda session, indices: indices * 1.0, higher_is_better=False)
    found = load_evaluation(holder, model_path=model)
    assert (found.form, found.higher_is_better, found.score(session).metric) == ("random_access", False, 0.5)

    class Metric:
        def __call__(self, session) -> float:
            return 7.0

    assert load_evaluation(Metric(), model_path=model).score(session).metric == 7.0
    with pytest.raises(EvaluationError, match="got int"):
        load_evaluation(5, model_path=model)


def test_a_function_carries_its_declarations(model: Path) -> None:
    def evaluate(session):
        return 1

    evaluate.higher_is_better = False  # type: ignore[attr-defined]
    assert not load_evaluation(evaluate, model_path=model).higher_is_better


# --- surroundings


def test_the_folder_is_importable_while_it_runs_only(tmp_path: Path, model: Path, session) -> None:
    before, path, argv = set(sys.modules), list(sys.path), list(sys.argv)
    found = []
    for number in (1, 2):  # the same module names in two folders
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "my_helper.py").write_text(f"VALUE = {number}\n")
        (folder / "my_late_helper.py").write_text(f"VALUE = {10 * number}\n")
        (folder / "my_eval.py").write_text(
            "import sys\nfrom my_helper import VALUE\nassert sys.argv == [__file__]\n"
            "def evaluate(session):\n    import my_late_helper, my_helper\n"
            "    assert my_helper.VALUE is VALUE and my_helper.__dict__.setdefault('calls', []).append(1) is None\n"
            "    return VALUE + my_late_helper.VALUE + 100 * len(my_helper.calls)\n"
        )
        found.append(load_evaluation(folder / "my_eval.py", model_path=model))
    assert [evaluation.score(session).metric for evaluation in (*found, *found)] == [111, 122, 211, 222]
    assert not {name for name in set(sys.modules) - before if name.startswith("my_")}
    assert (sys.path, sys.argv) == (path, argv)


def test_packages_are_the_files_own_but_environments_are_not(tmp_path: Path, model: Path) -> None:
    (tmp_path / "my_space").mkdir()  # a namespace package: it has no file
    (tmp_path / "my_space" / "part.py").write_text("")
    installed = tmp_path / "venv" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "my_library.py").write_text("")
    (tmp_path / "eval.py").write_text(
        f"import sys, my_space.part\nsys.path.append({str(installed)!r})\n"
        "import my_library\ndef evaluate(session): return 1\n"
    )
    try:
        load_evaluation(tmp_path / "eval.py", model_path=model)
        assert {name for name in sys.modules if name.startswith("my_")} == {"my_library"}
    finally:
        sys.modules.pop("my_library", None)
        sys.path.remove(str(installed))


def test_a_changed_working_directory_stays_the_files_own(write, session, tmp_path: Path) -> None:
    here = Path.cwd()
    (tmp_path / "sub").mkdir()
    evaluation = write(
        f"""
        import os
        os.chdir({str(tmp_path / "sub")!r})
        def evaluate(session):
            return os.getcwd().endswith("sub") * 1.0
        """
    )
    assert Path.cwd() == here
    assert evaluation.score(session).metric == 1.0
    assert Path.cwd() == here


def test_dataclasses_and_annotations_work(write, session) -> None:
    evaluation = write(
        """
        import dataclasses, typing
        @dataclasses.dataclass
        class Item:
            value: typing.Optional[int] = 3
        assert Item.__annotations__["value"] is not str and not isinstance(Item.__annotations__["value"], str)
        def evaluate(session): return typing.get_type_hints(Item) and Item().value
        """
    )
    assert evaluation.score(session).metric == 3


def test_prints_reach_the_user(write, session, capsys: pytest.CaptureFixture[str]) -> None:
    write("print('loading')\ndef evaluate(session):\n    print('scoring')\n    return 1\n").score(session)
    assert capsys.readouterr().out == "loading\nscoring\n"


def test_no_bytecode_is_left(write, tmp_path: Path) -> None:
    write("def evaluate(session): return 1\n")
    assert [path.name for path in tmp_path.iterdir()] == ["eval.py"]


def test_the_fingerprint_follows_the_content(write) -> None:
    first = write("def evaluate(session): return 1\n").fingerprint
    assert write("def evaluate(session): return 1\n").fingerprint == first
    assert write("def evaluate(session): return 2\n").fingerprint != first


def test_ctrl_c_passes(write, session) -> None:
    with pytest.raises(KeyboardInterrupt):
        write("def evaluate(session): raise KeyboardInterrupt\n").score(session)
    with pytest.raises(KeyboardInterrupt):
        write("def evaluate(session):\n    yield 1\n    raise KeyboardInterrupt\n").score(session)


# --- what is wrong with the file


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module\n", "eval.py does not import: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:\n", "eval.py does not import: SyntaxError: invalid syntax"),
        ("1 / 0\n", "eval.py does not import: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "eval.py called sys.exit(3) while it was imported\nGuard the script"),
        ("x = 1\n", "eval.py has none of the three forms of an eval file.\nIt needs evaluate(session)"),
        ("def score(session, indices): return 1\n", "defines score(session, indices), but not num_samples"),
        ("num_samples = 3\n", "defines num_samples, but not score(session, indices)"),
        ("evaluate = 3\n", "evaluate must be a function, but is int 3"),
        ("def evaluate(): return 1\n", "evaluate is called as evaluate(session), but is defined as evaluate()"),
        ("def evaluate(a, b): return 1\n", "evaluate is called as evaluate(session), but is defined as evaluate(a, b)"),
        ("num_samples = 3\ndef score(s): return 1\n", "called as score(session, indices), but is defined as score(s)"),
        ("num_samples = 0\ndef score(s, i): return 1\n", "num_samples must be at least 1, but is 0"),
        ("num_samples = -5\ndef score(s, i): return 1\n", "num_samples must be at least 1, but is -5"),
        ("num_samples = 2.5\ndef score(s, i): return 1\n", "num_samples must be a whole number, but is float 2.5"),
        ("num_samples = True\ndef score(s, i): return 1\n", "num_samples must be a whole number, but is bool True"),
        ("higher_is_better = 1\ndef evaluate(s): return 1\n", "higher_is_better must be True or False, but is int 1"),
        ("score_range = (1, 0)\ndef evaluate(s): return 1\n", "score_range must be (low, high)"),
        ("score_range = 3\ndef evaluate(s): return 1\n", "score_range must be (low, high)"),
        ("score_range = (0, float('nan'))\ndef evaluate(s): return 1\n", "score_range must be (low, high)"),
    ],
)
def test_files_that_are_no_evaluation(write, source: str, message: str) -> None:
    with pytest.raises(EvaluationError) as error:
        write(source)
    assert message in short(error)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere/eval.py", "No such eval file: nowhere/eval.py.\n--eval takes a Python file, accuracy:data.npz or"),
        ("acuracy:data.npz", "acuracy:data.npz holds arrays. Say what they are for"),
        (
            "data.npz",
            "data.npz holds arrays. Say what they are for: accuracy:data.npz (inputs and labels) or fidelity:",
        ),
        (".", "is not a file"),
        ("fidelity:nowhere.npz", "No such file: nowhere.npz (from --eval fidelity:…)"),
        ("accuracy:nowhere.npz", "No such file: nowhere.npz (from --eval accuracy:…)"),
    ],
)
def test_specs_that_name_nothing(model: Path, spec: str, message: str) -> None:
    with pytest.raises(EvaluationError) as error:
        load_evaluation(spec, model_path=model)
    assert message in short(error)


# --- what is wrong with what it does


RETURNS = "It must return the metric as one finite number, or yield per-sample scores."
SCORES = "Scores are finite numbers, one for each sample, in one dimension."


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", f"eval.py: evaluate() returned None.\n{RETURNS}"),
        ("return float('nan')", f"eval.py: evaluate() returned nan.\n{RETURNS}"),
        ("return -np.inf", f"eval.py: evaluate() returned -inf.\n{RETURNS}"),
        ("return 'good'", f"eval.py: evaluate() returned the text 'good'.\n{RETURNS}"),
        ("return True", f"eval.py: evaluate() returned True, which is no number.\n{RETURNS}"),
        ("return (0.9, 0.1)", f"eval.py: evaluate() returned a tuple (0.9, 0.1).\n{RETURNS}"),
        ("return {'accuracy': 1}", f"eval.py: evaluate() returned a dict {{'accuracy': 1}}.\n{RETURNS}"),
        ("return np.ones(5)", f"eval.py: evaluate() returned an array of shape (5,).\n{RETURNS}"),
        ("return 1j", f"eval.py: evaluate() returned a complex (1j).\n{RETURNS}"),
        ("return evaluate", "eval.py: evaluate() returned a function (<function evaluate at"),
        ("raise KeyError('label')", "eval.py: evaluate() raised KeyError: 'label'"),
        ("raise ValueError('one\\ntwo')", "eval.py: evaluate() raised ValueError: one"),
        ("raise StopIteration", "eval.py: evaluate() raised StopIteration"),
        ("sys.exit('bye')", "eval.py: evaluate() called sys.exit('bye')"),
        ("yield from ()", "eval.py: evaluate() yielded no scores; its metric is their mean."),
        ("yield np.ones((2, 3))", f"eval.py: evaluate() yielded a 2-D array of shape (2, 3).\n{SCORES}"),
        ("yield [1.0, float('nan')]", f"eval.py: evaluate() yielded nan at position 1.\n{SCORES}"),
        ("yield None", f"eval.py: evaluate() yielded None.\n{SCORES}"),
        ("yield 'x'", f"eval.py: evaluate() yielded 'x' of type str.\n{SCORES}"),
        ("yield [[1], [1, 2]]", "eval.py: evaluate() yielded a list that is no array"),
        ("yield 1.0; raise OSError('disk')", "eval.py: evaluate() raised OSError: disk"),
    ],
)
def test_evaluations_that_fail(write, session, body: str, message: str) -> None:
    evaluation = write(f"import sys\nimport numpy as np\ndef evaluate(session):\n    {body}\n")
    with pytest.raises(EvaluationError) as error:
        evaluation.score(session)
    assert message in short(error)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [1.0]", "eval.py: score() returned 1 scores for 5 indices; return one for each."),
        ("return None", f"eval.py: score() returned None.\n{SCORES}"),
        ("return np.ones((5, 2))", f"eval.py: score() returned a 2-D array of shape (5, 2).\n{SCORES}"),
        ("return np.full(5, 1.5)", "eval.py: score() returned the score 1.5, outside score_range (0, 1)."),
        ("return np.full(5, -0.5)", "eval.py: score() returned the score -0.5, outside score_range (0, 1)."),
        ("return indices[99]", "eval.py: score() raised IndexError: index 99 is out of bounds for axis 0 with size 5"),
    ],
)
def test_random_access_that_fails(write, session, body: str, message: str) -> None:
    evaluation = write(
        f"import numpy as np\nnum_samples = 5\nscore_range = (0, 1)\ndef score(session, indices):\n    {body}\n"
    )
    with pytest.raises(EvaluationError) as error:
        evaluation.score(session)
    assert message in short(error)


def test_a_generator_that_yields_another_number_of_scores(write, session) -> None:
    evaluation = write(
        "calls = []\ndef evaluate(session):\n    calls.append(1)\n    yield from [1.0] * (4 - len(calls))\n"
    )
    evaluation.score(session)
    with pytest.raises(EvaluationError, match=r"yielded 2 scores, but 3 the first time.\n.*same samples at every call"):
        evaluation.score(session)


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        (
            "{'image': np.zeros((1, 3, 16, 16), 'f4')}",
            "evaluate() raised ValueError: Required inputs (['x']) are missing",
        ),
        ("{'x': np.zeros((1, 4, 16, 16), 'f4')}", "Got invalid dimensions for input: x"),
        ("{'x': np.zeros((1, 3, 16, 16))}", "Unexpected input data type"),
    ],
)
def test_wrong_feeds_are_told_the_models_inputs(write, session, feed: str, message: str) -> None:
    evaluation = write(f"import numpy as np\ndef evaluate(session):\n    return session.run(None, {feed})[0].mean()\n")
    with pytest.raises(EvaluationError) as error:
        evaluation.score(session)
    text = short(error)
    assert message in text
    assert text.endswith("The model's inputs: x float32 [N, 3, 16, 16].")


def test_the_traceback_is_the_users_own(write, session) -> None:
    evaluation = write(
        """
        def inner():
            return {}["key"]
        def evaluate(session):
            try:
                inner()
            except KeyError as error:
                raise ValueError("outer") from error
        """
    )
    with pytest.raises(EvaluationError) as error:
        evaluation.score(session)
    lines = error.value.traceback.splitlines()
    assert lines[-1] == "ValueError: outer"
    assert 'eval.py", line 3, in inner' in error.value.traceback
    assert "The above exception was the direct cause" in error.value.traceback
    assert "userfile.py" not in error.value.traceback
    assert "usercode.py" not in error.value.traceback


def test_the_traceback_of_a_file_that_does_not_import(write) -> None:
    with pytest.raises(EvaluationError) as error:
        write("x = 1\ndef broken(:\n")
    assert 'eval.py", line 2' in error.value.traceback
    assert "usercode.py" not in error.value.traceback


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("yield from ()", CalibrationError, "eval.py: calibration() yielded nothing; yield 100 to 200"),
        ("return None", EvaluationError, "calibration() must yield {input name: array}, but returned None"),
        ("yield [1, 2]", EvaluationError, "calibration() must yield {input name: array}, but got list [1, 2]"),
        ("yield {}", EvaluationError, "calibration() must yield {input name: array}, but got dict {}"),
        ("yield {'x': None}", EvaluationError, "calibration() must yield {input name: array}, but 'x' is None"),
        ("yield {0: np.ones(1)}", EvaluationError, "calibration() must yield {input name: array}, but 0 is"),
        ("raise OSError('gone')", EvaluationError, "calibration() raised OSError: gone"),
        ("yield {'x': np.ones(1)}; 1 / 0", EvaluationError, "calibration() raised ZeroDivisionError"),
    ],
)
def test_calibrations_that_fail(write, body: str, error: type[Exception], message: str) -> None:
    evaluation = write(f"import numpy as np\ndef evaluate(s): return 1\ndef calibration():\n    {body}\n")
    with pytest.raises(error) as caught:
        list(evaluation.calibration())
    assert message in short(caught)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("None", "latency_inputs() must return {input name: array}, but got None"),
        ("{'z': np.ones(1)}", "latency_inputs(): the model has no input 'z'.\nThe model's inputs: x float32 [N, 3, 16"),
        ("{'x': np.ones(1, 'f4')}", "latency_inputs(): input 'x' has shape [1], but the model wants x float32 [N, 3,"),
        ("{'x': np.ones((1, 3, 16, 16))}", "input 'x' is float64, but the model wants float32"),
    ],
)
def test_latency_inputs_that_do_not_fit(write, value: str, message: str) -> None:
    evaluation = write(f"import numpy as np\ndef evaluate(s): return 1\ndef latency_inputs(): return {value}\n")
    with pytest.raises(EvaluationError) as caught:
        evaluation.latency_feed()
    assert message in short(caught)
