"""What `vicinal` shows, what importing it costs, and how short the way of a text is."""

from __future__ import annotations

import copy
import importlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vicinal
from tests import tiny
from vicinal import errors

ROOT = Path(vicinal.__file__).parent
HEAVY = ("numpy", "torch", "transformers", "openvino", "onnx", "onnxruntime", "tokenizers", "huggingface_hub",
         "pandas", "tqdm", "typer", "rich", "safetensors")  # fmt: skip


def test_the_names() -> None:
    assert vicinal.__all__ == [
        "CrossEncoder",
        "CrossEncoderModelCardData",
        "CrossEncoderTrainer",
        "CrossEncoderTrainingArguments",
        "DefaultBatchSampler",
        "Hit",
        "Index",
        "InputExample",
        "LoggingHandler",
        "MultiDatasetDefaultBatchSampler",
        "ParallelSentencesDataset",
        "Pipeline",
        "Retriever",
        "SentenceTransformer",
        "SentenceTransformerModelCardData",
        "SentenceTransformerTrainer",
        "SentenceTransformerTrainingArguments",
        "SentencesDataset",
        "SimilarityFunction",
        "__version__",
        "datasets",
        "errors",
        "evaluation",
        "export_dynamic_quantized_onnx_model",
        "export_onnx",
        "export_optimized_onnx_model",
        "export_static_quantized_openvino_model",
        "load_ranges",
        "load_vectors",
        "losses",
        "mine_hard_negatives",
        "models",
        "quantize_embeddings",
        "readers",
        "resolve_ids",
        "save_vectors",
        "util",
    ]
    assert dir(vicinal) == sorted(vicinal.__all__)
    for name in vicinal.__all__:
        assert getattr(vicinal, name) is not None
    with pytest.raises(AttributeError, match="module 'vicinal' has no attribute 'nope'"):
        _ = vicinal.nope


def test_public_classes_say_where_they_live() -> None:
    for name in ("SentenceTransformer", "SimilarityFunction", "quantize_embeddings"):
        found = getattr(vicinal, name)
        assert getattr(importlib.import_module(found.__module__), name) is found


def test_every_error_is_in_the_tree_that_heads_the_file() -> None:
    tree = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, (errors.VicinalError, errors.VicinalWarning)):
            assert name in tree
            builtin = [base.__name__ for base in kind.__bases__ if base.__module__ == "builtins"]
            if kind not in (errors.VicinalError, errors.VicinalWarning):
                assert all(base in tree for base in builtin)


def test_every_error_can_be_pickled() -> None:
    """One that cannot be loses its text on its way out of a worker process."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, Exception):
            error = kind("what happened: to what")
            for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
                assert type(twin) is kind
                assert str(twin) == "what happened: to what"


def run(code: str, *arguments: str) -> str:
    """A fresh interpreter's output."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_vicinal_imports_nothing_heavy() -> None:
    loaded = run("import sys, vicinal; print(*{name.partition('.')[0] for name in sys.modules})").split()
    assert set(loaded).isdisjoint(HEAVY)


def test_listing_the_names_imports_nothing_heavy() -> None:
    code = "import sys, vicinal; dir(vicinal); vicinal.__version__; print(*{n.partition('.')[0] for n in sys.modules})"
    assert set(run(code).split()).isdisjoint(HEAVY)


def test_encoding_imports_no_torch(tmp_path: Path) -> None:
    """Nor what would ask the network."""
    folder = tiny.write_bert(tmp_path / "model")
    code = """
import sys
from vicinal import SentenceTransformer, quantize_embeddings, util
model = SentenceTransformer(sys.argv[1], dtype="float32")
vectors = model.encode(["red apple", "tax"] * 300)
model.similarity(vectors, vectors); list(model.encode_iter(["red"])); model.fingerprint
model.save(sys.argv[2]); util.semantic_search(vectors[:2], vectors)
print(*{name.partition(".")[0] for name in sys.modules})
"""
    loaded = set(run(code, str(folder), str(tmp_path / "saved")).split())
    assert loaded.isdisjoint(
        {"torch", "transformers", "huggingface_hub", "requests", "httpx", "pandas", "sentence_transformers"}
    )
    assert {"numpy", "tokenizers", "openvino"} <= loaded


def test_a_static_model_imports_no_openvino(tmp_path: Path) -> None:
    folder = tiny.write_static(tmp_path / "model")
    code = """
import sys
from vicinal import SentenceTransformer
SentenceTransformer(sys.argv[1]).encode(["red apple", "tax"])
print(*{name.partition(".")[0] for name in sys.modules})
"""
    assert set(run(code, str(folder)).split()).isdisjoint({"openvino", "torch", "transformers", "huggingface_hub"})


def traced(work: Callable[[], Any]) -> list[str]:
    """Every call of a function of vicinal's, in order: "file:function"."""
    calls: list[str] = []

    def seen(frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT)) and not code.co_name.startswith("<"):
            calls.append(f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_name}")

    threading.setprofile(seen)
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return calls


@pytest.mark.parametrize("bundled", [False, True])
def test_the_way_of_a_text_is_short(tmp_path: Path, bundled: bool) -> None:
    model = vicinal.SentenceTransformer(None if bundled else tiny.write_bert(tmp_path / "model"))
    texts = [f"the tax {i} of the law {i * 7 % 5}" for i in range(32)]
    model.encode(texts[0])
    model.encode(texts)
    one, many = traced(lambda: model.encode(texts[0])), traced(lambda: model.encode(texts))
    functions = set(one)
    assert len(functions) <= 12, sorted(functions)
    assert len({name.partition(":")[0] for name in functions}) <= 6, sorted(functions)
    assert len(one) <= 24, one
    assert len(many) <= 80, many
    assert one[0] == "sentence_transformer.py:encode"


def test_a_static_models_calls_do_not_grow_with_the_texts(tmp_path: Path) -> None:
    model = vicinal.SentenceTransformer(tiny.write_static(tmp_path / "model"))
    texts = [f"the tax {i} of the law {i * 7 % 5}" for i in range(32)]
    model.encode(texts)
    assert len(traced(lambda: model.encode(texts))) <= len(traced(lambda: model.encode(texts[0]))) + 8
