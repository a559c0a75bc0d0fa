"""Streams of texts, and calls from several threads."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.sentence_transformer.texts import LONG, TEXTS, WORDS, assert_near, load, sentences
from vicinal import SentenceTransformer
from vicinal.errors import (
    InvalidInput,
    TextTooLong,
)

# ---- streams --------------------------------------------------------------------------------------------------------


def test_a_stream(shared: SentenceTransformer, alone: np.ndarray) -> None:
    found = list(shared.encode_iter(text for text in TEXTS))
    assert_near(np.stack(found), alone)
    assert list(shared.encode_iter([])) == []
    cut = np.stack(list(shared.encode_iter(TEXTS, truncate_dim=5, normalize_embeddings=True)))
    assert_near(cut, shared.encode(TEXTS, truncate_dim=5, normalize_embeddings=True))


def test_a_stream_is_in_order(static: SentenceTransformer) -> None:
    texts = sentences(5500)
    assert_near(np.stack(list(static.encode_iter(iter(texts)))), static.encode(texts), 0)


def test_a_stream_without_end_is_drawn_a_bounded_number_ahead(static: SentenceTransformer) -> None:
    drawn = 0

    def endless() -> Iterator[str]:
        nonlocal drawn
        for i in count():
            drawn += 1
            yield f"red {i % 1000}"

    vectors = static.encode_iter(endless())
    assert drawn == 0
    for i, _ in enumerate(islice(vectors, 12_000)):
        assert drawn - i <= 10_000
    vectors.close()  # type: ignore[attr-defined]


def test_a_stream_needs_constant_memory(static: SentenceTransformer) -> None:
    def peak(n: int) -> int:
        tracemalloc.start()
        for _ in static.encode_iter(" ".join(WORDS[i // 10**k % 10] for k in range(5)) for i in range(n)):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(5000)
    assert peak(20_000) < 1.5 * peak(5000)


def test_a_stream_names_rows_of_the_whole(shared: SentenceTransformer) -> None:
    texts = ["red"] * 4096 + ["tax", LONG]
    with pytest.raises(TextTooLong, match=r"row 4097 \(42 tokens\)"):
        list(shared.encode_iter(texts, truncation="error"))
    with pytest.raises(InvalidInput, match="row 4098 is None"):
        list(shared.encode_iter([*texts, None], truncation="ignore"))


@pytest.mark.parametrize("n", [1, 1024, 4096])
def test_a_stream_of_texts_and_pairs_is_refused(n: int, static: SentenceTransformer) -> None:
    with pytest.raises(InvalidInput, match=rf"row {n} is a pair, row 0 is .*: give one kind a call"):
        list(static.encode_iter(["red"] * n + [("red", "tax")] * 300))


def test_a_stream_refuses_a_single_text(shared: SentenceTransformer) -> None:
    with pytest.raises(InvalidInput, match="for a single text use encode"):
        list(shared.encode_iter("red apple"))


def test_a_stream_that_is_left_gives_everything_back(model: SentenceTransformer) -> None:
    for _ in range(8):  # more than there are requests
        vectors = model.encode_iter(sentences(700))
        next(vectors)
        del vectors
    with pytest.raises(KeyError):
        list(model.encode_iter(_breaking()))
    assert model.encode(TEXTS).shape == (len(TEXTS), tiny.WIDTH)


def _breaking() -> Iterator[str]:
    yield from sentences(600)
    raise KeyError("mine")


def test_a_batch_that_fails_gives_its_request_back(model: SentenceTransformer) -> None:
    (program,) = model._engine._programs.values()
    for _ in range(8):
        with pytest.raises(KeyError):
            program.start({}, False)
    assert model.encode("red").shape == (tiny.WIDTH,)


# ---- threads --------------------------------------------------------------------------------------------------------


def at_once(works: list[Any]) -> list[BaseException]:
    """Run functions in threads that start together; what they raise."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(works))

    def run(work: Any) -> None:
        barrier.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # the thread that waits raises it
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "threads block one another"
    return errors


def test_threads_get_their_own_rows(shared: SentenceTransformer) -> None:
    def worker(n: int) -> Any:
        texts = sentences(60, seed=n)
        wanted = shared.encode(texts)

        def work() -> None:
            for batch_size in (1, None, 7):
                assert_near(shared.encode(texts, batch_size=batch_size), wanted)
            assert_near(np.stack(list(shared.encode_iter(texts))), wanted)

        return work

    assert at_once([worker(n) for n in range(16)]) == []


def test_threads_that_compile_the_same_graph(folder: Path) -> None:
    model = load(folder)
    found: list[np.ndarray] = []
    assert at_once([lambda: found.append(model.encode("red", output_value="token_embeddings"))] * 8) == []
    assert len({states.tobytes() for states in found}) == 1


def test_a_call_works_with_the_settings_that_it_began_with(model: SentenceTransformer) -> None:
    """Settings change in one thread while another encodes: every matrix is of one setting from first to last row."""
    texts = sentences(400)
    wanted = {dims: model.encode(texts, truncate_dim=dims) for dims in (5, tiny.WIDTH)}
    done = threading.Event()

    def change() -> None:
        for dims in [5, None] * 100:
            model.truncate_dim = dims
        done.set()

    def work() -> None:
        while not done.is_set():
            found = model.encode(texts)
            assert_near(found, wanted[found.shape[1]])

    assert at_once([change, work, work]) == []


def test_setters_in_two_threads_lose_nothing(model: SentenceTransformer) -> None:
    """Each setter replaces the whole spec: one must not undo another's change."""

    def lengths() -> None:
        for i in range(2000):
            model.max_seq_length = 5 + i % 7
            assert model.max_seq_length == 5 + i % 7

    def dims() -> None:
        for i in range(2000):
            model.truncate_dim = 3 + i % 11
            assert model.truncate_dim == 3 + i % 11

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert at_once([lengths, dims]) == []
    finally:
        sys.setswitchinterval(interval)
