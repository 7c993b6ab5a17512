import pytest
from autoquant.errors import OptionError
from autoquant.strategies.words import GLUE_PRECISIONS, PRECISIONS, SYMMETRIES
from autoquant.tuner.targets import profiles


@pytest.mark.parametrize("name", profiles.TARGETS)
def test_profile_is_consistent(name):
    target = profiles.get(name)
    assert target.name == name
    assert set(target.precisions) <= set(PRECISIONS)
    assert set(GLUE_PRECISIONS) <= set(target.precisions)
    assert target.symmetries[0] in target.activation
    assert set(target.symmetries) == set(target.activation) <= set(SYMMETRIES)
    assert "symmetric" in target.weight
    assert target.bias in ("int32", "float")


@pytest.mark.parametrize(
    ("instructions", "bits"), [("avx512_vnni", 8), ("avx_vnni", 8), ("avx2", 7), ("avx512", 7), ("neon_dotprod", 8)]
)
def test_weights_have_7_bits_where_products_saturate(instructions, bits, monkeypatch):
    monkeypatch.setattr(profiles, "_instruction_set", lambda: instructions)
    assert profiles.get("cpu").weight_bits == bits


@pytest.mark.parametrize(("loads", "name"), [(True, "tensorrt"), (False, "cpu")])
def test_auto_is_tensorrt_only_where_it_loads(loads, name, monkeypatch):
    monkeypatch.setattr(profiles, "_tensorrt_loads", lambda: loads)
    assert profiles.get("auto").name == name


def test_unknown_target_is_named():
    with pytest.raises(OptionError, match="toaster"):
        profiles.get("toaster")
