"""Models in ONNX Runtime, where the tests were told of its library."""

import glob
import os
import subprocess
import sys

import pytest

import edgeslm

MODEL = os.environ["EDGESLM_TEST_MODEL"]
FOLDER = os.environ.get("EDGESLM_TEST_ORT", "")

pytestmark = pytest.mark.skipif(not FOLDER, reason="ONNX Runtime is missing; cargo xtask ort fetches it")


def library() -> str:
    return glob.glob(os.path.join(FOLDER, "cpu/onnxruntime/capi/libonnxruntime.so.*"))[0]


def test_a_model_answers() -> None:
    with pytest.raises(edgeslm.EngineUnavailableError) as missing:
        edgeslm.Model(MODEL, engine="ort", ort_library=os.path.join(FOLDER, "none.so"))
    assert missing.value.name == "engine_unavailable" and missing.value.file.endswith("none.so")
    with edgeslm.Model(MODEL, engine="ort", provider="cpu", ort_library=library(), provider_options={"use_arena": "0"}) as model:
        assert model.info["provider"] == "cpu"
        assert model.info["placement"]["CPUExecutionProvider"]["GroupQueryAttention"] == model.info["layers"]
        with model.session() as session:
            assert "".join(session.generate("The pump is", max_tokens=4))
    with pytest.raises(edgeslm.EngineUnavailableError, match="does not have the provider cuda"):
        edgeslm.Model(MODEL, engine="ort", provider="cuda", ort_library=library())


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="no provider 'gpu'"):
        edgeslm.Model(MODEL, engine="ort", provider="gpu")
    with pytest.raises(ValueError, match="no engine 'gpu'"):
        edgeslm.Model(MODEL, engine="gpu")
    with pytest.raises(edgeslm.InvalidArgumentError):
        edgeslm.Model(MODEL, provider="cuda")
    with pytest.raises(edgeslm.InvalidArgumentError, match="use_arena"):
        edgeslm.Model(MODEL, engine="ort", provider="cpu", ort_library=library(), provider_options={"arena": "1"})


def test_the_environment_names_the_library() -> None:
    program = "import edgeslm, sys; print(edgeslm.Model(sys.argv[1], engine='ort', provider='cpu').info['kernels'])"
    environment = os.environ | {"EDGESLM_ORT_LIBRARY": library()}
    output = subprocess.run([sys.executable, "-c", program, MODEL], env=environment, check=True, capture_output=True, text=True)
    assert output.stdout.strip() == library()
