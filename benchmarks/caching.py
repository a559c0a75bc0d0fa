"""Computing nothing twice: a corpus through the embedding cache, and into a folder that a second run goes on with.

usage: python benchmarks/caching.py DATA [--model all-MiniLM-L6-v2] [--texts 20000] [--rounds 5] [--dtype auto]

DATA: a folder with corpus_en/part-0.tsv.gz. Redis is measured where redis-server is on PATH, on loopback.
The first pass is measured once, against a new cache; the second, third, ... are all found: their median counts.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from encode import corpus

from vicinal import SentenceTransformer
from vicinal.store.cache import RedisCache, SQLiteCache


def seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


@contextmanager
def redis() -> Iterator[str | None]:
    """The URL of a server of our own, None where there is no program for it."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def cached(model: SentenceTransformer, texts: list[str], name: str, cache: Any, plain: float, rounds: int) -> None:
    model.cache = cache
    first = seconds(lambda: model.encode(texts, truncation="ignore"))
    again = [seconds(lambda: model.encode(texts, truncation="ignore")) for _ in range(rounds)]
    stats = model.cache.stats()
    model.cache = None
    second = statistics.median(again)
    print(
        f"{name:12}{first:10.2f}{first / plain:12.2f}{second:12.3f}{first / second:14.0f}"
        f" ({first / max(again):.0f}-{first / min(again):.0f}){stats.bytes_written / len(set(texts)):12.0f}"
    )


def folders(model: SentenceTransformer, texts: list[str], folder: Path, plain: float, rounds: int) -> None:
    def run(name: str, some: list[str]) -> float:
        return seconds(lambda: model.encode_to(folder / name, iter(some), truncation="ignore", shard_rows=4096))

    first = run("a", texts)
    again = statistics.median(run("a", texts) for _ in range(rounds))
    run("b", texts[: len(texts) // 2])  # stands for a run that was killed half-way: its last shard is not whole
    rest = run("b", texts)
    same = all((folder / "a" / file.name).read_bytes() == file.read_bytes() for file in (folder / "b").iterdir())
    print(f"\nencode_to: {first:.2f} s, {first / plain:.2f} of encode's time; the same again {again:.3f} s,")
    print(f"{first / again:.0f} times faster; the second half {rest:.2f} s, the same bytes: {same}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    texts = corpus(options.data, options.texts)
    model = SentenceTransformer(options.model, dtype=options.dtype)
    model.encode(texts[:500], truncation="ignore")  # warm
    expected: list[np.ndarray] = []
    plain = seconds(lambda: expected.append(model.encode(texts, truncation="ignore")))
    print(f"{model!r}\n{len(texts)} texts of corpus_en; without a cache {plain:.2f} s\n")
    print(f"{'':12}{'first, s':>10}{'/ uncached':>12}{'second, s':>12}{'first / second (range)':>24}{'bytes/text':>12}")
    with tempfile.TemporaryDirectory() as folder, redis() as url:
        cached(model, texts, "SQLite", SQLiteCache(Path(folder) / "a.db"), plain, options.rounds)
        cached(model, texts, "SQLite fp16", SQLiteCache(Path(folder) / "b.db", dtype="float16"), plain, options.rounds)
        if url is not None:
            cached(model, texts, "Redis", RedisCache(url, timeout=10), plain, options.rounds)
        folders(model, texts, Path(folder), plain, options.rounds)


if __name__ == "__main__":
    main()
