"""A million short texts through each backend, each in a process of its own: is resident memory flat after a minute?

usage: python benchmarks/soak.py DATA [--model all-MiniLM-L6-v2] [--texts 1000000] [--layers N] [--threads N]
                                 [--ways openvino:bfloat16 ...] [--out FOLDER] [--plot FILE.svg]

DATA: a folder with corpus_en/part-0.tsv.gz; texts are runs of 1 to 16 words of it, no two calls alike. Calls have 1 to
4,000 texts, so that every path of the engine is taken. --out keeps the samples of each way, which --plot draws again.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from encode import corpus

WAYS = ("openvino:float32", "openvino:bfloat16", "openvino:int8", "onnx:float32", "onnx:int8", "torch:float32",
        "bundled:float32")  # fmt: skip
CALLS = (1, 7, 64, 500, 2000, 4000)
MINUTE = 60.0


def calls(words: list[str], count: int) -> Iterator[list[str]]:
    """Lists of short texts, `count` in all."""
    draw = random.Random(0)
    while count > 0:
        size = min(count, draw.choice(CALLS))
        count -= size
        starts = (draw.randrange(len(words) - 16) for _ in range(size))
        yield [" ".join(words[at : at + draw.randint(1, 16)]) for at in starts]


def resident() -> int:
    """Bytes of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def soak(way: str, options: argparse.Namespace) -> None:
    """Encode; print [texts, seconds, resident bytes] after the calls, at most one line a second."""
    from vicinal import SentenceTransformer

    backend, dtype = way.split(":")
    given: dict[str, Any] = {} if backend == "bundled" else {"backend": backend, "dtype": dtype}
    if options.layers and given:
        given["config_kwargs"] = {"num_hidden_layers": options.layers}
    model = SentenceTransformer(None if backend == "bundled" else options.model, threads=options.threads, **given)
    words = " ".join(corpus(options.data, 20000)).split()
    begin, done, said = time.perf_counter(), 0, 0.0
    for texts in calls(words, options.texts):
        vectors = model.encode(texts, truncation="ignore")
        assert len(vectors) == len(texts)
        done += len(texts)
        if (now := time.perf_counter() - begin) - said >= 1 or done == options.texts:
            said = now
            print(json.dumps([done, round(now, 2), resident()]), flush=True)


def verdict(way: str, samples: list[list[float]]) -> str:
    """One line: how fast, and what memory did between the end of the first minute and the end."""
    texts, seconds, last = samples[-1]
    settled = next((s for s in samples if s[1] >= MINUTE), None)
    line = f"{way:20}{texts / seconds:8.0f} texts/s  {seconds:7.0f} s  at the end {last / 1e6:6.0f} MB"
    if settled is None:
        return f"{line}  (less than a minute: nothing to compare)"
    later = [s[2] for s in samples if s[1] >= MINUTE]
    return f"{line}, after a minute {settled[2] / 1e6:6.0f} MB, since then at most {max(later) / 1e6:6.0f} MB"


def plot(found: dict[str, list[list[float]]], path: Path) -> None:
    """Resident memory by texts."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "soak"}
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    for way, samples in found.items():
        step = max(1, len(samples) // 200)
        kept = samples[::step] + samples[-1:]
        axes.plot([s[0] / 1e3 for s in kept], [s[2] / 1e6 for s in kept], label=way, linewidth=1.2)
        if (settled := next((s for s in samples if s[1] >= MINUTE), None)) is not None:
            axes.plot(settled[0] / 1e3, settled[2] / 1e6, "o", markersize=4, color=axes.lines[-1].get_color())
    axes.set(xlabel="thousand texts (dot: one minute)", ylabel="resident memory, MB", ylim=(0, None))
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run each way in turn, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--layers", type=int, default=0, help="of the network, to soak all around it in less time")
    parser.add_argument("--threads", type=int, help="of each way; all without it")
    parser.add_argument("--ways", nargs="*", default=WAYS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--step", help="run in a process of its own by this script")
    options = parser.parse_args()
    if options.step:
        return soak(options.step, options)
    if options.plot and not options.out:
        parser.error("--plot draws what --out keeps")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    for way in options.ways:
        command = [sys.executable, __file__, str(options.data), "--model", options.model]
        command += ["--texts", str(options.texts), "--layers", str(options.layers), "--step", way]
        command += ["--threads", str(options.threads)] if options.threads else []
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        samples = [json.loads(line) for line in lines]
        if options.out:
            (options.out / f"{way.replace(':', '-')}.json").write_text(json.dumps(samples))
        print(verdict(way, samples), flush=True)
    if options.plot:
        kept = sorted(options.out.glob("*.json"))
        plot({file.stem.replace("-", ":"): json.loads(file.read_text()) for file in kept}, options.plot)


if __name__ == "__main__":
    main()
