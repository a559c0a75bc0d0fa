"""Peak memory of training steps with gradient caching: it grows with the mini-batch, not with the batch.

usage: python benchmarks/memory_training.py DATA [--model all-MiniLM-L6-v2] [--batches 512 4096] [--mini 32]
           [--length 256] [--dtype bfloat16] [--threads N]

DATA: a folder with arxiv/*.tsv.gz (columns title, abstract; tab separated).

One step of CachedMultipleNegativesRankingLoss and AdamW for each batch size, each in a process of its own; a step of
4,096 pairs of 256 tokens takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

from peers import peak_memory


def pairs(data: Path, count: int) -> tuple[list[str], list[str]]:
    """Titles and abstracts."""
    found: list[tuple[str, str]] = []
    for file in sorted((data / "arxiv").glob("*.tsv.gz")):
        with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
            names = next(lines).rstrip("\n").split("\t")
            title, abstract = names.index("title"), names.index("abstract")
            rows = (line.rstrip("\n").split("\t") for line in islice(lines, count - len(found)))
            found += [(row[title], row[abstract]) for row in rows]
    if len(found) < count:
        raise SystemExit(f"{data / 'arxiv'} has {len(found)} pairs, and a batch of {count} was asked for")
    titles, abstracts = zip(*found, strict=True)
    return list(titles), list(abstracts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--batches", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--mini", type=int, default=32, help="texts that are embedded at a time")
    parser.add_argument("--length", type=int, default=256, help="tokens that a text may have")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--step", type=int, help="run in a process of its own by this script: one batch of so many")
    options = parser.parse_args()
    if options.step:
        return step(options)
    print(f"{options.model}, texts of at most {options.length} tokens, {options.mini} at a time, {options.dtype}")
    for count in options.batches:
        command = [sys.executable, __file__, *sys.argv[1:], "--step", str(count)]
        answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(f"a batch of {count} pairs: peak {answer['peak'] / 1e6:.0f} MB, of which {answer['before'] / 1e6:.0f} MB "
              f"before the step; loss {answer['loss']:.4f}; {answer['seconds']:.0f} s", flush=True)  # fmt: skip


def step(options: argparse.Namespace) -> None:
    import torch

    from vicinal import SentenceTransformer
    from vicinal.losses import CachedMultipleNegativesRankingLoss

    torch.set_num_threads(options.threads)
    model = SentenceTransformer(options.model, processor_kwargs={"model_max_length": options.length})
    module = model.trainable().train()
    loss = CachedMultipleNegativesRankingLoss(model, mini_batch_size=options.mini)
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-5)
    columns = [module.preprocess(column) for column in pairs(options.data, options.step)]
    before, begin = peak_memory(), time.perf_counter()
    mixed = torch.autocast("cpu", torch.bfloat16) if options.dtype == "bfloat16" else contextlib.nullcontext()
    with mixed:
        value = loss(columns)
    value.backward()
    optimizer.step()
    seconds = time.perf_counter() - begin
    print(json.dumps({"peak": peak_memory(), "before": before, "loss": value.item(), "seconds": seconds}))


if __name__ == "__main__":
    main()
