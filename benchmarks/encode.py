"""Throughput, latency, start-up and memory beside sentence-transformers, in one run, taking turns.

usage: python benchmarks/encode.py DATA --peer PYTHON --model FOLDER [--texts 2000] [--rounds 5]

DATA: a folder with corpus_en/part-0.tsv.gz (columns source, text; tab separated).
PYTHON: of an environment that has sentence-transformers. This script runs in one that has vicinal.
FOLDER: all-MiniLM-L6-v2's files, which both load.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import PEER, Worker

OURS = ("vicinal:float32", "vicinal:bfloat16", "vicinal:int8", "vicinal-bundled")
REFERENCE = f"{PEER}:float32"


def corpus(data: Path, count: int) -> list[str]:
    with gzip.open(data / "corpus_en" / "part-0.tsv.gz", "rt", encoding="utf-8") as lines:
        next(lines)
        return [line.rstrip("\n").split("\t")[1] for _, line in zip(range(count), lines, strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=None, help="workers to run beside the reference")
    options = parser.parse_args()
    names = [REFERENCE, f"{PEER}:bfloat16", *OURS] if options.only is None else [REFERENCE, *options.only]
    print(f"{_processor()}; {options.texts} texts of corpus_en, {options.rounds} rounds in turn; medians\n")
    with tempfile.TemporaryDirectory() as folder:
        texts = corpus(options.data, options.texts)
        (file := Path(folder) / "texts.json").write_text(json.dumps(texts))
        (short := Path(folder) / "short.json").write_text(json.dumps(["How do I reset my password?"]))
        workers = {name: _worker(name, options) for name in names}
        throughput(workers, str(file), options, folder)
        latency(workers, str(short), options)
        for worker in workers.values():
            worker.close()
        start_up(names, options)


def _worker(name: str, options: argparse.Namespace) -> Worker:
    return Worker(name, options.peer if name.startswith(PEER) else sys.executable, options.model)


def throughput(workers: dict[str, Worker], file: str, options: argparse.Namespace, folder: str) -> None:
    for name, worker in workers.items():  # warm, and keep the vectors
        worker.ask(file=file, run=True, save=f"{folder}/{name}.npy")
    rounds: dict[str, list[float]] = {name: [] for name in workers}
    peaks = {}
    for _ in range(options.rounds):
        for name, worker in workers.items():
            answer = worker.ask(run=True)
            rounds[name].append(answer["seconds"])
            peaks[name] = answer["peak"]
    print(f"{'':34}{'texts/s':>9}  ratio to {REFERENCE}: median (min-max)   cosine mean / min   peak memory")
    for name in workers:
        ratios = [a / b for a, b in zip(rounds[REFERENCE], rounds[name], strict=True)]
        speed = options.texts / statistics.median(rounds[name])
        print(
            f"{name:34}{speed:9.0f}  {statistics.median(ratios):8.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            f"{_cosine(folder, name):>42}   {peaks[name] / 1e6:8.0f} MB"
        )
    minilm = [a / b for a, b in zip(rounds["vicinal:float32"], rounds["vicinal-bundled"], strict=True)] if (
        {"vicinal:float32", "vicinal-bundled"} <= set(rounds)) else []  # fmt: skip
    if minilm:
        print(f"\nbundled static model against MiniLM at float32 here: {statistics.median(minilm):.0f} times")


def _cosine(folder: str, name: str) -> str:
    import numpy as np

    a, b = np.load(f"{folder}/{REFERENCE}.npy"), np.load(f"{folder}/{name}.npy")
    if a.shape != b.shape:
        return "-"
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return f"{cosine.mean():.6f} / {cosine.min():.6f}"


def latency(workers: dict[str, Worker], file: str, options: argparse.Namespace) -> None:
    print("\none short text, milliseconds (median of 200), ratio of the reference's time to it")
    times: dict[str, list[float]] = {name: [] for name in workers}
    for worker in workers.values():
        worker.ask(file=file, repeat=50)
    for _ in range(options.rounds):
        for name, worker in workers.items():
            times[name].append(worker.ask(repeat=200)["seconds"])
    for name in workers:
        ratios = [a / b for a, b in zip(times[REFERENCE], times[name], strict=True)]
        print(f"{name:34}{statistics.median(times[name]) * 1e3:9.2f}  {statistics.median(ratios):8.2f}")


def start_up(names: list[str], options: argparse.Namespace) -> None:
    print("\na new process: import, load, first vector, seconds (median); the interpreter's own start is left out")
    times: dict[str, list[float]] = {name: [] for name in names}
    here = Path(__file__).parent
    for _ in range(options.rounds):
        for name in names:
            python = options.peer if name.startswith(PEER) else sys.executable
            load = f"import peers; peers.load({name!r}, {options.model!r})('one')"
            code = f"import sys; sys.path.insert(0, {str(here)!r}); {load}"
            whole = _seconds([python, "-c", code])
            bare = _seconds([python, "-c", "pass"])
            times[name].append(whole - bare)
    for name in names:
        print(f"{name:34}{statistics.median(times[name]):9.2f}")


def _seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            import os

            return f"{line.split(':')[1].strip()}, {os.cpu_count()} processors"
    return platform.processor()


if __name__ == "__main__":
    main()
