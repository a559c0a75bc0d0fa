"""Pairs a second of a reranker beside sentence-transformers' CrossEncoder, in one run, taking turns.

usage: python benchmarks/rerank.py DATA --peer PYTHON --model FOLDER [--queries 50] [--candidates 100] [--rounds 3]

DATA: a folder with corpus_en/part-0.tsv.gz, of which texts of 100 to 200 words are the candidates.
PYTHON: of an environment that has sentence-transformers (and optimum-onnx, for its ONNX backend; without it that row
is left out, and says so). FOLDER: all-MiniLM-L6-v2's files: a classification head with random weights is put on them,
since speed does not depend on what the weights say.

Also printed: what a pair costs beside a text of the same candidates in the bi-encoder of the same weights, how the
scores agree, and, of each of vicinal's rows, the share of the time that goes into tokens and into padding.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
import tempfile
import warnings
from itertools import islice
from pathlib import Path

from peers import PEER, Worker

OURS = ("vicinal:float32", "vicinal:bfloat16", "vicinal:int8", "vicinal-onnx:float32", "vicinal-torch:float32")
PEERS = (f"{PEER}:float32", f"{PEER}:bfloat16", f"{PEER}-onnx:float32")
REFERENCE = PEERS[0]
QUERIES = ("what is known about {}?", "how does {} work", "{}", "reasons for and against {}", "who wrote of {} first?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=None, help="rows to run beside the reference")
    options = parser.parse_args()
    names = [*PEERS, *OURS] if options.only is None else [REFERENCE, *options.only]
    with tempfile.TemporaryDirectory() as scratch:
        folder = str(Path(scratch) / "reranker")
        with_head(options.model, folder)
        jobs = candidates(options.data, options.queries, options.candidates)
        (file := Path(scratch) / "jobs.json").write_text(json.dumps(jobs))
        compare(names, folder, str(file), options, scratch)
        profile(folder, jobs)


def with_head(model: str, folder: str) -> None:
    """The encoder's weights with a head of one label, saved as both libraries load it."""
    import numpy as np

    from vicinal import CrossEncoder

    np.random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CrossEncoder(model, num_labels=1, max_length=512).save(folder)


def candidates(data: Path, queries: int, count: int) -> list[tuple[str, list[str]]]:
    """(query, candidates) of each query; a query asks for a few words of one of its candidates."""
    with gzip.open(data / "corpus_en" / "part-0.tsv.gz", "rt", encoding="utf-8") as lines:
        texts = (line.rstrip("\n").split("\t")[1] for line in islice(lines, 1, None))
        pool = list(islice((text for text in texts if 100 <= len(text.split()) <= 200), queries * count))
    if len(pool) < queries * count:
        raise SystemExit(f"{data} has only {len(pool)} texts of 100 to 200 words; give fewer queries or candidates")
    jobs = []
    for i in range(queries):
        own = pool[i * count : (i + 1) * count]
        jobs.append((QUERIES[i % len(QUERIES)].format(" ".join(own[i % count].split()[3:7])), own))
    return jobs


def compare(names: list[str], folder: str, file: str, options: argparse.Namespace, scratch: str) -> None:
    import numpy as np

    pairs = options.queries * options.candidates
    workers, rounds = {}, {}
    for name in names:
        worker = Worker(f"rerank/{name}", options.peer if name.startswith(PEER) else sys.executable, folder)
        try:
            worker.ask(file=file, run=True, save=f"{scratch}/{name}.npy")  # warm, and keep the scores
        except (SystemExit, BrokenPipeError) as error:
            print(f"{name}: left out: {error}")
            continue
        workers[name], rounds[name] = worker, []
    bi = Worker("bi/vicinal:bfloat16", sys.executable, options.model)
    bi.ask(file=file, run=True)
    texts: list[float] = []
    for _ in range(options.rounds):
        for name, worker in workers.items():
            rounds[name].append(worker.ask(run=True)["seconds"])
        texts.append(bi.ask(run=True)["seconds"])
    for worker in (*workers.values(), bi):
        worker.close()
    print(
        f"\n{options.queries} queries with {options.candidates} candidates of 100 to 200 words, {options.rounds} rounds"
    )
    print(f"{'':34}{'pairs/s':>9}  ratio to {REFERENCE}: median (min-max)   largest difference of a score")
    wanted = np.load(f"{scratch}/{REFERENCE}.npy")
    for name in workers:
        ratios = [a / b for a, b in zip(rounds[REFERENCE], rounds[name], strict=True)]
        away = np.abs(np.load(f"{scratch}/{name}.npy") - wanted).max()
        print(
            f"{name:34}{pairs / statistics.median(rounds[name]):9.0f}  {statistics.median(ratios):8.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f}){away:>30.1e}"
        )
    if "vicinal:bfloat16" in rounds:
        cost = [a / b for a, b in zip(rounds["vicinal:bfloat16"], texts, strict=True)]
        print(
            f"\nat bfloat16 a pair costs {statistics.median(cost):.2f} times ({min(cost):.2f}-{max(cost):.2f}) what "
            "the bi-encoder needs for its candidate, which it needs only once for all queries"
        )


def profile(folder: str, jobs: list[tuple[str, list[str]]]) -> None:
    """Tokens, padding and the time that goes before the network, of all pairs in one call."""
    import time

    from vicinal import CrossEncoder
    from vicinal.text.batches import plan

    model = CrossEncoder(folder)
    route = model.spec.route(None)
    pairs = [(query, text) for query, own in jobs for text in own]
    tokenizer = model._engine.tokenizer(route)
    begin = time.perf_counter()
    windows = [tokenizer(pairs[i : i + 512], route.max_length) for i in range(0, len(pairs), 512)]
    tokenizing = time.perf_counter() - begin
    real = sum(int(tokens.lengths.sum()) for tokens in windows)
    batches = [batch for tokens in windows for batch in plan(tokens.lengths, 2048, None, route.max_length)]
    padded = sum(len(rows) * width for rows, width in batches)
    begin = time.perf_counter()
    model.predict(pairs, truncation="ignore")
    whole = time.perf_counter() - begin
    padding, share = 100 * (1 - real / padded), 100 * tokenizing / whole
    print(
        f"\n{len(pairs)} pairs of {real / len(pairs):.0f} tokens; {padding:.1f} % of what is computed is padding; "
        f"tokenizing, beside the network, is {share:.1f} % of the time at {model.dtype}"
    )


if __name__ == "__main__":
    main()
