"""A layer's own calibrator from the request to the delivered files."""

import json
from pathlib import Path

from autoquant.tuner.quantization.recipefile import FORMAT
from autoquant.tuner.study.export import export_trial, quantize_recipe
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.tune import tune

from tests import task

OWN = {"calibrator/stem": "percentile_99.9"}


def test_it_is_searched_delivered_rebuilt_and_replayed(tmp_path: Path) -> None:
    made = task.write(tmp_path)
    warm = tmp_path / "warm.json"
    warm.write_text(json.dumps({"format": FORMAT, "parameters": {"layer/stem": "int8", **OWN}}))
    asked = Request(
        made.model,
        str(made.evaluate),
        TargetDrop.parse("50%"),
        out=made.out,
        objective="ops",
        threads=1,
        strategy="informed",
        warm=(warm,),
        per_layer_calibrators=True,
        max_trials=1,
    )
    result = tune(asked)
    assert result.status == "met"
    with open_study(made.out, None) as store:
        (record,) = store.trials()
        assert {name: record.recipe[name] for name in OWN} == OWN
        export_trial(store, 0, tmp_path / "exported.onnx", made.model)
    delivered = result.files["model"].read_bytes()
    assert (tmp_path / "exported.onnx").read_bytes() == delivered
    written = json.loads(result.files["recipe"].read_text())
    assert written["calibrated"].items() >= OWN.items()
    quantize_recipe(made.model, result.files["recipe"], tmp_path / "replayed.onnx")
    assert (tmp_path / "replayed.onnx").read_bytes() == delivered


def test_unless_asked_it_is_taken_back(tmp_path: Path) -> None:
    made = task.write(tmp_path)
    warm = tmp_path / "warm.json"
    warm.write_text(json.dumps({"format": FORMAT, "parameters": {"layer/stem": "int8", **OWN}}))
    usual = {"out": made.out, "objective": "ops", "threads": 1, "max_trials": 1}
    tune(Request(made.model, str(made.evaluate), TargetDrop.parse("50%"), warm=(warm,), **usual))
    with open_study(made.out, None) as store:
        assert store.trials()[0].recipe["calibrator/stem"] == "inherit"
    fixed = Request(
        made.model, str(made.evaluate), TargetDrop.parse("50%"), fix={"calibrator/stem": "mse"}, fresh=True, **usual
    )
    tune(fixed)
    with open_study(made.out, None) as store:
        assert store.trials()[0].recipe["calibrator/stem"] == "mse"
