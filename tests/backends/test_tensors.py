"""Tensors given to the functions of `vicinal.util`, on the CPU and, where there is one, on an accelerator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.similarity import brute
from vicinal import util
from vicinal.errors import DimensionMismatch, NonFiniteEmbedding
from vicinal.similarity import arrays, topk

torch = pytest.importorskip("torch", reason="tensors are torch's")
tensors = pytest.importorskip("vicinal.backends.torch.tensors", reason="tensors are torch's")

GRIDS = ["cos_sim", "dot_score", "euclidean_sim", "manhattan_sim"]
PAIRWISE = [f"pairwise_{name}" for name in GRIDS] + ["pairwise_angle_sim"]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
PLACES = [*DEVICES, "elsewhere"]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def peer() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent.parent / "fixtures" / "similarity.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("device", DEVICES, indirect=True)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", GRIDS + PAIRWISE)
def test_scores_are_those_of_arrays(name: str, dtype: str, device: str) -> None:
    a, b = (normal(seed, 5, 8).astype(dtype) for seed in (1, 2))
    expected = getattr(util, name)(a, b)
    x, y = (torch.tensor(side, device=device) for side in (a, b))
    for first, second in [(x, y), (x, b), (a, y), (list(x), b), (x.cpu(), y)]:
        found = getattr(util, name)(first, second)
        assert isinstance(found, torch.Tensor)
        assert str(found.dtype) == f"torch.{dtype}"
        assert found.device.type == device
        np.testing.assert_allclose(found.cpu().numpy(), expected, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("name", GRIDS)
def test_scores_are_the_peers(name: str, peer: dict[str, np.ndarray]) -> None:
    found = getattr(util, name)(torch.tensor(peer["a"]), torch.tensor(peer["b"]))
    np.testing.assert_allclose(found.numpy(), peer[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", GRIDS + PAIRWISE)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int64", "float8_e4m3fn"])
def test_narrow_types_are_computed_in_float32(name: str, dtype: str) -> None:
    x = torch.tensor([[1.0, -2.0, 3.0], [4.0, 0.0, -1.0]])
    found = getattr(util, name)(x.to(getattr(torch, dtype)), x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, getattr(util, name)(x, x))


@pytest.mark.parametrize("name", GRIDS + PAIRWISE)
def test_gradients_flow(name: str) -> None:
    a, b = (torch.tensor(normal(seed, 3, 4), dtype=torch.float64, requires_grad=True) for seed in (3, 4))
    assert torch.autograd.gradcheck(getattr(util, name), (a, b))


@pytest.mark.parametrize("name", ["cos_sim", "euclidean_sim", "pairwise_cos_sim", "pairwise_euclidean_sim"])
def test_gradients_of_zero_vectors_are_finite(name: str) -> None:
    a = torch.zeros((2, 3), requires_grad=True)
    getattr(util, name)(a, torch.zeros((2, 3))).sum().backward()
    assert torch.isfinite(a.grad).all()


def test_zero_vectors_and_long_ones() -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert util.cos_sim(x, x).tolist() == [[0.0, 0.0], [0.0, pytest.approx(1.0)]]
    assert util.normalize_embeddings(x)[0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(util.normalize_embeddings(x).numpy(), [[0.0, 0.0], [0.6, 0.8]], atol=1e-7)
    assert util.cos_sim(x[1] * 1e-15, x[1]).item() == pytest.approx(1.0)


def test_near_vectors_do_not_cancel() -> None:
    a = normal(5, 40, 64) + 100
    b = (a + 1e-3 * normal(6, 40, 64)).astype(np.float32)
    expected = -np.sqrt(np.square(a.astype(np.float64)[:, None] - b).sum(axis=2))
    np.testing.assert_allclose(util.euclidean_sim(torch.tensor(a), torch.tensor(b)).numpy(), expected, rtol=1e-6)


def test_shapes() -> None:
    x = torch.ones(3)
    assert util.cos_sim(x, torch.ones((2, 3))).shape == (1, 2)
    assert util.pairwise_cos_sim(x, x).shape == (1,)
    assert util.cos_sim(torch.empty(0), torch.ones((2, 3))).shape == (0, 2)
    with pytest.raises(DimensionMismatch, match=r"a has shape \(1, 3\), b has shape \(2, 4\)"):
        util.cos_sim(x, torch.ones((2, 4)))
    with pytest.raises(TypeError, match=r"vectors must hold real numbers, not torch.complex64"):
        util.cos_sim(torch.ones(3, dtype=torch.complex64), x)


def test_sparse_tensors_count_as_dense() -> None:
    x = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
    for sparse in (x.to_sparse(), [row.to_sparse() for row in x]):
        torch.testing.assert_close(util.dot_score(sparse, x), x @ x.T)
        assert util.semantic_search(sparse, x) == util.semantic_search(x, x)


def test_truncate() -> None:
    x = torch.arange(8.0).reshape(2, 4)
    found = util.truncate_embeddings(x, 2)
    assert found.tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert found.data_ptr() == x.data_ptr()


@pytest.fixture
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device; "elsewhere" is the CPU that passes for an accelerator, so that products are left to torch."""
    if request.param == "elsewhere":
        monkeypatch.setattr(tensors, "on_cpu", lambda tensor: False)
        return "cpu"
    return str(request.param)


@pytest.mark.parametrize("device", PLACES, indirect=True)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", brute.FUNCTIONS)
def test_search(name: str, dtype: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk, "_TILE_BYTES", 4 * 16 * 50)
    fast, slow = brute.FUNCTIONS[name]
    queries, corpus = (torch.tensor(normal(seed, n, 16)).to(getattr(torch, dtype)) for seed, n in ((7, 3), (8, 400)))
    hits = util.semantic_search(queries.to(device), corpus.to(device), top_k=9, score_function=fast)
    expected = slow(queries.double().numpy(), corpus.double().numpy())
    assert [[hit["corpus_id"] for hit in found] for found in hits] == brute.search(expected, 9)
    host = util.semantic_search(queries, corpus, top_k=9, score_function=fast)
    assert hits == host


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_search_on_two_sides(device: str) -> None:
    queries, corpus = normal(9, 4, 8), normal(10, 60, 8)
    expected = util.semantic_search(queries, corpus)
    x, y = torch.tensor(queries, device=device), torch.tensor(corpus, device=device)
    assert util.semantic_search(x, corpus) == expected
    assert util.semantic_search(queries, y) == expected
    assert util.semantic_search(x.cpu(), y) == expected
    assert util.semantic_search(list(x), list(y)) == expected
    assert util.semantic_search(x[0], y) == expected[:1]


@pytest.mark.parametrize("device", PLACES, indirect=True)
def test_extreme_and_bad_rows(device: str) -> None:
    corpus = normal(11, 200, 8).astype(np.float64) * np.geomspace(1e-60, 1e60, 200)[:, None]
    corpus[5] = 0
    queries = normal(12, 3, 8)
    found = util.semantic_search(queries, torch.tensor(corpus, device=device), top_k=200)
    assert found == util.semantic_search(queries, corpus, top_k=200)
    corpus[17, 3] = np.nan
    with pytest.raises(NonFiniteEmbedding, match="corpus_embeddings holds nan or infinity in row 17: such"):
        util.semantic_search(queries, torch.tensor(corpus, device=device))


@pytest.mark.parametrize("device", PLACES, indirect=True)
@pytest.mark.parametrize("returns", ["tensor", "array", "with gradient"])
def test_own_function_is_given_tensors(returns: str, device: str) -> None:
    given: list[Any] = []

    def score(a: Any, b: Any) -> Any:
        given.extend([a, b])
        scores = torch.mm(a, b.T)
        if returns == "array":
            return scores.cpu().numpy()
        return scores.requires_grad_() if returns == "with gradient" else scores

    queries, corpus = normal(13, 4, 8), normal(14, 60, 8)
    expected = [
        [hit["corpus_id"] for hit in found]
        for found in util.semantic_search(queries, corpus, score_function=util.dot_score)
    ]
    x, y = torch.tensor(queries, device=device), torch.tensor(corpus, device=device)
    for a, b in [(x, y), (queries, y), (x, corpus), (x.half(), y)]:
        hits = util.semantic_search(a, b, corpus_chunk_size=17, score_function=score)
        if a.dtype != torch.float16:
            assert [[hit["corpus_id"] for hit in found] for found in hits] == expected
    assert all(isinstance(value, torch.Tensor) for value in given)


def test_own_function_is_given_arrays() -> None:
    def score(a: np.ndarray, b: np.ndarray) -> Any:
        assert isinstance(a, np.ndarray)
        assert isinstance(b, np.ndarray)
        return torch.from_numpy(a @ b.T)

    queries, corpus = normal(13, 4, 8), normal(14, 60, 8)
    found = util.semantic_search(queries, corpus, score_function=score)
    assert [len(hits) for hits in found] == [10] * 4


@pytest.mark.parametrize("device", PLACES, indirect=True)
def test_mining_and_communities(device: str, peer: dict[str, np.ndarray]) -> None:
    mined = torch.tensor(peer["mined"], device=device)
    assert util.paraphrase_mining_embeddings(mined, 7, 13) == util.paraphrase_mining_embeddings(peer["mined"])
    clustered = torch.tensor(peer["clustered"], device=device)
    found = util.community_detection(clustered, 0.6, 3, 40)
    assert found == util.community_detection(peer["clustered"], 0.6, 3)
    assert len(found) > 2


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_quantization_returns_arrays(kind: str, peer: dict[str, np.ndarray]) -> None:
    x = torch.tensor(peer["unquantized"].astype(kind), requires_grad=True)
    expected = peer[f"quantized_{kind}_int8_own"]
    for form in (x, list(x)):
        found = util.quantize_embeddings(form, "int8")
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.int8
        assert found.tolist() == expected.tolist()
    sample = torch.tensor(peer["calibration"].astype(kind))
    found = util.quantize_embeddings(x, "uint8", calibration_embeddings=sample)
    assert found.tolist() == peer[f"quantized_{kind}_uint8_calibrated"].tolist()
    found = util.quantize_embeddings(x, "uint8", ranges=torch.stack([sample.amin(0), sample.amax(0)]))
    assert found.tolist() == peer[f"quantized_{kind}_uint8_ranges"].tolist()
    parts = util.quantize_embeddings([x[:60], x[60:]], "int8")
    assert np.concatenate(parts).tolist() == expected.tolist()


def test_quantization_of_bfloat16() -> None:
    x = torch.tensor(normal(15, 120, 8)).bfloat16()
    assert (util.quantize_embeddings(x, "int8") == util.quantize_embeddings(x.float().numpy(), "int8")).all()


def test_is_tensor() -> None:
    class Own(torch.Tensor):
        pass

    assert arrays.is_tensor(torch.ones(1))
    assert arrays.is_tensor(torch.nn.Parameter(torch.ones(1)))
    assert arrays.is_tensor(torch.ones(1).as_subclass(Own))
    assert not arrays.is_tensor(np.ones(1))
    assert not arrays.is_tensor(torch)


def test_to_tensor_shares_what_it_can() -> None:
    array = normal(16, 2, 3)
    assert tensors.to_tensor(array).data_ptr() == array.ctypes.data
    array.flags.writeable = False
    copied = tensors.to_tensor(array)
    assert copied.data_ptr() != array.ctypes.data
    assert copied.tolist() == array.tolist()
    assert tensors.to_tensor(array[:, ::-1]).tolist() == array[:, ::-1].tolist()
    assert tensors.to_tensor(array.astype(">f8")).dtype == torch.float64


def test_to_numpy_shares_what_it_can() -> None:
    x = torch.ones((2, 3), requires_grad=True)
    assert tensors.to_numpy(x).ctypes.data == x.data_ptr()
    assert tensors.to_numpy(x.bfloat16()).dtype == np.float32
    assert tensors.to_numpy(x.half()).dtype == np.float16
