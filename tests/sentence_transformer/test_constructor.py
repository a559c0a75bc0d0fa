"""What the constructor takes, and the rest of a model's methods."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sentence_transformer.texts import TEXTS, assert_near, load
from vicinal import SentenceTransformer
from vicinal.errors import (
    Unavailable,
)

# ---- constructor ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"device": "cuda"}, Unavailable, "device='cuda' is not to be had"),
        ({"device": "cuda", "backend": "openvino"}, Unavailable, "runs on the processor, not on cuda"),
        ({"backend": "torch", "dtype": "int8"}, Unavailable, "the torch backend does not compute in int8"),
        ({"backend": "onnx", "dtype": "bfloat16"}, Unavailable, "the onnx backend computes in float32 or int8, not"),
        ({"model_kwargs": {"provider": "CPUExecutionProvider"}}, ValueError,
         'provider means nothing to the openvino backend; it is for backend="onnx"'),
        ({"backend": "tensorflow"}, ValueError, "backend must be .*, not 'tensorflow'"),
        ({"dtype": "float16"}, Unavailable, "does not compute in float16"),
        ({"backend": "numpy", "dtype": "int8"}, Unavailable, "the numpy backend computes in float32, not int8"),
        ({"threads": 0}, ValueError, "threads must be a positive integer, not 0"),
        ({"threads": True}, ValueError, "threads must be a positive integer, not True"),
        ({"modules": []}, ValueError, "modules must be"),
        ({"model_kwargs": {"attn_implementation": "sdpa"}, "dtype": "auto"}, ValueError,
         "attn_implementation means nothing to the openvino backend"),
        ({"model_kwargs": {"torch_dtype": "float32"}, "dtype": "float32"}, ValueError, "dtype is given more than once"),
        ({"model_kwargs": {"device_map": "cuda"}}, ValueError, "device_map means nothing to the openvino"),
        ({"model_kwargs": {"ov_config": {}}, "backend": "onnx"}, ValueError,
         'ov_config means nothing to the onnx backend; it is for backend="openvino"'),
        ({"model_kwargs": {"ov_config": 3}}, ValueError, "ov_config must be a mapping, or the path of a JSON file"),
        ({"model_kwargs": {"ov_config": "/nowhere.json"}}, ValueError, "/nowhere.json is no readable JSON file"),
        ({"model_kwargs": {"ov_config": {"INFERENCE_NUM_THREADS": 1}}}, ValueError, "is what threads= says here"),
        ({"model_kwargs": {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}, "dtype": "float32"}, ValueError,
         "dtype is given more than once"),
        ({"model_kwargs": {"ov_config": {"INFERENCE_PRECISION_HINT": "f16"}}, "dtype": "auto"}, Unavailable,
         "does not compute in float16"),
        ({"model_kwargs": {"ov_config": {"NO_SUCH": 1}}}, Unavailable,
         "OpenVINO lets nobody set NO_SUCH here, but .*NUM_STREAMS"),
        ({"processor_kwargs": {"do_lower_case": True}}, ValueError, "processor_kwargs: do_lower_case is not"),
        ({"processor_kwargs": {"use_fast": False}}, ValueError, "use_fast=False is not to be had: every tokenizer"),
        ({"processor_kwargs": {"truncation_side": "left"}}, ValueError, "truncation_side='left' is not to be had"),
        ({"config_kwargs": {"num_hiden_layers": 1}}, ValueError, "config_kwargs: nothing reads num_hiden_layers"),
        ({"processor_kwargs": {"model_max_length": 100}}, ValueError, "max_seq_length=100 is more than the 41"),
        ({"similarity_fn_name": "hamming"}, ValueError, "'hamming' is not a similarity function"),
        ({"truncate_dim": -1}, ValueError, "truncate_dim must be a positive integer or None, not -1"),
        ({"normalise": True}, TypeError, "unexpected keyword argument 'normalise'"),
    ],
)  # fmt: skip
def test_constructor_arguments_that_are_refused(
    options: dict[str, Any], error: type[Exception], text: str, folder: Path
) -> None:
    with pytest.raises(error, match=text):
        load(folder, **options)


def test_constructor_arguments_that_are_honoured(folder: Path) -> None:
    model = load(folder, tokenizer_kwargs={"model_max_length": 9}, similarity_fn_name="dot", truncate_dim=5, threads=1)
    assert (model.max_seq_length, model.similarity_fn_name, model.truncate_dim) == (9, "dot", 5)
    assert model.encode("red").shape == (5,)
    named = SentenceTransformer(str(folder), model_kwargs={"torch_dtype": "float32", "device_map": "cpu"})
    assert named.dtype == "float32"
    easy = load(folder, processor_kwargs={"padding_side": "left", "truncation_side": "right", "use_fast": True})
    np.testing.assert_array_equal(easy.encode("red apple"), named.encode("red apple"))
    assert load(folder, config_kwargs={"num_hidden_layers": 1}).spec.route(None).modules[0].network.layers == 1


def test_openvinos_own_settings(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "ov.json"
    path.write_text('{"NUM_STREAMS": 2, "INFERENCE_PRECISION_HINT": "f32"}')
    for given in (path, json.loads(path.read_text())):
        model = SentenceTransformer(folder, model_kwargs={"ov_config": given})
        (program,) = model._engine._programs.values()
        assert program._model.get_property("NUM_STREAMS") == 2  # type: ignore[attr-defined]
        assert model.dtype == "float32"


@pytest.mark.parametrize("backend", ["openvino", "onnx", "numpy"])
def test_backends_agree(backend: str, folder: Path, static_folder: Path, alone: np.ndarray, static: Any) -> None:
    model = load(folder, backend=backend)
    assert model.backend == model.get_backend() == backend
    assert_near(model.encode(TEXTS), alone, 1e-5)
    assert_near(load(static_folder, backend=backend).encode(TEXTS[:9]), static.encode(TEXTS[:9]))


def test_int8_is_near(folder: Path, alone: np.ndarray) -> None:
    found = load(folder, dtype="int8").encode(TEXTS)
    assert (found * alone).sum(1).min() > 0.9
    assert np.abs(found - alone).max() > 1e-5


# ---- progress, similarity -------------------------------------------------------------------------------------------


def test_progress(shared: SentenceTransformer, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("vicinal")
    level = logger.level
    try:
        for at, said, shown in ((logging.WARNING, None, False), (logging.INFO, None, True), (logging.DEBUG, None, True),
                                (logging.WARNING, True, True), (logging.INFO, False, False)):  # fmt: skip
            logger.setLevel(at)
            shared.encode(["red", "tax"], show_progress_bar=said)
            captured = capsys.readouterr()
            assert captured.out == ""
            assert ("2/2" in captured.err) is shown
    finally:
        logger.setLevel(level)


def test_similarity(model: SentenceTransformer) -> None:
    a, b = model.encode(["red", "tax"]), model.encode(["apple", "law"])
    assert_near(model.similarity(a, b), a @ b.T, 1e-5)
    assert_near(model.similarity_pairwise(a, b), (a * b).sum(1), 1e-5)
    model.similarity_fn_name = "euclidean"
    assert_near(model.similarity_pairwise(a, b), -np.linalg.norm(a - b, axis=1), 1e-5)


def test_evaluate(shared: SentenceTransformer, tmp_path: Path) -> None:
    seen: list[Any] = []
    result = shared.evaluate(lambda model, path: seen.append((model, path)) or 0.5, tmp_path / "new/results")
    assert result == 0.5
    assert seen == [(shared, str(tmp_path / "new/results"))]
    assert (tmp_path / "new/results").is_dir()
