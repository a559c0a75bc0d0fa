"""How many times as fast one model encodes as another, in turns, on texts of the throughput corpus.

usage: python benchmarks/speed.py DATA MODEL OTHER [--texts 500] [--rounds 4] [--dtype auto] [--threads N]

DATA: a folder with corpus_en/part-0.tsv.gz. MODEL, OTHER: names or folders, such as a teacher and its student.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

from encode import corpus

from vicinal import SentenceTransformer


def main() -> None:
    """Print both models' texts a second in each round, and the ratio's median, least and most."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs=2)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    texts = corpus(options.data, options.texts)
    models = [SentenceTransformer(name, dtype=options.dtype, threads=options.threads) for name in options.models]
    ratios = []
    for number in range(options.rounds + 1):  # the first one warms up
        seconds = []
        for model in models:
            begin = time.perf_counter()
            model.encode(texts, truncation="ignore")
            seconds.append(time.perf_counter() - begin)
        if number:
            ratios.append(seconds[0] / seconds[1])
            print(*(f"{len(texts) / taken:.1f}" for taken in seconds), "texts/s", flush=True)
    print(f"the second is {median(ratios):.2f} times as fast ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
