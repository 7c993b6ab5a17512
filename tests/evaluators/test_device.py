import pytest
from autoquant.errors import DeviceError, OptionError
from autoquant.evaluators.device import CPU, CUDA_PROVIDER, TENSORRT_PROVIDER, Device, loads, missing, resolve

without_cuda = pytest.mark.skipif(loads(CUDA_PROVIDER), reason="CUDA works here")


@pytest.mark.parametrize("text", ["cpu", " CPU "])
def test_cpu(text: str) -> None:
    assert resolve(text) == CPU == Device("CPUExecutionProvider", 0, "cpu")
    assert CPU.providers == ["CPUExecutionProvider"]


@without_cuda
def test_auto_without_cuda_is_the_cpu() -> None:
    assert resolve("auto") == CPU


@without_cuda
@pytest.mark.parametrize("text", ["cuda", "cuda:1", "CUDA"])
def test_cuda_without_cuda_names_what_is_missing(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeviceError, match=f"--device {text.lower()}: no CUDA device here: .+") as caught:
        resolve(text)
    assert "--device cpu" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2
    loads.cache_clear()
    assert not loads(CUDA_PROVIDER)
    assert capfd.readouterr() == ("", "")  # neither ONNX Runtime's log nor its prints


@without_cuda
def test_a_provider_that_is_listed_but_does_not_load() -> None:
    assert not loads(TENSORRT_PROVIDER)
    assert "built without NoSuch" in missing("NoSuchExecutionProvider")


@pytest.mark.gpu
@pytest.mark.skipif(not loads(CUDA_PROVIDER), reason="no CUDA here")
def test_cuda() -> None:
    assert resolve("cuda") == resolve("auto") == Device(CUDA_PROVIDER, 0, "cuda:0")
    with pytest.raises(DeviceError, match="device 63"):
        resolve("cuda:63")


@pytest.mark.parametrize("text", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "cpu:0"])
def test_other_words(text: str) -> None:
    with pytest.raises(OptionError, match="auto, cpu, cuda or cuda:N"):
        resolve(text)
