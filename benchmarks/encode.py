"""Throughput, latency, start-up and memory of every backend and dtype beside its peers, in one run, taking turns.

usage: python benchmarks/encode.py DATA --model FOLDER --peer PYTHON [--exports PYTHON] [--fastembed PYTHON]
           [--infinity PYTHON] [--texts 1000] [--rounds 3] [--starts 1] [--only NAME ...]

DATA: a folder with corpus_en/part-0.tsv.gz (columns source, text; tab separated).
FOLDER: all-MiniLM-L6-v2's files, which all load.
PYTHON: of environments that have sentence-transformers; sentence-transformers with its ONNX and OpenVINO backends;
fastembed; infinity-emb. What is not given is left out. This script runs in one that has vicinal.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ceiling import work
from peers import EXPORTS, PEER, Worker

from vicinal.backends.openvino import has_bfloat16

REFERENCE = f"{PEER}:float32"
NAMES = {
    "peer": (REFERENCE, f"{PEER}:bfloat16"),
    "exports": (f"{PEER}-onnx:float32", f"{PEER}-onnx:int8", f"{PEER}-openvino:auto"),
    "fastembed": ("fastembed:float32",),
    "infinity": ("infinity-torch:float32",),
    "own": ("vicinal:float32", "vicinal:bfloat16", "vicinal:int8", "vicinal-onnx:float32", "vicinal-onnx:int8",
            "vicinal-torch:float32", "vicinal-torch:bfloat16", "vicinal-bundled:float32"),
}  # fmt: skip
"""The encoders, by the option that names their Python."""
LONGEST = 256


def corpus(data: Path, count: int) -> list[str]:
    with gzip.open(data / "corpus_en" / "part-0.tsv.gz", "rt", encoding="utf-8") as lines:
        next(lines)
        return [line.rstrip("\n").split("\t")[1] for _, line in zip(range(count), lines, strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--peer", required=True)
    for name in ("exports", "fastembed", "infinity"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=1, help="new processes of each; 0 leaves that table out")
    parser.add_argument("--only", nargs="*", default=None, help="encoders to run beside the reference")
    options = parser.parse_args()
    pythons = {"own": sys.executable, **{name: getattr(options, name) for name in NAMES if name != "own"}}
    if not pythons["exports"]:
        pythons["fastembed"] = None  # it needs the file that these make
    ran = {name: pythons[option] for option in NAMES if pythons[option] for name in NAMES[option]}
    if left := [name for option, python in pythons.items() if not python for name in NAMES[option]]:
        print(f"left out, for no Python is given that has them: {', '.join(left)}")
    if not has_bfloat16():
        print("left out, for this processor does not compute in bfloat16: all that would")
        ran = {name: python for name, python in ran.items() if not name.endswith(":bfloat16")}
    if options.only is not None:
        ran = {name: python for name, python in ran.items() if name in (REFERENCE, *options.only)}
    print(f"{_processor()}; {options.texts} texts of corpus_en, {options.rounds} rounds in turn; medians\n")
    with tempfile.TemporaryDirectory() as folder:
        model = str(shutil.copytree(options.model, Path(folder) / "model", ignore=shutil.ignore_patterns(EXPORTS)))
        if any("onnx:" in name or "openvino:" in name or "fastembed" in name for name in ran if "vicinal" not in name):
            command = [pythons["exports"], str(Path(__file__).with_name("peers.py")), "export", model]
            subprocess.run(command, check=True, capture_output=True)
        texts = corpus(options.data, options.texts)
        (file := Path(folder) / "texts.json").write_text(json.dumps(texts))
        (short := Path(folder) / "short.json").write_text(json.dumps(["How do I reset my password?"]))
        workers = {name: Worker(name, python, model) for name, python in ran.items()}
        throughput(workers, str(file), options, folder, work(_lengths(model, texts)))
        latency(workers, str(short), options)
        for worker in workers.values():
            worker.close()
        if options.starts:
            start_up(ran, model, options.starts)


def throughput(
    workers: dict[str, Worker], file: str, options: argparse.Namespace, folder: str, operations: float
) -> None:
    for name, worker in workers.items():  # warm, and keep the vectors
        worker.ask(file=file, run=True, save=f"{folder}/{name}.npy")
    rounds: dict[str, list[float]] = {name: [] for name in workers}
    ceilings: dict[str, list[float]] = {}
    peaks = {}
    for _ in range(options.rounds):
        for name, speed in _ceiling().items():
            ceilings.setdefault(name, []).append(speed)
        for name, worker in workers.items():
            answer = worker.ask(run=True)
            rounds[name].append(answer["seconds"])
            peaks[name] = answer["peak"]
    reached = {name: statistics.median(speeds) for name, speeds in ceilings.items()}
    top = {dtype: max(v for name, v in reached.items() if name.endswith(dtype)) for dtype in ("float32", "bfloat16")}
    print("matrix products alone, GFLOP/s:", ", ".join(f"{name} {v / 1e9:.0f}" for name, v in reached.items()))
    print(f"a text needs {operations / options.texts / 1e9:.2f} GFLOP; share: of the best product of float32 for "
          "float32, of bfloat16 for all others\n")  # fmt: skip
    print(f"{'':34}{'texts/s':>9}  ratio to {REFERENCE}: median (min-max)   share   cosine mean / min      peak memory")
    for name in workers:
        ratios = [a / b for a, b in zip(rounds[REFERENCE], rounds[name], strict=True)]
        seconds = statistics.median(rounds[name])
        share = operations / seconds / top["float32" if name.endswith("float32") else "bfloat16"]
        print(
            f"{name:34}{options.texts / seconds:9.0f}  {statistics.median(ratios):8.2f} ({min(ratios):.2f}-"
            f"{max(ratios):.2f}){'-' if 'bundled' in name else f'{share:.2f}':>31}{_cosine(folder, name):>22}"
            f"   {peaks[name] / 1e6:8.0f} MB"
        )
    for fast, slow in (("vicinal:int8", "vicinal:bfloat16"), ("vicinal-bundled:float32", "vicinal:float32")):
        if {fast, slow} <= set(rounds):
            ratios = [a / b for a, b in zip(rounds[slow], rounds[fast], strict=True)]
            print(f"\n{fast} against {slow}: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


def _ceiling() -> dict[str, float]:
    """Measured in a process of its own, whose threads are gone afterwards."""
    command = [sys.executable, str(Path(__file__).with_name("ceiling.py"))]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _lengths(model: str, texts: list[str]) -> np.ndarray:
    """Tokens of each text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{model}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return np.array([len(encoding.ids) for encoding in tokenizer.encode_batch(texts)])


def _cosine(folder: str, name: str) -> str:
    a, b = np.load(f"{folder}/{REFERENCE}.npy"), np.load(f"{folder}/{name}.npy")
    if "bundled" in name:
        return "-"
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return f"{cosine.mean():.6f} / {cosine.min():.6f}"


def latency(workers: dict[str, Worker], file: str, options: argparse.Namespace) -> None:
    print("\none short text, milliseconds (median of 100), ratio of the reference's time to it")
    times: dict[str, list[float]] = {name: [] for name in workers}
    for worker in workers.values():
        worker.ask(file=file, repeat=30)
    for _ in range(options.rounds):
        for name, worker in workers.items():
            times[name].append(worker.ask(repeat=100)["seconds"])
    for name in workers:
        ratios = [a / b for a, b in zip(times[REFERENCE], times[name], strict=True)]
        print(f"{name:34}{statistics.median(times[name]) * 1e3:9.2f}  {statistics.median(ratios):8.2f}")


def start_up(ran: dict[str, str], model: str, rounds: int) -> None:
    print("\na new process: import, load, first vector, seconds (median); the interpreter's own start is left out")
    times: dict[str, list[float]] = {name: [] for name in ran}
    here = str(Path(__file__).parent)
    for _ in range(rounds):
        for name, python in ran.items():
            code = f"import sys; sys.path.insert(0, {here!r}); import peers; peers.load({name!r}, {model!r})('one')"
            times[name].append(
                _seconds([python, "-c", f"{code}; import os; os._exit(0)"]) - _seconds([python, "-c", ""])
            )
    for name in ran:
        print(f"{name:34}{statistics.median(times[name]):9.2f}")


def _seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.split(':')[1].strip()}, {os.cpu_count()} processors"
    return platform.processor()


if __name__ == "__main__":
    main()
