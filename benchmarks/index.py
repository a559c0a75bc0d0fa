"""An index that is opened, and documents that did not change.

usage: python benchmarks/index.py DATA [--documents 200000] [--files 20000] [--rounds 5] [--model NAME]
           [--search auto|exact|int8|binary|hnsw|ivf]

DATA: a folder with corpus_en/part-*.tsv.gz. The index's vectors are those of its texts; where there are more documents
than texts, they come again with a little noise, so that no two are the same. Files are in memory's cache, as they are
for a service that starts again.

1. opening an index and answering the first query: in a running process, and with a process's start.
2. ingest of so many files, and of one table with as many rows: once, and again where nothing changed, where every file
   has a new time, and where one text in a hundred is another; how many texts were embedded.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from encode import corpus

from vicinal import Index, SentenceTransformer
from vicinal.store.ingest import ingest

QUERY = "a film about the war"
FRESH = """
import sys
from vicinal import Index
with Index.open(sys.argv[1]) as index:
    print(len(index.search(sys.argv[2], top_k=10)))
"""


def seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def told(name: str, times: list[float], limit: float | None = None) -> None:
    """A line: median, and the range."""
    middle = statistics.median(times)
    verdict = "" if limit is None else f"   (to be below {limit:g} s: {'yes' if middle < limit else 'NO'})"
    print(f"  {name:58}{middle:8.3f} s  ({min(times):.3f}-{max(times):.3f}){verdict}")


def made(folder: Path, model: SentenceTransformer, texts: list[str], documents: int, search: Any) -> None:
    """An index of so many documents, with its files for searching."""
    vectors = model.encode_document(texts, truncation="ignore", show_progress_bar=False)
    noise = 0.02 * float(np.linalg.norm(vectors, axis=1).mean()) / vectors.shape[1] ** 0.5
    rng = np.random.default_rng(0)
    with Index.create(folder, model, search=search) as index:
        for start in range(0, documents, len(texts)):
            part = texts[: documents - start]
            rows = vectors[: len(part)]
            if start:
                rows = rows + noise * rng.standard_normal(rows.shape).astype(np.float32)
            ids = [str(start + i) for i in range(len(part))]
            index.add(part, ids, [{"number": start + i} for i in range(len(part))], vectors=rows)
        index.optimize()


def opening(folder: Path, rounds: int) -> None:
    def first() -> None:
        with Index.open(folder) as index:
            index.search(QUERY, top_k=10)

    def fresh() -> None:
        subprocess.run([sys.executable, "-c", FRESH, str(folder), QUERY], check=True, stdout=subprocess.DEVNULL)

    first()
    told("opened, model found, first query, in a running process", [seconds(first) for _ in range(rounds)], 1.0)
    told("the same with the process's start", [seconds(fresh) for _ in range(rounds)], 2.0)
    with Index.open(folder) as index:
        index.search(QUERY)
        told("the next query, its vector computed", [seconds(lambda: index.search(QUERY)) for _ in range(rounds)])


class Counting:
    """Counts the texts that a model embeds."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.texts, self._real = 0, model.encode_document
        model.encode_document = self  # type: ignore[method-assign, assignment]

    def __call__(self, texts: list[str], **options: Any) -> Any:
        self.texts += len(texts)
        return self._real(texts, **options)


def ingesting(folder: Path, model: SentenceTransformer, texts: list[str], rounds: int) -> None:
    """Files below `folder`/docs, and a table of the same texts."""
    paths = []
    for i, text in enumerate(texts):
        paths.append(folder / "docs" / f"{i // 500:03}" / f"{i:05}.txt")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        paths[-1].write_text(text, "utf-8")
    table = folder / "table.jsonl"
    write(table, texts)
    counting = Counting(model)

    def run(index: Index, source: Path, what: str, before: Callable[[], Any], limit: float | None = None) -> None:
        times, counting.texts = [], 0
        for _ in range(rounds):
            before()
            times.append(seconds(lambda: ingest(index, [source])))
        told(f"{what}; {counting.texts / rounds:.0f} chunks embedded", times, limit)

    with Index.create(folder / "files.vicinal", model) as index:
        source = folder / "docs"
        first = seconds(lambda: ingest(index, [source]))
        print(
            f"\n{len(texts)} files: {first:.2f} s the first time, {counting.texts} chunks embedded, which is most of it"
        )
        run(index, source, "unchanged", lambda: None, 5.0)
        run(index, source, "each with a new time", lambda: [os.utime(path) for path in paths], 5.0)
    with Index.create(folder / "table.vicinal", model) as index:
        counting.texts = 0
        first = seconds(lambda: ingest(index, [table]))
        print(f"\na table of as many rows: {first:.2f} s the first time, {counting.texts} chunks embedded")
        run(index, table, "unchanged", lambda: None, 5.0)
        run(index, table, "with a new time", lambda: os.utime(table), 5.0)
        run(index, table, "one text in a hundred another", lambda: write(table, changed(texts)))


def write(table: Path, texts: list[str]) -> None:
    table.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")


def changed(texts: list[str]) -> list[str]:
    stamp = time.time_ns()
    return [f"{text} {stamp}" if i % 100 == 0 else text for i, text in enumerate(texts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", help="without it, the one that vicinal brings")
    parser.add_argument("--search", default="auto")
    options = parser.parse_args()
    model = SentenceTransformer(options.model)
    texts = corpus(options.data, min(options.documents, 60_000))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spent = seconds(lambda: made(folder / "index", model, texts, options.documents, options.search))
        print(f"{model!r}\nan index of {options.documents} documents, search={options.search!r}, made in {spent:.0f} s")
        opening(folder / "index", options.rounds)
        ingesting(folder, model, texts[: options.files], options.rounds)


if __name__ == "__main__":
    main()
