"""A model's file, run by onnxruntime alone, gives the model's vectors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import vicinal
from tests import tiny
from tests.cross_encoder.conftest import write_classifier
from vicinal import CrossEncoder, SentenceTransformer
from vicinal.errors import Unavailable, UnsupportedModel

TEXTS = ["red apple", "tax law of the apple", "the", "green green red tax law tax law"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_bert(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(folder, dtype="float32")


def run(path: Path, features: Any, *outputs: str) -> Any:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {entry.name: features[entry.name].astype(np.int64) for entry in session.get_inputs()}
    found = session.run(list(outputs), given)
    return found[0] if len(outputs) == 1 else found


def test_a_whole_model_in_another_process(model: SentenceTransformer, tmp_path: Path) -> None:
    """With onnxruntime and NumPy, nothing else."""
    vicinal.export_onnx(model, tmp_path / "new" / "model.onnx")
    np.savez(tmp_path / "features.npz", **model.tokenize(TEXTS))
    code = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
features = dict(np.load(sys.argv[2]))
vectors, states = session.run(["sentence_embedding", "token_embeddings"], features)
np.savez(sys.argv[3], vectors=vectors, states=states)
assert not {"vicinal", "torch", "transformers"} & set(sys.modules)
"""
    names = [str(tmp_path / name) for name in ("new/model.onnx", "features.npz", "found.npz")]
    subprocess.run([sys.executable, "-c", code, *names], check=True, cwd=tmp_path)
    found = np.load(names[2])
    np.testing.assert_allclose(found["vectors"], model.encode(TEXTS), atol=1e-6)
    for text, states in zip(TEXTS, found["states"], strict=True):
        wanted = model.encode(text, output_value="token_embeddings")
        np.testing.assert_allclose(states[: len(wanted)], wanted, atol=1e-5)


def test_the_peer_agrees(folder: Path, tmp_path: Path) -> None:
    peer = pytest.importorskip("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    model = SentenceTransformer(folder, backend="numpy")
    vicinal.export_onnx(model, tmp_path / "model.onnx")
    features = {name: np.asarray(tensor) for name, tensor in peer.tokenizer(TEXTS, padding=True).items()}
    np.testing.assert_allclose(
        run(tmp_path / "model.onnx", features, "sentence_embedding"), peer.encode(TEXTS), atol=3e-6
    )


def test_settings_go_with_it(folder: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(folder, dtype="float32", truncate_dim=5)
    vicinal.export_onnx(model, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", model.tokenize(TEXTS), "sentence_embedding")
    assert found.shape == (4, 5)
    np.testing.assert_allclose(found, model.encode(TEXTS), atol=1e-6)


def test_a_static_model(tmp_path: Path) -> None:
    model = SentenceTransformer(tiny.write_static(tmp_path / "static"))
    vicinal.export_onnx(model, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", model.tokenize(TEXTS), "sentence_embedding")
    np.testing.assert_allclose(found, model.encode(TEXTS), atol=1e-6)
    with pytest.raises(UnsupportedModel, match="has no transformer that could be exported"):
        vicinal.export_optimized_onnx_model(model, "O1", tmp_path)


@pytest.mark.parametrize("labels", [1, 3])
def test_a_cross_encoder(labels: int, tmp_path: Path) -> None:
    model = CrossEncoder(write_classifier(tmp_path / "model", labels), dtype="float32")
    pairs = [("red", "green apple tax"), ("the law", "red")]
    vicinal.export_onnx(model, tmp_path / "m.onnx")
    vicinal.export_optimized_onnx_model(model, "O1", tmp_path)
    wanted = model.predict(pairs, activation_fn=lambda scores: scores).reshape(2, labels)
    for path in (tmp_path / "m.onnx", tmp_path / "onnx" / "model_O1.onnx"):
        np.testing.assert_allclose(run(path, model.tokenize(pairs), "logits"), wanted, atol=2e-5)


def test_int8(model: SentenceTransformer, tmp_path: Path) -> None:
    vicinal.export_onnx(model, tmp_path / "m.onnx", dtype="int8")
    found = run(tmp_path / "m.onnx", model.tokenize(TEXTS), "sentence_embedding")
    wanted = model.encode(TEXTS)
    assert 0.99 < (found * wanted).sum(1).min() < 1 - 1e-7


@pytest.mark.parametrize(("level", "off"), [("O1", 1e-5), ("O2", 1e-5), ("O3", 1e-2)])
def test_optimised(level: str, off: float, model: SentenceTransformer, tmp_path: Path) -> None:
    vicinal.export_optimized_onnx_model(model, level, str(tmp_path))
    found = run(tmp_path / "onnx" / f"model_{level}.onnx", model.tokenize(TEXTS), "last_hidden_state")
    for text, states in zip(TEXTS, found, strict=True):
        wanted = model.encode(text, output_value="token_embeddings")
        assert np.abs(states[: len(wanted)] - wanted).max() < off * np.abs(wanted).max()


def test_file_names(model: SentenceTransformer, tmp_path: Path) -> None:
    for config in ("arm64", "avx2", "avx512", "avx512_vnni"):
        vicinal.export_dynamic_quantized_onnx_model(model, config, tmp_path)
    vicinal.export_dynamic_quantized_onnx_model(model, "avx2", tmp_path, file_suffix="own")
    vicinal.export_optimized_onnx_model(model, "O2", tmp_path, file_suffix="fast")
    assert sorted(file.name for file in (tmp_path / "onnx").iterdir()) == [
        "model_fast.onnx",
        "model_own.onnx",
        "model_qint8_arm64.onnx",
        "model_qint8_avx512.onnx",
        "model_qint8_avx512_vnni.onnx",
        "model_quint8_avx2.onnx",
    ]


def test_what_is_refused(model: SentenceTransformer, folder: Path, tmp_path: Path) -> None:
    optimise, quantise = vicinal.export_optimized_onnx_model, vicinal.export_dynamic_quantized_onnx_model
    with pytest.raises(Unavailable, match='"O4" is half precision, which ONNX Runtime computes on GPUs alone'):
        optimise(model, "O4", tmp_path)
    with pytest.raises(ValueError, match='optimization_config must be "O1", "O2" or "O3", not \'O9\''):
        optimise(model, "O9", tmp_path)
    with pytest.raises(ValueError, match=r"quantization_config must be one of 'arm64', .*, not 'tpu'"):
        quantise(model, "tpu", tmp_path)
    for options in ({"push_to_hub": True}, {"create_pr": True}):
        with pytest.raises(Unavailable, match=r"push_to_hub and create_pr .* huggingface_hub\.upload_file"):
            optimise(model, "O1", tmp_path, **options)
        with pytest.raises(Unavailable, match="push_to_hub and create_pr"):
            quantise(model, "avx2", tmp_path, **options)
    with pytest.raises(Unavailable, match='backend="openvino", dtype="int8"'):
        vicinal.export_static_quantized_openvino_model(model, None, tmp_path)
    with pytest.raises(ValueError, match='dtype must be "float32" or "int8", not \'float16\''):
        vicinal.export_onnx(model, tmp_path / "m.onnx", dtype="float16")  # type: ignore[arg-type]
    with pytest.raises(NotADirectoryError, match="is a file; give the model's folder"):
        optimise(model, "O1", folder / "config.json")
    from vicinal import models

    modules = [*SentenceTransformer(folder, dtype="float32"), models.LSTM(tiny.WIDTH, 5)]
    several = SentenceTransformer(modules=[modules[0], modules[-1], models.Pooling(10, "mean")])
    with pytest.raises(UnsupportedModel, match=r"cannot be exported: .*LSTM"):
        vicinal.export_onnx(several, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
    other = SentenceTransformer(folder, dtype="float32")
    other.set_pooling_include_prompt(False)
    with pytest.raises(UnsupportedModel, match="leaves its prompt's tokens out of pooling"):
        vicinal.export_onnx(other, tmp_path / "m.onnx")
    other.close()
    with pytest.raises(ValueError, match="this model is closed"):
        quantise(other, "avx2", tmp_path)
    assert list(tmp_path.iterdir()) == []
