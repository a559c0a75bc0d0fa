"""Search over many vectors: `vicinal.Index` beside FAISS and usearch used directly, and sentence-transformers' search.

usage: python benchmarks/search.py [--sizes 10000 100000 1000000] [--rounds 7] [--real DATA] [--plot FILE.png]
           [--graphs 100000] [--kind hnsw|ivf] [--model all-MiniLM-L6-v2] [--threads N] [--folder DIR]

Vectors of 384 dimensions around cluster centres, as those of texts are; with --real DATA also those of the texts of
DATA/corpus_en/part-0.tsv.gz, as many as the smallest size. All take turns in one process; medians of the rounds, of
one query after another and of 100 at once. Recall@10 is against float64 brute force. What is not installed is left out,
and said.

What is compared is the search of vectors: numbers and scores of the nearest rows, as FAISS and usearch give them. A
line with "hits" is the whole of `Index.search`: the same, and ids, texts and metadata read from SQLite and compared
with their checksums. An HNSW graph of a million vectors takes minutes: beyond --graphs those of the peers are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal import Index, SentenceTransformer

Vectors = NDArray[np.float32]
Search = Callable[[Vectors, int], NDArray[np.int64]]
BATCH, SINGLE, K = 100, 20, 10


@dataclass
class Way:
    """A way to search: what it cost to build, and the seconds of its rounds."""

    name: str
    search: Search
    build: float
    memory: float  # bytes of its structure
    single: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)
    recall: float = 0.0


def clustered(rows: int, dims: int, seed: int) -> Vectors:
    """Unit vectors around centres whose sizes fall as 1/rank, each centre within a subspace of its own."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(1234)
    centres = fixed.standard_normal((2000, dims)).astype(np.float32)
    weights = 1 / np.arange(1, len(centres) + 1)
    chosen = rng.choice(len(centres), rows, p=weights / weights.sum())
    vectors = np.empty((rows, dims), np.float32)
    for start in range(0, rows, 65536):
        part = slice(start, min(start + 65536, rows))
        noise = rng.standard_normal((part.stop - part.start, dims)).astype(np.float32)
        vectors[part] = centres[chosen[part]] + 0.9 * noise
        vectors[part] /= np.linalg.norm(vectors[part], axis=1, keepdims=True)
    return vectors


def true_neighbours(queries: Vectors, corpus: Vectors) -> NDArray[np.int64]:
    """By float64 brute force."""
    scores = np.empty((len(queries), len(corpus)))
    for start in range(0, len(corpus), 65536):
        part = slice(start, start + 65536)
        scores[:, part] = queries.astype(np.float64) @ corpus[part].T.astype(np.float64)
    last = np.partition(scores, -K, axis=1)[:, -K]
    near = [np.flatnonzero(row >= least) for row, least in zip(scores, last, strict=True)]  # ties of the last too
    return np.array([some[np.argsort(-row[some], kind="stable")[:K]] for row, some in zip(scores, near, strict=True)])


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.perf_counter()
    found = work()
    return found, time.perf_counter() - begin


def has(module: str) -> bool:
    if importlib.util.find_spec(module) is None:
        print(f"({module} is not installed: left out)")
        return False
    return True


def of_vicinal(corpus: Vectors, model: SentenceTransformer, folder: Path, kind: str | None) -> tuple[list[Way], Index]:
    """An index in a folder, searched exactly and by its structure; building it is adding, committing and deriving."""

    def add() -> Index:
        index = Index.create(folder / "index", model, search=kind or "exact")  # type: ignore[arg-type]
        for start in range(0, len(corpus), 250_000):
            part = corpus[start : start + 250_000]
            ids = [str(i) for i in range(start, start + len(part))]
            index.add([f"document {i}" for i in ids], ids, [{"n": int(i)} for i in ids], vectors=part)
        return index

    index, added = timed(add)
    derived = timed(index.optimize)[1]
    sizes = {path.name: path.stat().st_size for path in (folder / "index" / "derived").rglob("*") if path.is_file()}
    graph = sum(size for name, size in sizes.items() if name.startswith("graph"))
    vectors = sum(sizes.values()) - graph
    print(
        f"(index of {len(corpus):,}: adding and committing {added:.1f} s, deriving {derived:.1f} s; index.db "
        f"{(folder / 'index' / 'index.db').stat().st_size / 1e6:.0f} MB)"
    )

    def near(exact: bool) -> Search:
        def search(queries: Vectors, k: int) -> NDArray[np.int64]:
            return index._searcher.nearest(queries, k, exact, index._same_space)[1] - 1  # chunks are numbered from 1

        return search

    def hits(exact: bool) -> Search:
        def search(queries: Vectors, k: int) -> NDArray[np.int64]:
            return np.array([[int(hit.id) for hit in some] for some in index.search(queries, k, exact=exact)])

        return search

    ways = [Way("vicinal exact", near(True), added, vectors), Way("vicinal exact, hits", hits(True), added, vectors)]
    if kind is not None:
        both = added + derived
        ways.append(Way(f"vicinal {kind}", near(False), both, vectors + graph))
        ways.append(Way(f"vicinal {kind}, hits", hits(False), both, vectors + graph))
    return ways, index


def of_faiss(corpus: Vectors, kind: str) -> Way:
    import faiss

    def build() -> Any:
        dims = corpus.shape[1]
        index = faiss.IndexFlatIP(dims) if kind == "flat" else faiss.IndexHNSWFlat(dims, 32, faiss.METRIC_INNER_PRODUCT)
        if kind == "hnsw":
            index.hnsw.efConstruction, index.hnsw.efSearch = 80, 128
        index.add(corpus)
        return index

    index, spent = timed(build)
    size = corpus.nbytes + (0 if kind == "flat" else len(corpus) * 64 * 4)
    return Way(f"FAISS {kind}", lambda queries, k: index.search(queries, k)[1], spent, size)


def of_usearch(corpus: Vectors, threads: int) -> Way:
    from usearch.index import Index as Graph

    def build() -> Any:
        index = Graph(ndim=corpus.shape[1], metric="ip", dtype="f16")
        index.add(np.arange(len(corpus)), corpus, threads=threads)
        return index

    index, spent = timed(build)

    def search(queries: Vectors, k: int) -> NDArray[np.int64]:
        found = index.search(queries, k, threads=threads).keys
        return np.atleast_2d(found).astype(np.int64)

    return Way("usearch f16", search, spent, index.memory_usage)


def of_sentence_transformers(corpus: Vectors) -> Way:
    from sentence_transformers.util import dot_score, semantic_search

    def search(queries: Vectors, k: int) -> NDArray[np.int64]:
        found = semantic_search(queries, corpus, top_k=k, score_function=dot_score)
        return np.array([[hit["corpus_id"] for hit in hits] for hits in found])

    return Way("sentence-transformers", search, 0.0, corpus.nbytes)


def compare(name: str, corpus: Vectors, queries: Vectors, model: SentenceTransformer, args: Any) -> list[Way]:
    """All ways over one corpus, printed as a table."""
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    few = len(corpus) <= args.graphs
    try:
        kind = args.kind if has("faiss") else None
        if kind is not None:
            import faiss

            faiss.omp_set_num_threads(args.threads)
        ways, index = of_vicinal(corpus, model, folder, kind)
        exact = ways[0]
        if kind is not None:
            ways.append(of_faiss(corpus, "flat"))
            if few:
                ways.append(of_faiss(corpus, "hnsw"))
        if few and has("usearch"):
            ways.append(of_usearch(corpus, args.threads))
        if has("sentence_transformers"):
            ways.append(of_sentence_transformers(corpus))
        truth = true_neighbours(queries, corpus)
        for way in ways:  # the first call of each pays for its caches
            found = way.search(queries, K)
            way.recall = float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)]))
        for _ in range(args.rounds):
            for way in ways:
                way.batch.append(timed(lambda way=way: way.search(queries, K))[1] / len(queries))
                one = timed(lambda way=way: [way.search(query[None], K) for query in queries[:SINGLE]])[1]
                way.single.append(one / SINGLE)
        index.close()
        again, spent = timed(lambda: Index.open(folder / "index", model).search(queries[0], K))
        assert len(again) == K
    finally:
        shutil.rmtree(folder)
    flat = next((way for way in ways if way.name == "FAISS flat"), exact)
    print(
        f"\n{name}: {len(corpus):,} vectors of {corpus.shape[1]} dimensions; opened and first query in {spent:.2f} s\n"
    )
    print("| | one query, ms | batch, ms each | speed to FAISS flat: one | batch | recall@10 | build s | MB |")
    print("|---|---|---|---|---|---|---|---|")
    for way in ways:
        one, many = statistics.median(way.single), statistics.median(way.batch)
        print(
            f"| {way.name} | {one * 1e3:.3f} | {many * 1e3:.3f} | {ratios(flat.single, way.single)} | "
            f"{ratios(flat.batch, way.batch)} | {way.recall:.3f} | {way.build:.1f} | {way.memory / 1e6:.0f} |"
        )
    for way in ways:
        if way.name in ("vicinal hnsw", "vicinal ivf"):
            print(f"\n{way.name} to vicinal exact: {ratios(exact.single, way.single)} one query at a time, "
                  f"{ratios(exact.batch, way.batch)} in batches")  # fmt: skip
    return ways


def ratios(slow: list[float], fast: list[float]) -> str:
    """Of the medians, and the least and the greatest of a round."""
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    return f"{statistics.median(slow) / statistics.median(fast):.2f} ({min(each):.2f}-{max(each):.2f})"


def plot(path: Path, curves: dict[int, list[Way]]) -> None:
    """Milliseconds of one query over the corpus' size, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = dict.fromkeys(way.name for ways in curves.values() for way in ways)
    for name in names:
        points = [
            (n, statistics.median(way.single) * 1e3) for n, ways in curves.items() for way in ways if way.name == name
        ]
        pyplot.loglog(*zip(*points, strict=True), marker="o", label=name)
    pyplot.xlabel("vectors")
    pyplot.ylabel("ms, one query")
    pyplot.legend()
    pyplot.savefig(path, dpi=150, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--graphs", type=int, default=100_000, help="vectors up to which peers build HNSW graphs")
    parser.add_argument("--kind", default="hnsw", choices=["hnsw", "ivf"], help="of vicinal's structure")
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="where indexes are made; the system's temporary folder without it")
    args = parser.parse_args()
    model = SentenceTransformer(args.model)
    dims = model.get_embedding_dimension()
    curves = {
        size: compare("clustered", clustered(size, dims, 0), clustered(BATCH, dims, 1), model, args)
        for size in args.sizes
    }
    if args.real is not None:
        from encode import corpus

        texts = list(dict.fromkeys(corpus(args.real, min(args.sizes) + BATCH)))
        vectors = model.encode(texts, normalize_embeddings=True, truncation="ignore")
        compare("texts", vectors[BATCH:], vectors[:BATCH], model, args)
    if args.plot is not None:
        plot(args.plot, curves)


if __name__ == "__main__":
    main()
