import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from autoquant.errors import EvaluationError, ModelError
from autoquant.tuner.cli import main as command_line
from autoquant.tuner.cli import tune
from autoquant.tuner.cli.main import VERBS, main

TUNE = ["tune", "--model", "m.onnx", "--eval", "e.py", "--fresh"]


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autoquant", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; from autoquant.tuner.cli.main import main; status = main(['--help']);"
        "print([name for name in ('numpy', 'onnx', 'onnxruntime', 'optuna', 'pandas', 'rich') if name in sys.modules]);"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    for verb in VERBS:
        assert f"\n    {verb.__name__.rpartition('.')[2]} " in done.stdout
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize("verb", [verb.__name__.rpartition(".")[2] for verb in VERBS])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"usage: autoquant {verb}" in capsys.readouterr().out


def test_version() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("autoquant ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: VERB"),
        (["tun"], "invalid choice: 'tun'"),
        (["tune"], "the following arguments are required: --model, --eval"),
        ([*TUNE, "--objective", "speed"], "or one of them with the drop"),
        ([*TUNE, "--timeout", "soon"], "must be a time such as 90s, 30m or 1h30m, but got 'soon'"),
        ([*TUNE, "--stop", "soon"], "invalid choice: 'soon'"),
        ([*TUNE, "--patience", "0"], "must be a whole number above 0, but got '0'"),
        ([*TUNE, "--holdout", "20"], "--holdout must lie between 0 and 1, as `20%` or `0.2`, but got '20'"),
        ([*TUNE, "--target-drop", "abc"], "--target-drop must be above 0"),
        ([*TUNE, "--target-drop", "0"], "--target-drop must be above 0"),
        ([*TUNE, "--target-drop=-1%"], "--target-drop must be above 0"),
        ([*TUNE, "--fix", "a=b", "--fix", "a=c"], "--fix names a twice, as b and as c"),
        (["export", "x.autoquant", "--out", "y.onnx", "--trial", "first"], "must be a trial's number or `best`"),
    ],
)
def test_a_bad_request_is_two_lines_and_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") <= 2
    assert shown.out == ""


def test_an_error_of_ours_is_its_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tune, "run", raising(ModelError("m.onnx is not ONNX.\nGive an ONNX file.")))
    assert main(TUNE) == 2
    assert capsys.readouterr().err == "autoquant: m.onnx is not ONNX.\nGive an ONNX file.\n"


def test_an_error_of_the_user_comes_with_their_frames(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = (
        'Traceback (most recent call last):\n  File "e.py", line 3, in evaluate\nZeroDivisionError: division by zero\n'
    )
    monkeypatch.setattr(tune, "run", raising(EvaluationError("e.py failed.", trace)))
    assert main(TUNE) == 2
    assert capsys.readouterr().err == trace + "autoquant: e.py failed.\n"


def test_a_bug_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "run", raising(RuntimeError("ours")))
    with pytest.raises(RuntimeError, match="ours"):
        main(TUNE)


def test_interrupted_says_how_to_go_on_and_does_not_start_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tune, "run", raising(KeyboardInterrupt()))
    assert main([*TUNE, "--keep-float", "a b"]) == 130
    shown = capsys.readouterr().err
    assert shown.endswith("go on with:\n  autoquant tune --model m.onnx --eval e.py --keep-float 'a b'\n")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_terminated_by_a_scheduler_it_ends_as_cleanly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def terminated(args: argparse.Namespace) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    monkeypatch.setattr(tune, "run", terminated)
    before = signal.getsignal(signal.SIGTERM)
    assert main(TUNE) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert "go on with:" in capsys.readouterr().err


def test_a_broken_installation_is_named_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("onnxruntime", "onnxruntime_gpu"):
        info = tmp_path / f"{name}-9.9.9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 9.9.9\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert main(TUNE) == 2
    shown = capsys.readouterr().err
    assert "pip uninstall" in shown
    assert shown.count("\n") <= 2


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_reader_who_leaves_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "autoquant", "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141


def test_a_terminal_of_few_letters_is_no_error(tmp_path: Path) -> None:
    done = run("doctor", env={**os.environ, "PYTHONIOENCODING": "ascii"}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "?  python" in done.stdout


def test_the_command_is_recorded_as_it_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def note(args: argparse.Namespace) -> int:
        seen.append(args.command)
        return 1

    monkeypatch.setattr(tune, "run", note)
    assert main([*TUNE, "--only", "a b"]) == 1
    assert seen == ["autoquant tune --model m.onnx --eval e.py --fresh --only 'a b'"]
    assert command_line.build_parser().prog == "autoquant"
