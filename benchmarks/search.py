"""Search over many vectors: `vicinal.Index` beside FAISS and usearch used directly, and sentence-transformers' search.

usage: python benchmarks/search.py [--sizes 10000 100000 1000000] [--rounds 7] [--real DATA] [--texts 20000]
           [--graphs 100000] [--kind hnsw|ivf] [--model all-MiniLM-L6-v2] [--threads N] [--kept DIR [--build]]
           [--results FILE.jsonl] [--plot FILE.png]

Vectors of 384 dimensions around cluster centres, as those of texts are; with --real DATA also those of --texts texts
of DATA/corpus_en/part-0.tsv.gz. All take turns in one process; medians of the rounds, of one query after another and of
100 at once. Recall@10 is against float64 brute force. What is not installed is left out, and said.

What is compared is the search of vectors: numbers and scores of the nearest rows, as FAISS and usearch give them. A
line with "hits" is the whole of `Index.search`: the same, and ids, texts and metadata read from SQLite and compared
with their checksums. An HNSW graph of a million vectors takes minutes: beyond --graphs those of the peers are left out.
What is made is kept in --kept, and used again by the next run with its times, so that `--build` can make everything
beforehand; --results adds a line for each way and size to a file, from which --plot draws.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal import Index, SentenceTransformer

Vectors = NDArray[np.float32]
Search = Callable[[Vectors, int], NDArray[np.int64]]
BATCH, SINGLE, K = 100, 20, 10
CENTRES, WITHIN = 2000, 96


@dataclass
class Spent:
    """Seconds on the clock, and of all processors together, which neighbours change little."""

    clock: float = 0.0
    processors: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.clock + other.clock, self.processors + other.processors)


@dataclass
class Way:
    """A way to search: what it cost to build, and the seconds of its rounds."""

    name: str
    search: Search
    build: Spent
    memory: float  # bytes of its structure
    single: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)
    recall: float = 0.0


def clustered(rows: int, dims: int, seed: int) -> Vectors:
    """Unit vectors around centres whose sizes fall as 1/rank, each spread mostly within a subspace of its own.

    The spread is chosen so that neighbours are as near, and in as many dimensions, as those of texts. Of 8,000 vectors
    of all-MiniLM-L6-v2 for texts of the throughput corpus, and of these: cosine of the nearest 0.50 and 0.52, of the
    tenth 0.38 and 0.40, local dimension by the likelihood of the distances to 20 neighbours 27 and 30 (medians).
    """
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(1234)
    centres = fixed.standard_normal((CENTRES, dims)).astype(np.float32)
    weights = 1 / np.arange(1, CENTRES + 1)
    counts = rng.multinomial(rows, weights / weights.sum())
    within = (np.arange(1, WITHIN + 1) ** -0.25).astype(np.float32)
    within *= 1.2 * (dims / np.square(within).sum()) ** 0.5
    vectors = np.empty((rows, dims), np.float32)
    order, start = rng.permutation(rows), 0
    for centre, count in zip(centres, counts, strict=True):
        basis = fixed.standard_normal((WITHIN, dims), np.float32) / dims**0.5
        for part in np.array_split(order[start : start + count], count // 65536 + 1):
            some = (rng.standard_normal((len(part), WITHIN), np.float32) * within) @ basis
            some += centre + 0.5 * rng.standard_normal(some.shape, np.float32)
            vectors[part] = some / np.linalg.norm(some, axis=1, keepdims=True)
        start += count
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


class Kept:
    """A folder of structures, with what each cost.

    Args:
        folder: where they are; it may be there from an earlier run.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._facts = folder, folder / "spent.json"
        self.spent: dict[str, Spent] = {}
        if self._facts.exists():
            self.spent = {name: Spent(**spent) for name, spent in json.loads(self._facts.read_text()).items()}

    def make(self, name: str, work: Callable[[], Any]) -> bool:
        """Do what was not done before, and keep its times; whether it was done now."""
        if name in self.spent:
            return False
        clock, processors = time.perf_counter(), time.process_time()
        work()
        spent = Spent(time.perf_counter() - clock, time.process_time() - processors)
        self.spent[name] = spent
        self._facts.write_text(json.dumps({name: asdict(one) for name, one in self.spent.items()}))
        print(f"({self.folder.name}, {name}: {spent.clock:.1f} s, {spent.processors:.1f} s of processors)", flush=True)
        return True


def of_vicinal(corpus: Vectors, model: SentenceTransformer, kept: Kept, kind: str | None) -> tuple[list[Way], Index]:
    """An index in a folder, searched exactly and by its structure; building it is adding, committing and deriving."""
    folder = kept.folder / f"index-{kind or 'exact'}"
    adding, deriving = f"{folder.name}, added and committed", f"{folder.name}, derived"

    def add() -> None:
        with Index.create(folder, model, search=kind or "exact") as index:  # type: ignore[arg-type]
            index._builder.start = lambda space: None  # type: ignore[method-assign]  # not beside, so that it is timed
            for start in range(0, len(corpus), 250_000):
                part = corpus[start : start + 250_000]
                ids = [str(i) for i in range(start, start + len(part))]
                index.add([f"document {i}" for i in ids], ids, [{"n": int(i)} for i in ids], vectors=part)

    kept.make(adding, add)
    index = Index.open(folder, model)
    kept.make(deriving, index.optimize)
    sizes = {path.name: path.stat().st_size for path in (folder / "derived").rglob("*") if path.is_file()}
    graph = sum(size for name, size in sizes.items() if name.startswith("graph"))
    vectors = sum(sizes.values()) - graph
    print(f"(index.db of {len(corpus):,}: {(folder / 'index.db').stat().st_size / 1e6:.0f} MB)", flush=True)

    def near(exact: bool) -> Search:
        def search(queries: Vectors, k: int) -> NDArray[np.int64]:
            return index._searcher.nearest(queries, k, exact, index._same_space)[1] - 1  # chunks are numbered from 1

        return search

    def hits(exact: bool) -> Search:
        def search(queries: Vectors, k: int) -> NDArray[np.int64]:
            return np.array([[int(hit.id) for hit in some] for some in index.search(queries, k, exact=exact)])

        return search

    added = kept.spent[adding]
    ways = [Way("vicinal exact", near(True), added, vectors), Way("vicinal exact, hits", hits(True), added, vectors)]
    if kind is not None:
        both = added + kept.spent[deriving]
        ways.append(Way(f"vicinal {kind}", near(False), both, vectors + graph))
        ways.append(Way(f"vicinal {kind}, hits", hits(False), both, vectors + graph))
    return ways, index


def of_faiss(corpus: Vectors, kind: str, kept: Kept) -> Way:
    import faiss

    name, path, dims = f"FAISS {kind}", kept.folder / f"{kind}.faiss", corpus.shape[1]
    index = faiss.IndexFlatIP(dims) if kind == "flat" else faiss.IndexHNSWFlat(dims, 32, faiss.METRIC_INNER_PRODUCT)
    if kind == "hnsw":
        index.hnsw.efConstruction, index.hnsw.efSearch = 80, 128
    if kept.make(name, lambda: index.add(corpus)):
        faiss.write_index(index, str(path))
    elif kind == "flat":
        index.add(corpus)
    else:
        index = faiss.read_index(str(path))
    size = corpus.nbytes + (0 if kind == "flat" else len(corpus) * 64 * 4)
    return Way(name, lambda queries, k: index.search(queries, k)[1], kept.spent[name], size)


def of_usearch(corpus: Vectors, threads: int, kept: Kept) -> Way:
    from usearch.index import Index as Graph

    name, path = "usearch f16", kept.folder / "graph.usearch"
    index = Graph(ndim=corpus.shape[1], metric="ip", dtype="f16")
    if kept.make(name, lambda: index.add(np.arange(len(corpus)), corpus, threads=threads)):
        index.save(str(path))
    elif not len(index):
        index.load(str(path))

    def search(queries: Vectors, k: int) -> NDArray[np.int64]:
        found = index.search(queries, k, threads=threads).keys
        return np.atleast_2d(found).astype(np.int64)

    return Way(name, search, kept.spent[name], index.memory_usage)


def of_sentence_transformers(corpus: Vectors) -> Way:
    from sentence_transformers.util import dot_score, semantic_search

    def search(queries: Vectors, k: int) -> NDArray[np.int64]:
        found = semantic_search(queries, corpus, top_k=k, score_function=dot_score)
        return np.array([[hit["corpus_id"] for hit in hits] for hits in found])

    return Way("sentence-transformers", search, Spent(), corpus.nbytes)


def ways_over(corpus: Vectors, model: SentenceTransformer, kept: Kept, args: Any) -> tuple[list[Way], Index]:
    """All ways to search a corpus, their structures made where they are not there."""
    few = len(corpus) <= args.graphs
    kind = args.kind if has("faiss") else None
    if kind is not None:
        import faiss

        faiss.omp_set_num_threads(args.threads)
    ways, index = of_vicinal(corpus, model, kept, kind)
    if kind is not None:
        ways.append(of_faiss(corpus, "flat", kept))
        if few:
            ways.append(of_faiss(corpus, "hnsw", kept))
    if few and has("usearch"):
        ways.append(of_usearch(corpus, args.threads, kept))
    if has("sentence_transformers"):
        ways.append(of_sentence_transformers(corpus))
    return ways, index


def compare(name: str, corpus: Vectors, queries: Vectors, model: SentenceTransformer, kept: Kept, args: Any) -> None:
    """All ways over one corpus, printed as a table."""
    ways, index = ways_over(corpus, model, kept, args)
    if args.build:
        index.close()
        return
    truth = true_neighbours(queries, corpus)
    for way in ways:  # the first call of each pays for its caches
        found = way.search(queries, K)
        way.recall = float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)]))
    for number in range(1, args.rounds + 1):
        for way in ways:
            way.batch.append(timed(lambda way=way: way.search(queries, K))[1] / len(queries))
            one = timed(lambda way=way: [way.search(query[None], K) for query in queries[:SINGLE]])[1]
            way.single.append(one / SINGLE)
        told = ", ".join(f"{way.name} {way.single[-1] * 1e3:.3f} / {way.batch[-1] * 1e3:.3f}" for way in ways)
        print(f"(round {number}, ms of one / of each in a batch: {told})", flush=True)
    index.close()
    again, spent = timed(lambda: Index.open(index.path, model).search(queries[0], K))
    assert len(again) == K
    print(
        f"\n{name}: {len(corpus):,} vectors of {corpus.shape[1]} dimensions; opened and first query in {spent:.2f} s\n"
    )
    table(ways)
    if args.results is not None:
        with args.results.open("a") as file:
            for way in ways:
                line = {k: v for k, v in vars(way).items() if k not in ("search", "build")}
                file.write(json.dumps({"corpus": name, "rows": len(corpus), **line, **asdict(way.build)}) + "\n")


def table(ways: list[Way]) -> None:
    exact = ways[0]
    flat = next((way for way in ways if way.name == "FAISS flat"), exact)
    print("| | one query, ms | batch, ms each | speed to FAISS flat: one | batch | recall@10 | build s (of processors) "
          "| MB |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for way in ways:
        one, many = statistics.median(way.single), statistics.median(way.batch)
        print(
            f"| {way.name} | {one * 1e3:.3f} | {many * 1e3:.3f} | {ratios(flat.single, way.single)} | "
            f"{ratios(flat.batch, way.batch)} | {way.recall:.3f} | {way.build.clock:.1f} "
            f"({way.build.processors:.1f}) | {way.memory / 1e6:.0f} |"
        )
    for way in ways:
        if way.name in ("vicinal hnsw", "vicinal ivf"):
            print(f"\n{way.name} to vicinal exact: {ratios(exact.single, way.single)} one query at a time, "
                  f"{ratios(exact.batch, way.batch)} in batches", flush=True)  # fmt: skip


def ratios(slow: list[float], fast: list[float]) -> str:
    """Of the medians, and the least and the greatest of a round."""
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    return f"{statistics.median(slow) / statistics.median(fast):.2f} ({min(each):.2f}-{max(each):.2f})"


def plot(path: Path, results: Path) -> None:
    """Milliseconds of one query over the corpus' size, both axes logarithmic; of each way and size the last run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves: dict[str, dict[int, float]] = {}
    for line in map(json.loads, results.read_text().splitlines()):
        if line["corpus"] == "clustered":
            curves.setdefault(line["name"], {})[line["rows"]] = statistics.median(line["single"]) * 1e3
    for name, points in curves.items():
        pyplot.loglog(*zip(*sorted(points.items()), strict=True), marker="o", label=name)
    pyplot.xlabel("vectors")
    pyplot.ylabel("ms, one query")
    pyplot.legend()
    pyplot.savefig(path, dpi=150, bbox_inches="tight")


def text_vectors(model: SentenceTransformer, args: Any, kept: Path) -> Vectors:
    """Those of the texts of the throughput corpus, kept as what is made of them is."""
    from encode import corpus

    path = kept / f"texts-{args.texts}.npy"
    if not path.exists():
        texts = list(dict.fromkeys(corpus(args.real, args.texts + BATCH)))
        np.save(path, model.encode(texts, normalize_embeddings=True, truncation="ignore"))
    vectors: Vectors = np.load(path)
    return vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--texts", type=int, default=20_000, help="of --real")
    parser.add_argument("--graphs", type=int, default=100_000, help="vectors up to which peers build HNSW graphs")
    parser.add_argument("--kind", default="hnsw", choices=["hnsw", "ivf"], help="of vicinal's structure")
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--kept", type=Path, help="where structures are kept; without it they go with the run")
    parser.add_argument("--build", action="store_true", help="only make what is kept")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        args.results = args.results or Path(temporary) / "results.jsonl"
        kept = args.kept or Path(temporary)
        kept.mkdir(parents=True, exist_ok=True)
        model = SentenceTransformer(args.model)
        dims = model.get_embedding_dimension()
        for size in args.sizes:
            parts = clustered(size, dims, 0), clustered(BATCH, dims, 1)
            compare("clustered", *parts, model, Kept(kept / f"clustered-{size}"), args)
        if args.real is not None:
            vectors = text_vectors(model, args, kept)
            parts = vectors[BATCH:], vectors[:BATCH]
            compare("texts", *parts, model, Kept(kept / f"texts-{len(parts[0])}"), args)
        if args.plot is not None:
            plot(args.plot, args.results)


if __name__ == "__main__":
    main()
