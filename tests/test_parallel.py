"""Several processes give what one gives; a process that dies ends the call."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from vicinal import SentenceTransformer
from vicinal.errors import InvalidInput, SpaceMismatch, TextTooLong, TruncationWarning, Unavailable, WorkerDied
from vicinal.parallel import WorkerPool

TEXTS = [" ".join(["red", "green", "apple", "tax", "law"][: i % 5 + 1] * (i % 3 + 1)) + f" {i}" for i in range(97)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return SentenceTransformer(tiny.write_bert(tmp_path_factory.mktemp("model")), dtype="float32")


@pytest.fixture(scope="module")
def pool(model: SentenceTransformer) -> Iterator[WorkerPool]:
    with model.start_multi_process_pool(["cpu", "cpu"]) as pool:
        yield pool


quiet = pytest.mark.filterwarnings("ignore::vicinal.errors.TruncationWarning")


@quiet
def test_the_vectors_are_those_of_one_process(model: SentenceTransformer, pool: WorkerPool) -> None:
    wanted = model.encode(TEXTS)
    for chunk in (None, 1, 10, 1000):
        np.testing.assert_allclose(model.encode(TEXTS, pool=pool, chunk_size=chunk), wanted, atol=1e-6)
    np.testing.assert_allclose(model.encode_multi_process(TEXTS, pool), wanted, atol=1e-6)
    options = {"normalize_embeddings": True, "truncate_dim": 7, "prompt": "the "}
    found = model.encode(TEXTS, pool=pool, **options)
    np.testing.assert_allclose(found, model.encode(TEXTS, **options), atol=1e-6)
    assert model.encode("red", pool=pool).shape == (tiny.WIDTH,)
    assert model.encode([], pool=pool).shape == (0, tiny.WIDTH)
    assert model.encode(TEXTS, pool=pool, precision="binary").dtype == np.int8


@quiet
def test_callers_get_their_own_rows(model: SentenceTransformer, pool: WorkerPool) -> None:
    parts = [TEXTS[i::7] for i in range(7)]
    wanted = [model.encode(part) for part in parts]
    with ThreadPoolExecutor(7) as threads:
        found = list(threads.map(lambda part: model.encode(part, pool=pool, chunk_size=2), parts))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_what_a_call_tells_has_the_callers_rows(model: SentenceTransformer, pool: WorkerPool) -> None:
    texts = [*["red"] * 30, "tax " * 60]
    with pytest.warns(TruncationWarning, match=r"row 30 \(62 tokens\)"):
        model.encode(texts, pool=pool, chunk_size=4)
    with pytest.raises(TextTooLong, match="row 30"):
        model.encode(texts, pool=pool, chunk_size=4, truncation="error")
    with pytest.raises(InvalidInput, match="row 30 holds half of a surrogate pair"):
        model.encode([*texts[:30], "bro\ud800ken"], pool=pool, chunk_size=4)
    assert model.encode(["red"], pool=pool).shape == (1, tiny.WIDTH)  # an error of a call leaves the pool whole


def test_settings_travel_with_the_call(tmp_path: Path) -> None:
    model = SentenceTransformer(tiny.write_bert(tmp_path / "m"), dtype="float32")
    with model.start_multi_process_pool(["cpu"]) as pool:
        model.max_seq_length = 5
        model.prompts = {"q": "law "}
        with pytest.warns(TruncationWarning, match="this model's 5 tokens"):
            found = model.encode(["red tax law apple green"], pool=pool, prompt_name="q")
        with pytest.warns(TruncationWarning):
            np.testing.assert_allclose(found, model.encode(["red tax law apple green"], prompt_name="q"), atol=1e-6)


@quiet
def test_a_pool_of_one_call(model: SentenceTransformer) -> None:
    np.testing.assert_allclose(model.encode(TEXTS[:9], device=["cpu", "cpu"]), model.encode(TEXTS[:9]), atol=1e-6)


def test_the_event_loop_goes_on(model: SentenceTransformer) -> None:
    async def both() -> list[np.ndarray]:
        return await asyncio.gather(model.aencode("red"), model.aencode(["tax", "law"], normalize_embeddings=True))

    one, two = asyncio.run(both())
    np.testing.assert_allclose(one, model.encode("red"), atol=1e-6)
    np.testing.assert_allclose(two, model.encode(["tax", "law"], normalize_embeddings=True), atol=1e-6)


def children() -> set[int]:
    """Processes of this one that are running."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(") ")[2].split()[:2]
            command = (path.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z" and "spawn_main" in command:
            found.add(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("seed", range(int(os.environ.get("VICINAL_TEST_KILLS", "2"))))
def test_a_killed_worker_ends_the_call(model: SentenceTransformer, seed: int) -> None:
    """At a random moment of a long call; VICINAL_TEST_KILLS=50 is the long form."""
    before = children()
    pool = model.start_multi_process_pool(["cpu", "cpu"])
    workers = sorted(children() - before)
    assert len(workers) == 2
    texts = [f"{text} {i}" for i in range(400) for text in TEXTS]
    draw = random.Random(seed)
    timer = threading.Timer(draw.uniform(0, 0.5), os.kill, (draw.choice(workers), signal.SIGKILL))
    begin = time.monotonic()
    timer.start()
    with pytest.raises(WorkerDied, match="a process of the pool ended before it gave its results"):
        model.encode(texts, pool=pool, chunk_size=20, truncation="ignore")
    assert time.monotonic() - begin < 10
    assert children() <= before
    with pytest.raises(ValueError, match="this pool is closed; start another"):
        model.encode("red", pool=pool)


@quiet
def test_a_pool_of_another_model(model: SentenceTransformer, pool: WorkerPool, tmp_path: Path) -> None:
    """Its vectors are never given as this one's; a copy with other lengths and prompts is the same model."""
    other = SentenceTransformer(tiny.write_bert(tmp_path / "m", tensors=tiny.bert_tensors(seed=5)), dtype="float32")
    with pytest.raises(SpaceMismatch, match="hold another model"):
        other.encode(["red"], pool=pool)
    small = SentenceTransformer(tiny.write_bert(tmp_path / "same"), dtype="int8")
    with pytest.raises(SpaceMismatch, match=r"compute at float32 on openvino, but .* at int8 on openvino"):
        small.encode(["red"], pool=pool)
    again = SentenceTransformer(tmp_path / "same", dtype="float32", prompts={"q": "law "})
    again.max_seq_length = 7
    np.testing.assert_allclose(again.encode(TEXTS, pool=pool), again.encode(TEXTS), atol=1e-6)


@quiet
def test_models_in_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = tiny.write_bert(tmp_path / "m")
    model = SentenceTransformer(folder, backend="torch", dtype="float32")
    with model.start_multi_process_pool(["cpu", "cpu"]) as pool:
        np.testing.assert_allclose(model.encode(TEXTS, pool=pool), model.encode(TEXTS), atol=1e-6)
        with torch.no_grad():
            next(model.parameters()).mul_(0.5)
        with pytest.raises(SpaceMismatch, match="as it was before"):
            model.encode(TEXTS, pool=pool)
    with pytest.raises(Unavailable, match="device='cuda:7' is not to be had here"):
        model.start_multi_process_pool(["cuda:7"])
    fast = SentenceTransformer(folder, dtype="float32")
    with torch.no_grad():
        next(fast.parameters()).mul_(0.5)
    assert fast.refresh().backend == "openvino"
    found = fast.encode(TEXTS, device=["cpu"])
    np.testing.assert_allclose(found, fast.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(found, model.encode(TEXTS), atol=1e-5)


def test_a_pool_that_is_closed_during_a_call(model: SentenceTransformer) -> None:
    pool = model.start_multi_process_pool(["cpu"])
    threading.Timer(0.2, pool.close).start()
    with pytest.raises(ValueError, match="this pool was closed before it gave all results"):
        model.encode([f"{text} {i}" for i in range(2000) for text in TEXTS], pool=pool, chunk_size=20)


def test_a_pool_that_nobody_holds_ends(model: SentenceTransformer) -> None:
    before = children()
    pool = model.start_multi_process_pool(["cpu"])
    assert len(children()) == len(before) + 1
    del pool
    gc.collect()
    assert children() <= before


def test_refused(model: SentenceTransformer, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"pool must come from start_multi_process_pool\(\), not be a dict"):
        model.encode("red", pool={})
    with pytest.raises(ValueError, match="a pool needs at least one device"):
        model.start_multi_process_pool([])
    with pytest.raises(Unavailable, match="device='cuda:1', but this model is on cpu"):
        model.encode("red", device=["cpu", "cuda:1"])
    with pytest.raises(ValueError, match="chunk_size must be a positive integer or None, not 0"):
        model.encode("red", pool=object(), chunk_size=0)
    with pytest.raises(ValueError, match="pool: only for output_value='sentence_embedding'"):
        model.encode("red", pool=object(), output_value="token_embeddings")


def test_tensors_that_are_not_the_files_travel_themselves(tmp_path: Path) -> None:
    """A model whose files change under it is not what its workers would map."""
    folder = tiny.write_bert(tmp_path / "m")
    model = SentenceTransformer(folder, dtype="float32")
    wanted = model.encode("red law")
    tiny.write_bert(folder, tensors=tiny.bert_tensors(seed=5))
    with model.start_multi_process_pool(["cpu"]) as pool:
        np.testing.assert_allclose(model.encode("red law", pool=pool), wanted, atol=1e-6)
