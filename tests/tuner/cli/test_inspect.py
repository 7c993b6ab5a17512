import json
from pathlib import Path

import pytest
from autoquant.tuner.cli.main import main

from tests import task, zoo

Captured = pytest.CaptureFixture[str]


def test_shows_layers_glue_refusals_and_notes(folder: Path, capsys: Captured) -> None:
    zoo.save(zoo.transformer(), folder / "m.onnx")
    assert main(["inspect", "m.onnx"]) == 0
    shown = capsys.readouterr().out
    for words in ("m.onnx", "inputs", "Layers", "MatMul", "two activations", "Stays float", "Erf"):
        assert words in shown
    assert "can run int8 on cpu" in shown


def test_shows_the_rewrites_that_apply(folder: Path, capsys: Captured) -> None:
    zoo.save(zoo.hardswish_net(), folder / "m.onnx")
    assert main(["inspect", "m.onnx"]) == 0
    assert "rewrite/hardswish" in capsys.readouterr().out
    assert main(["inspect", "m.onnx", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rewrites"]["hardswish"] > 0


def test_names_are_whole_even_where_they_are_long(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    zoo.save(zoo.slash_names_net(), folder / "m.onnx")
    assert main(["inspect", "m.onnx", "--json"]) == 0
    names = [layer["name"] for layer in json.loads(capsys.readouterr().out)["layers"]]
    assert main(["inspect", "m.onnx"]) == 0
    joined = "".join(line.split("  ")[1] for line in capsys.readouterr().out.splitlines() if line.startswith("  "))
    assert all(name in joined for name in names)


def test_shared_weights_are_one_group(folder: Path, capsys: Captured) -> None:
    zoo.save(zoo.shared_weight_net(), folder / "m.onnx")
    assert main(["inspect", "m.onnx"]) == 0
    shown = capsys.readouterr().out
    assert "shares its weight with" in shown
    assert "2 groups sharing a constant" in shown


def test_json_holds_it_all(folder: Path, capsys: Captured) -> None:
    zoo.save(zoo.conv_net(), folder / "m.onnx")
    assert main(["inspect", "m.onnx", "--json", "--target", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["target"] == "cpu"
    assert found["model"]["inputs"][0]["name"] == "x"
    assert all(layer["int8"] for layer in found["layers"])
    assert {"name", "op_type", "reason"} == set(found["refusals"][0]) if found["refusals"] else True


def test_nothing_to_quantize_is_said_and_no_error(folder: Path, capsys: Captured) -> None:
    zoo.save(zoo.nothing_net(), folder / "m.onnx")
    assert main(["inspect", "m.onnx"]) == 0
    assert "Nothing in this model can be quantized." in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"", b"not a model at all", b"\x08\x07\x12\x02"])
def test_what_is_no_model_is_two_lines(content: bytes | None, folder: Path, capsys: Captured) -> None:
    if content is not None:
        (folder / "m.onnx").write_bytes(content)
    assert main(["inspect", "m.onnx"]) == 2
    shown = capsys.readouterr().err
    assert "m.onnx" in shown
    assert shown.count("\n") <= 2


def test_an_unknown_target_is_refused(folder: Path, capsys: Captured) -> None:
    zoo.save(zoo.conv_net(), folder / "m.onnx")
    assert main(["inspect", "m.onnx", "--target", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().err


def test_the_errors_of_a_studys_layers(tuned: task.Task, capsys: Captured) -> None:
    assert main(["inspect", "--study", str(tuned.out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    result = json.loads((tuned.out / "result.json").read_text())
    assert found["trial"] == result["tuned"]["trial"]
    assert found["layers"] == result["errors"]
    assert len(found["layers"]) == result["layers"]["int8"] > 0
    assert main(["inspect", "--study", str(tuned.out)]) == 0
    shown = capsys.readouterr().out
    assert "output alone" in shown
    assert all(layer["layer"] in shown for layer in found["layers"])


@pytest.mark.parametrize("words", [["inspect"], ["inspect", "m.onnx", "--study", "s"]])
def test_a_model_or_a_study(words: list[str], capsys: Captured) -> None:
    assert main(words) == 2
    assert "MODEL, or --study STUDY" in capsys.readouterr().err
