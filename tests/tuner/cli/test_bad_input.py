"""Whatever a user hands to `tune` that cannot work: status 2 and one or two lines, never a traceback of ours."""

import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.evaluators.device import CUDA_PROVIDER, loads
from autoquant.tuner.cli.main import main
from autoquant.tuner.study.lock import FolderLock

from tests import task, zoo

Captured = pytest.CaptureFixture[str]


def _almighty() -> bool:
    """Whether permissions do not bind this user: root, or a file system without them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o500)
        try:
            (Path(folder) / "x").touch()
        except OSError:
            return False
        finally:
            Path(folder).chmod(0o700)
        return True


ALMIGHTY = _almighty()


@pytest.fixture
def made(tmp_path: Path) -> task.Task:
    return task.write(tmp_path, samples=40)


def refused(made: task.Task, capsys: Captured, *more: str) -> str:
    """Tune, expect a refusal, and return what was said about it."""
    usual = {"--model": str(made.model), "--eval": str(made.evaluate), "--out": str(made.out), "--objective": "ops"}
    usual |= dict(zip(more[::2], more[1::2], strict=True))
    capsys.readouterr()
    assert main(["tune", *(word for pair in usual.items() for word in pair)]) == 2
    shown = capsys.readouterr()
    assert "target" not in shown.out  # no summary; what the eval file prints is the user's
    ours = shown.err[shown.err.index("autoquant: ") :]
    assert ours.count("\n") <= 2, ours
    assert "Traceback" not in ours
    assert all(len(line) < 400 for line in ours.splitlines()), ours
    return ours


def test_no_such_model(made: task.Task, capsys: Captured) -> None:
    assert "nowhere.onnx" in refused(made, capsys, "--model", "nowhere.onnx")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: b"#!/bin/sh\necho not a model\n",
        lambda content: content[: len(content) // 2],
        lambda content: content[:200] + bytes(200) + content[400:],
    ],
    ids=["empty", "not ONNX", "cut off", "overwritten"],
)
def test_no_whole_model(spoil: Callable[[bytes], bytes], made: task.Task, capsys: Captured) -> None:
    made.model.write_bytes(spoil(made.model.read_bytes()))
    assert "model.onnx" in refused(made, capsys)


def test_a_folder_for_a_model(made: task.Task, capsys: Captured) -> None:
    assert str(made.folder) in refused(made, capsys, "--model", str(made.folder))


def test_external_data_missing(made: task.Task, capsys: Captured) -> None:
    zoo.external(zoo.conv_net(), made.model, "weights.bin")
    (made.folder / "weights.bin").unlink()
    assert "weights.bin" in refused(made, capsys)


def test_nothing_to_quantize(made: task.Task, capsys: Captured) -> None:
    zoo.save(zoo.nothing_net(), made.model)
    made.evaluate.write_text("def evaluate(session): return 1.0\n")
    assert "quantize" in refused(made, capsys)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nowhere\n", "nowhere"),
        ("def evaluate(session)\n", "eval.py"),
        ("x = 1\n", "evaluate"),
        ("def evaluate(session): return 1 / 0\n", "division by zero"),
        ("def evaluate(session): pass\n", "None"),
        ("def evaluate(session): return float('nan')\n", "nan"),
        ("def evaluate(session): return '0.9'\n", "'0.9'"),
        ("def evaluate(session):\n    return\n    yield\n", "eval.py"),
        ("def evaluate(session): return session.run(None, {'nix': 0})[0]\n", "'nix'"),
        ("num_samples = 0\ndef score(session, indices): return []\n", "num_samples"),
        ("num_samples = -4\ndef score(session, indices): return []\n", "num_samples"),
        ("num_samples = 4\ndef score(session, indices): return [1.0]\n", "4"),
        ("num_samples = 4\ndef score(session, indices): return [[1.0, 2.0]] * len(indices)\n", "eval.py"),
        ("import sys\ndef evaluate(session): sys.exit('enough')\n", "exit"),
        ("def evaluate(session): return 0.0\n", "metric is 0"),
    ],
)
def test_an_evaluation_that_is_none(source: str, words: str, made: task.Task, capsys: Captured) -> None:
    made.evaluate.write_text(source)
    assert words in refused(made, capsys)


def test_the_users_own_frames_stand_above(made: task.Task, capsys: Captured) -> None:
    made.evaluate.write_text(
        "def helper():\n    raise LookupError('mine')\n\n\ndef evaluate(session):\n    return helper()\n"
    )
    usual = ["tune", "--model", str(made.model), "--eval", str(made.evaluate), "--out", str(made.out)]
    assert main(usual) == 2
    shown = capsys.readouterr().err
    assert f'File "{made.evaluate}", line 2, in helper' in shown
    assert "LookupError: mine" in shown
    assert "evaluators" not in shown


def test_a_feed_of_a_wrong_shape_names_the_models_input(made: task.Task, capsys: Captured) -> None:
    made.evaluate.write_text(
        "import numpy as np\n"
        "def evaluate(session): return session.run(None, {'x': np.zeros((1, 3, 16), 'float32')})[0].mean()\n"
    )
    assert "x" in refused(made, capsys)


def test_no_such_eval_file(made: task.Task, capsys: Captured) -> None:
    assert "nowhere.py" in refused(made, capsys, "--eval", "nowhere.py")


def test_arrays_that_do_not_fit(made: task.Task, capsys: Captured) -> None:
    np.savez(made.folder / "other.npz", y=np.zeros(3))
    for kind in ("accuracy", "fidelity"):
        assert "other.npz" in refused(made, capsys, "--eval", f"{kind}:{made.folder / 'other.npz'}")


@pytest.mark.parametrize("drop", ["0", "-1%", "abc", "100%", "nan", "inf", ""])
def test_an_impossible_target(drop: str, made: task.Task, capsys: Captured) -> None:
    usual = ["tune", "--model", str(made.model), "--eval", str(made.evaluate), f"--target-drop={drop}"]
    assert main(usual) == 2
    shown = capsys.readouterr().err
    assert "--target-drop must be above 0" in shown
    assert shown.count("\n") <= 2


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--strategy", "magic", "tpe"),
        ("--target", "abacus", "abacus"),
        ("--device", "abacus", "abacus"),
        ("--keep-float", "nowhere", "nowhere"),
        ("--keep-float", "(", "("),
        ("--only", "nowhere", "nowhere"),
        ("--fix", "weight/granularity=per_row", "per_row"),
        ("--fix", "weight/granular=per_channel", "weight/granularity"),
        ("--storage", "nonsense://x", "nonsense"),
        ("--storage", "sqlite:////nowhere/at/all.db", "nowhere"),
    ],
)
def test_an_impossible_option(option: str, value: str, words: str, made: task.Task, capsys: Captured) -> None:
    assert words in refused(made, capsys, option, value)


@pytest.mark.skipif(loads(CUDA_PROVIDER), reason="there is CUDA here")
def test_cuda_where_there_is_none(made: task.Task, capsys: Captured) -> None:
    said = refused(made, capsys, "--device", "cuda")
    assert "CUDA" in said
    assert "--device cpu" in said


def test_a_study_of_another_model(made: task.Task, tuned: task.Task, capsys: Captured) -> None:
    proto = zoo.conv_net()
    proto.producer_name = "someone else"
    onnx.save(proto, made.model)
    said = refused(made, capsys, "--out", str(tuned.out), "--eval", str(tuned.evaluate))
    assert "model" in said
    assert "--fresh" in said


@pytest.mark.parametrize("content", [b"SQLite format 3\0" + b"\7" * 4000, b"a letter to my aunt"])
def test_a_corrupt_database(content: bytes, made: task.Task, capsys: Captured) -> None:
    made.out.mkdir()
    (made.out / "study.db").write_bytes(content)
    assert "study.db" in refused(made, capsys)
    assert (made.out / "study.db").read_bytes() == content


def test_a_database_of_someone_elses(made: task.Task, capsys: Captured) -> None:
    made.out.mkdir()
    with sqlite3.connect(made.out / "study.db") as base:
        base.execute("CREATE TABLE recipes (cake TEXT)")
    base.close()
    assert "study.db" in refused(made, capsys)


@pytest.mark.skipif(ALMIGHTY, reason="permissions do not bind this user")
def test_a_read_only_database(made: task.Task, capsys: Captured) -> None:
    made.out.mkdir()
    sqlite3.connect(made.out / "study.db").close()
    (made.out / "study.db").touch()
    (made.out / "study.db").chmod(stat.S_IREAD)
    assert "study.db" in refused(made, capsys)


def test_a_folder_that_another_run_holds(made: task.Task, capsys: Captured) -> None:
    made.out.mkdir()
    with FolderLock(made.out, "autoquant tune, the other"):
        said = refused(made, capsys)
    assert str(os.getpid()) in said


def test_an_output_folder_that_is_a_file(made: task.Task, capsys: Captured) -> None:
    assert "is a file" in refused(made, capsys, "--out", str(made.model))


@pytest.mark.skipif(ALMIGHTY, reason="permissions do not bind this user")
def test_an_output_folder_that_cannot_be_written(made: task.Task, capsys: Captured) -> None:
    made.out.mkdir(mode=0o500)
    assert "cannot write" in refused(made, capsys)


def test_an_output_folder_that_cannot_be_made(made: task.Task, capsys: Captured) -> None:
    out = Path("/proc/autoquant") if Path("/proc").is_dir() else made.model / "below"
    assert str(out) in refused(made, capsys, "--out", str(out))
