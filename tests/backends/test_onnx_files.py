"""Files that ONNX Runtime runs by itself, against `transformers` on padded batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.networks import harness
from vicinal.backends import onnx_files
from vicinal.backends.onnx import ort
from vicinal.loading.spec import Normalize, Pooling, Route, Transformer
from vicinal.loading.weights import Scope, Tensor
from vicinal.networks.heads import graph

transformers = pytest.importorskip("transformers")

SMALL: dict[str, Any] = {
    "vocab_size": 53, "hidden_size": 22, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 37,
    "max_position_embeddings": 31,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "Bert": SMALL,
    "Roberta": SMALL,
    "MPNet": SMALL,
    "DistilBert": {"vocab_size": 53, "dim": 22, "n_heads": 2, "n_layers": 2, "hidden_dim": 37},
    "Albert": {**SMALL, "embedding_size": 13},
    "ModernBert": {
        **SMALL,
        "hidden_size": 24,
        "local_attention": 6,
        "pad_token_id": 0,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
    "Qwen2": {**SMALL, "hidden_size": 24, "num_key_value_heads": 1},
}
MODES = ("mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
ROWS = [[7, 1, 40, 41, 1, 9], [5], [11, 12, 1], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 52]]


def written(path: Path, case: harness.Case, modes: tuple[str, ...], dtype: Any = "float32") -> Any:
    """A session of the file of a case's network and pooling."""
    scope = Scope({f"/{name}": Tensor.of(name, array) for name, array in case.tensors.items()})
    transformer = Transformer(case.config["model_type"], case.config, case.parsed)
    width = case.parsed.hidden_size
    route = Route((transformer, Pooling(width, modes), Normalize()), ("", "1", "2"), None)
    outputs = ("token_embeddings", "sentence_embedding")
    names = {"token_embeddings": "states", "sentence_embedding": "vector"}
    onnx_files.write_model(path, graph(route, scope, outputs), dtype, transformer.uncounted, names)
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def made(kind: str) -> harness.Case:
    config, model = (getattr(transformers, f"{kind}{part}") for part in ("Config", "Model"))
    return harness.case(config, model, **KINDS[kind])


def feeds(session: Any, left: bool = False, seed: int = 3) -> dict[str, Any]:
    """ROWS as a batch, padded with tokens that must not matter."""
    length = max(map(len, ROWS)) + 2
    ids = np.random.default_rng(seed).integers(3, 53, (len(ROWS), length))
    mask = np.zeros_like(ids)
    for i, row in enumerate(ROWS):
        place = slice(length - len(row), None) if left else slice(len(row))
        ids[i, place], mask[i, place] = row, 1
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": mask * 0}
    return {entry.name: given[entry.name].astype(np.int64) for entry in session.get_inputs()}


def reference(case: harness.Case) -> list[Any]:
    """Token states of each row by itself at float64."""
    import torch

    with torch.no_grad():
        return [case.model(input_ids=torch.tensor([row])).last_hidden_state[0].numpy() for row in ROWS]


def pooled(states: Any, mode: str) -> Any:
    n = len(states)
    return {
        "mean": lambda: states.mean(0), "cls": lambda: states[0], "max": lambda: states.max(0),
        "lasttoken": lambda: states[-1], "mean_sqrt_len_tokens": lambda: states.sum(0) / n**0.5,
        "weightedmean": lambda: (states * np.arange(1, n + 1)[:, None]).sum(0) / np.arange(1, n + 1).sum(),
    }[mode]()  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_states_and_vectors(kind: str, tmp_path: Path) -> None:
    case = made(kind)
    session = written(tmp_path / "model.onnx", case, MODES)
    given, states = feeds(session), reference(case)
    found, vectors = session.run(["states", "vector"], given)
    largest = max(np.abs(rows).max() for rows in states)
    for row, rows in zip(found, states, strict=True):
        assert np.abs(row[: len(rows)] - rows).max() < harness.CLOSE * largest
    wanted = np.stack([np.concatenate([pooled(rows, mode) for mode in MODES]) for rows in states])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, wanted, atol=harness.CLOSE)
    assert given.keys() <= set(onnx_files.PUBLIC)
    assert ("token_type_ids" in given) == (kind in ("Bert", "Roberta", "Albert"))


@pytest.mark.parametrize("kind", ["Bert", "Qwen2", "MPNet"])
def test_padding_on_the_left(kind: str, tmp_path: Path) -> None:
    """The same text, wherever it stands in its row: a causal network must not see what stands before it."""
    session = written(tmp_path / "model.onnx", made(kind), MODES)
    (vectors, states), (moved, shifted) = (
        session.run(["vector", "states"], feeds(session, side)) for side in (False, True)
    )
    np.testing.assert_allclose(moved, vectors, atol=1e-6)
    for row, there, other in zip(ROWS, states, shifted, strict=True):
        np.testing.assert_allclose(other[-len(row) :], there[: len(row)], atol=1e-5)


def test_nothing_is_said_about_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No parts that nothing reads, of which ONNX Runtime would complain."""
    written(tmp_path / "model.onnx", made("Bert"), ("mean",))
    said = capfd.readouterr()
    assert said.out + said.err == ""


def test_large_weights_lie_in_a_second_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = made("Bert")
    whole = written(tmp_path / "a" / "model.onnx", case, ("mean",))
    monkeypatch.setattr(onnx_files, "_INSIDE", 1000)
    parted = written(tmp_path / "b" / "model.onnx", case, ("mean",))
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["model.onnx"]
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == ["model.onnx", "model.onnx_data"]
    assert (tmp_path / "b" / "model.onnx").stat().st_size < (tmp_path / "a" / "model.onnx").stat().st_size
    given = feeds(whole)
    np.testing.assert_array_equal(whole.run(["vector"], given)[0], parted.run(["vector"], given)[0])
    onnx_files.optimise(tmp_path / "b" / "model.onnx", tmp_path / "c" / "fast.onnx", "O2")
    assert sorted(file.name for file in (tmp_path / "c").iterdir()) == ["fast.onnx", "fast.onnx_data"]
    fast = ort.InferenceSession(str(tmp_path / "c" / "fast.onnx"))
    np.testing.assert_allclose(fast.run(["vector"], given)[0], whole.run(["vector"], given)[0], atol=1e-6)


def test_half_precision_is_kept_in_the_file(tmp_path: Path) -> None:
    case = made("Bert")
    halves = {name: array.astype(np.float16) for name, array in case.tensors.items()}
    wide = {name: array.astype(np.float32) for name, array in halves.items()}
    sizes, vectors = [], []
    for i, tensors in enumerate((halves, wide)):
        path = tmp_path / f"{i}.onnx"
        session = written(path, harness.Case(case.model, case.config, tensors), ("mean",))
        sizes.append(path.stat().st_size)
        vectors.append(session.run(["vector"], feeds(session))[0])
    np.testing.assert_array_equal(*vectors)
    assert sizes[0] < sizes[1] - 15_000


def test_int8_is_near(tmp_path: Path) -> None:
    case = made("Bert")
    exact = written(tmp_path / "a.onnx", case, ("mean",))
    small = written(tmp_path / "b.onnx", case, ("mean",), "int8")
    a, b = (session.run(["vector"], feeds(session))[0] for session in (exact, small))
    assert 0.99 < (a * b).sum(1).min() < 1 - 1e-7


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def broken(ops: Any, x: Any) -> Any:
        return {"token_embeddings": ops.node("Cast", x["ids"], to=1) + ops.constant(Tensor.of("w", np.zeros(3, "f4")))}

    with pytest.raises(KeyError):
        onnx_files.write_model(path, broken, "float32", None, {})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
