from __future__ import annotations

import copy
import json
import pickle
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import tiny
from tests.store.cache.conftest import Memory
from vicinal import SentenceTransformer
from vicinal import model as module
from vicinal.errors import (
    CacheWarning,
    InvalidInput,
    NonFiniteEmbedding,
    TextTooLong,
    TruncationWarning,
    ZeroVectorWarning,
)
from vicinal.store.cache import EmbeddingCache, SQLiteCache

Watch = Callable[[SentenceTransformer], list[Any]]
TEXTS = ["red apple", "green apple", "the tax law", "red", "law", "red apple"]
PAIRS = [("red", "apple"), ("tax", "law"), ("red", "apple"), ("red apple", "")]


def cached(model: SentenceTransformer, cache: Any) -> SentenceTransformer:
    """A twin of a model, with a cache."""
    twin = copy.deepcopy(model)
    twin.cache = cache
    return twin


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "normalized": {"normalize_embeddings": True},
    "cut": {"truncate_dim": 5},
    "cut and normalized": {"truncate_dim": 5, "normalize_embeddings": True},
    "prompted": {"prompt": "query: "},
    "bits": {"precision": "ubinary"},
    "small batches": {"batch_size": 1},
    "list": {"convert_to_numpy": False},
}


@pytest.mark.parametrize("inputs", [TEXTS, PAIRS, [], ["tax"], TEXTS * 2])
def test_the_result_is_that_without_a_cache(bert: SentenceTransformer, memory: Memory, inputs: list[Any]) -> None:
    model = cached(bert, memory)
    for way in [*WAYS, *WAYS]:  # first partly new, then known
        expected, found = bert.encode(inputs, **WAYS[way]), model.encode(inputs, **WAYS[way])
        assert type(found) is type(expected)
        np.testing.assert_allclose(np.array(found), np.array(expected), atol=1e-6, err_msg=way)


def test_known_texts_do_not_reach_the_tokenizer(bert: SentenceTransformer, memory: Memory, computed: Watch) -> None:
    model = cached(bert, memory)
    seen = computed(model)
    first = model.encode(TEXTS)
    assert seen == list(dict.fromkeys(TEXTS))
    for options in ({}, {"truncate_dim": 3}, {"normalize_embeddings": True}, {"batch_tokens": 8}):
        model.encode(TEXTS[::-1], **options)
    model.truncate_dim = 4
    np.testing.assert_array_equal(model.encode(TEXTS), first[:, :4])
    assert len(list(model.encode_iter(iter(TEXTS)))) == 6
    np.testing.assert_array_equal(model.encode("law"), first[4, :4])
    assert len(seen) == 5, "none of this computed anything"
    seen.clear()
    model.encode(["green", "red", "green", "apple", "red apple"])
    assert sorted(seen) == ["apple", "green"]
    assert sum(memory.put) == len(memory.rows) == 7, "every text is kept once"


def test_a_pair_is_no_text(bert: SentenceTransformer, memory: Memory, computed: Watch) -> None:
    model = cached(bert, memory)
    model.encode(["red apple", "redapple", "red", "apple"])
    seen = computed(model)
    model.encode([("red", "apple"), ("red apple", "")])
    assert len(seen) == 2


def test_what_changes_a_vector_changes_its_key(
    bert_folder: Path, bert: SentenceTransformer, memory: Memory, computed: Watch
) -> None:
    def fresh(model: SentenceTransformer, **options: Any) -> None:
        seen = computed(model)
        found = model.encode(TEXTS, **options)
        assert len(seen) == 5
        plain = copy.deepcopy(model)
        plain.cache = None
        np.testing.assert_allclose(found, plain.encode(TEXTS, **options), atol=1e-6)

    model = cached(bert, memory)
    fresh(model)
    fresh(model, prompt="query: ")
    fresh(model, prompt="query:")
    model.set_pooling_include_prompt(False)
    fresh(model, prompt="query: ")
    fresh(model, prompt="query : ")
    model = cached(bert, memory)
    model.max_seq_length = 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        fresh(model)
    for change in ({"config_kwargs": {"layer_norm_eps": 1e-2}}, {"dtype": "int8"}):
        model = SentenceTransformer(bert_folder, **{"dtype": "float32", "threads": 1, **change}, cache=memory)  # type: ignore[arg-type]
        fresh(model)
    assert len(memory.rows) == 8 * 5


def test_a_prompt_is_part_of_what_is_encoded(bert: SentenceTransformer, memory: Memory, computed: Watch) -> None:
    """The same tokens, all of them pooled: the same vector, however they were put together."""
    model = cached(bert, memory)
    one = model.encode(["apple"], prompt="red ")
    seen = computed(model)
    np.testing.assert_array_equal(model.encode(["red apple"]), one)
    assert seen == []


def test_float32_is_shared_among_backends(
    bert_folder: Path, bert: SentenceTransformer, memory: Memory, computed: Watch
) -> None:
    first = cached(bert, memory).encode(TEXTS)
    other = SentenceTransformer(bert_folder, backend="numpy", cache=memory)
    seen = computed(other)
    np.testing.assert_array_equal(other.encode(TEXTS), first)
    assert seen == []


def test_other_weights_are_another_space(tmp_path: Path, memory: Memory) -> None:
    one, two = (SentenceTransformer(tiny.write_static(tmp_path / str(i), seed=i), cache=memory) for i in range(2))
    assert not np.allclose(one.encode(TEXTS), two.encode(TEXTS))
    assert len(memory.rows) == 10


def test_a_router_keeps_its_routes_apart(
    tiny_folder: Callable[[dict[str, Any]], Path], fixtures: Path, memory: Memory
) -> None:
    cases = json.loads((fixtures / "tiny" / "cases.json").read_text("utf-8"))["cases"]
    (case,) = (case for case in cases if case["name"] == "router")
    plain = SentenceTransformer(tiny_folder(case), dtype="float32", threads=1, **case["arguments"])
    model = cached(plain, memory)
    assert len(plain.spec.routes) > 1
    for _ in range(2):
        for task in plain.spec.routes:
            expected = plain.encode(["a", "b"], task=task)
            np.testing.assert_allclose(model.encode(["a", "b"], task=task), expected, atol=1e-6)
    assert len(memory.rows) == 2 * len(plain.spec.routes)


# ---- what is said of texts is said of cached ones too --------------------------------------------------------------


def test_cut_texts_are_reported_every_time(bert: SentenceTransformer, memory: Memory, computed: Watch) -> None:
    model = cached(bert, memory)
    texts = ["red", "apple " * 30, "law", "tax " * 20]
    with pytest.warns(TruncationWarning) as first:
        model.encode(texts)
    seen = computed(model)
    with pytest.warns(TruncationWarning) as second:
        model.encode(texts)
    assert seen == []
    assert str(second[0].message) == str(first[0].message)
    assert second[0].filename == __file__
    with pytest.raises(TextTooLong, match=r"row 1 \(32 tokens\)"):
        model.encode(["red", texts[1]], truncation="error")
    model.encode(texts, truncation="ignore")


def test_zero_vectors_are_reported_every_time(static_folder: Path, memory: Memory) -> None:
    model = SentenceTransformer(static_folder, cache=memory)
    for _ in range(2):
        with pytest.warns(ZeroVectorWarning, match="row 1 is all zero"):
            assert not model.encode(["red", ""])[1].any()
    assert model.cache is not None
    assert model.cache.stats().hits == 2


def test_bad_texts_are_named(static_folder: Path, memory: Memory) -> None:
    model = SentenceTransformer(static_folder, cache=memory)
    model.encode(["red"])
    with pytest.raises(InvalidInput, match="row 1 holds half of a surrogate pair"):
        model.encode(["red", "apple \ud800"])
    with pytest.raises(InvalidInput, match=r"row 1 .*None"):
        model.encode(["red", None])


def test_broken_vectors_are_not_kept(tmp_path: Path, memory: Memory) -> None:
    folder = tiny.write_static(tmp_path / "model", normalize=False)
    model = SentenceTransformer(folder, cache=memory)
    (tensor,) = model._engine.parts.tensors.values()
    tensor.array[tiny.VOCABULARY.index("tax")] = np.nan
    with pytest.raises(NonFiniteEmbedding):
        model.encode(["red", "tax"])
    assert len(memory.rows) <= 1
    with pytest.raises(NonFiniteEmbedding):
        model.encode(["tax"])


# ---- a store in whatever state -------------------------------------------------------------------------------------


class Broken(Memory):
    """Fails where it is told to."""

    def __init__(self, reading: bool, writing: bool) -> None:
        super().__init__()
        self.reading, self.writing, self.calls = reading, writing, 0

    def get_many(self, keys: Any) -> list[bytes | None]:
        self.calls += 1
        if self.reading:
            raise ConnectionError("no route to host")
        return super().get_many(keys)

    def put_many(self, items: Any) -> None:
        self.calls += 1
        if self.writing:
            raise OSError("disk full")
        super().put_many(items)


@pytest.mark.parametrize(("reading", "reason"), [(True, "no route to host"), (False, "disk full")])
def test_a_failing_store_is_said_once_and_changes_nothing(
    bert: SentenceTransformer, reading: bool, reason: str
) -> None:
    store = Broken(reading, not reading)
    model = cached(bert, store)
    with pytest.warns(CacheWarning, match=f"{reason}.*encoding goes on without it") as warned:
        found = model.encode(TEXTS)
    assert len(warned) == 1
    assert warned[0].filename == __file__
    np.testing.assert_array_equal(found, bert.encode(TEXTS))
    calls = store.calls
    np.testing.assert_array_equal(model.encode(TEXTS), bert.encode(TEXTS))
    assert store.calls == calls, "it is left alone for a while"
    assert model.cache is not None
    assert model.cache.stats().failures == 1
    store.reading = store.writing = False
    model.cache._rests_until = 0.0
    model.encode(TEXTS)
    assert len(store.rows) == 5, "it is tried again"


@pytest.mark.parametrize("answer", [[], None, [None], "rows", [b""] * 9])
def test_nonsense_is_a_failure_too(bert: SentenceTransformer, answer: Any) -> None:
    store = Memory()
    store.get_many = lambda keys: answer  # type: ignore[method-assign]
    model = cached(bert, store)
    with pytest.warns(CacheWarning, match="cannot be read"):
        found = model.encode(TEXTS)
    np.testing.assert_array_equal(found, bert.encode(TEXTS))


def test_damaged_rows_are_computed_again(bert: SentenceTransformer, memory: Memory, computed: Watch) -> None:
    model = cached(bert, memory)
    expected = model.encode(TEXTS)
    good = dict(memory.rows)
    for key, row in list(memory.rows.items())[:2]:
        memory.rows[key] = row[:-9] + bytes([row[-9] ^ 64]) + row[-8:]
    seen = computed(model)
    with pytest.warns(CacheWarning, match=r"2 rows are damaged in .*, and computed again") as warned:
        np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-6)
    assert len(warned) == 1
    assert len(seen) == 2
    model.encode(TEXTS)
    assert len(seen) == 2
    vectors = {key: row[12:-4] for key, row in good.items()}
    for key, row in memory.rows.items():
        found, wanted = np.frombuffer(row[12:-4], np.float32), np.frombuffer(vectors[key], np.float32)
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert model.cache is not None
    assert model.cache.stats().damaged == 2


def test_a_store_may_give_arrays(static_folder: Path) -> None:
    class Arrays:
        def __init__(self) -> None:
            self.rows: dict[bytes, np.ndarray] = {}

        def get_many(self, keys: Any) -> list[np.ndarray | None]:
            return [self.rows.get(key) for key in keys]

        def put_many(self, items: Any) -> None:
            self.rows.update((key, np.frombuffer(row[12:-4], "<f4")) for key, row in items)

    plain, model = SentenceTransformer(static_folder), SentenceTransformer(static_folder, cache=Arrays())
    for _ in range(2):
        np.testing.assert_allclose(model.encode(TEXTS), plain.encode(TEXTS), atol=1e-6)
    assert model.cache is not None
    assert model.cache.stats().hits == 5


def test_halves_are_the_same_the_first_time(bert: SentenceTransformer, tmp_path: Path) -> None:
    with SQLiteCache(tmp_path / "c.db", dtype="float16") as store:
        model = cached(bert, store)
        first = model.encode(TEXTS)
        np.testing.assert_array_equal(model.encode(TEXTS), first)
        np.testing.assert_array_equal(first, bert.encode(TEXTS).astype(np.float16))
    with SQLiteCache(tmp_path / "c.db") as store:
        exact = cached(bert, store).encode(TEXTS)
        np.testing.assert_array_equal(exact, bert.encode(TEXTS))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    st.lists(st.lists(st.sampled_from(["red", "law", "tax apple", "", "green green", "the"]), max_size=9), max_size=5)
)
def test_any_order_of_any_calls(static_folder: Path, calls: list[list[str]]) -> None:
    plain, model = SentenceTransformer(static_folder), SentenceTransformer(static_folder, cache=Memory())
    assert model.cache is not None
    known: set[str] = set()
    expected = [0, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZeroVectorWarning)
        for texts in calls:
            np.testing.assert_allclose(model.encode(texts), plain.encode(texts), atol=1e-6)
            expected[0] += len(set(texts) & known)
            expected[1] += len(set(texts) - known)
            known |= set(texts)
    stats = model.cache.stats()
    assert [stats.hits, stats.misses] == expected


# ---- threads, copies, statistics -----------------------------------------------------------------------------------


def test_many_texts_are_asked_for_and_kept_in_portions(static_folder: Path, memory: Memory) -> None:
    texts = [f"apple {i:x}".replace("", " ") for i in range(9000)]
    plain, model = SentenceTransformer(static_folder), SentenceTransformer(static_folder, cache=memory)
    for _ in range(2):
        np.testing.assert_allclose(model.encode(texts), plain.encode(texts), atol=1e-6)
    assert max(memory.asked) == 4096
    assert sum(memory.put) == len(set(texts))
    assert max(memory.put) < 2 * 1024
    some = [text for i, text in enumerate(texts) if i % 3]
    model = SentenceTransformer(static_folder, cache=Memory())
    model.encode(some)
    np.testing.assert_allclose(model.encode(texts), plain.encode(texts), atol=1e-6)


def test_threads_share_a_cache(static_folder: Path, tmp_path: Path) -> None:
    plain = SentenceTransformer(static_folder)
    texts = [" ".join(f"{i:b}".replace("1", "red ").replace("0", "law ").split()) + f" {i:o}" for i in range(300)]
    expected = plain.encode(texts)
    failures: list[BaseException] = []
    with SQLiteCache(tmp_path / "c.db") as store:
        model = SentenceTransformer(static_folder, cache=store)

        def work(seed: int) -> None:
            try:
                rows = np.random.default_rng(seed).permutation(300)
                for part in np.array_split(rows, 6):
                    found = model.encode([texts[i] for i in part])
                    np.testing.assert_allclose(found, expected[part], atol=1e-6)
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert model.cache is not None
        stats = model.cache.stats()
        assert (stats.hits + stats.misses, stats.failures, stats.damaged) == (8 * 300, 0, 0)
        assert store.stats()["rows"] == 300


def test_copies_share_the_store(static_folder: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(static_folder, cache=tmp_path / "c.db")
    first = model.encode(TEXTS)
    twin = copy.deepcopy(model)
    assert twin.cache is model.cache
    packed = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(packed.encode(TEXTS), first)
    assert packed.cache.stats().hits == 5
    packed.close()
    model.close()


def test_worker_processes_use_it(static_folder: Path, tmp_path: Path) -> None:
    texts = [f"red {i:b}" for i in range(40)]
    with SentenceTransformer(static_folder, cache=tmp_path / "c.db") as model:
        with model.start_multi_process_pool(["cpu"]) as pool:
            found = model.encode(texts, pool=pool, chunk_size=10)
        np.testing.assert_array_equal(model.encode(texts), found)
        assert model.cache is not None
        assert model.cache.stats().hits == 40


def test_the_fingerprint_is_computed_once(static_folder: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    model = SentenceTransformer(static_folder, cache=memory)
    named: list[Any] = []
    fingerprint = module.fingerprint
    monkeypatch.setattr(module, "fingerprint", lambda *args: (named.append(args), fingerprint(*args))[1])
    for i in range(3):
        model.encode(f"red {i}")
        model.truncate_dim = i + 1
    assert len(named) == 1
    assert pickle.loads(pickle.dumps(model))._spaces == {}
    model.max_seq_length = 5
    model.encode("red")
    assert len(named) == 2


def test_what_a_cache_can_be(static_folder: Path, tmp_path: Path, memory: Memory) -> None:
    model = SentenceTransformer(static_folder)
    assert model.cache is None
    for place in (str(tmp_path / "a.db"), tmp_path / "b.db"):
        model.cache = place  # type: ignore[assignment]
        assert isinstance(model.cache.store, SQLiteCache)  # type: ignore[union-attr]
    model.cache = memory  # type: ignore[assignment]
    other = SentenceTransformer(static_folder, cache=model.cache)
    assert other.cache is model.cache
    assert isinstance(model.cache, EmbeddingCache)
    model.cache = None
    assert model.cache is None
    for wrong in (5, {}, object()):
        with pytest.raises(TypeError, match="cache must be a path, a redis:// URL, or an object with get_many"):
            SentenceTransformer(static_folder, cache=wrong)


def test_statistics(bert: SentenceTransformer, memory: Memory) -> None:
    model = cached(bert, memory)
    model.encode(TEXTS * 2)
    assert model.cache is not None
    first = model.cache.stats()
    size = sum(map(len, memory.rows.values()))
    assert (first.hits, first.misses, first.bytes_read, first.bytes_written) == (0, 5, 0, size)
    model.encode([*TEXTS, "green"])
    second = model.cache.stats()
    assert (second.hits, second.misses, second.bytes_read) == (5, 6, size)
    assert second.seconds_saved != first.seconds_saved
    assert (first.hits, first.misses) == (0, 5), "what was told stays as it was told"


def test_without_a_cache_nothing_of_it_is_imported(static_folder: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from vicinal import SentenceTransformer as S; S(sys.argv[1]).encode(['red']); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, static_folder], capture_output=True, text=True, check=True)
    assert not any(name.startswith(("sqlite3", "redis", "vicinal.store")) for name in done.stdout.split())
