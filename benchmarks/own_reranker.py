"""A reranker from all-MiniLM-L6-v2's weights: what it adds to the encoder on sets that it was not trained on.

usage: python benchmarks/own_reranker.py DATA --output FOLDER [--arxiv 3000] [--medquad 1500] [--queries 200]
           [--candidates 50] [--model all-MiniLM-L6-v2] [--seed 0] [--float32]

DATA: a folder with scifact, cranfield and medquad in BEIR form, and arxiv/title_abstract.tsv.gz.

Trained on claims and abstracts (SciFact, train), titles and abstracts (arXiv), questions and answers (MedQuAD, train),
with four negatives each that the encoder mines. Its weight beside the encoder is chosen on titles of other abstracts
and on MedQuAD's dev questions. Judged on Cranfield, of which nothing was trained on, and on the test queries of SciFact
and MedQuAD; a paired randomisation test over queries. A run that was cut off goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import gzip
import random
import time
import warnings
from pathlib import Path

from vicinal import SentenceTransformer
from vicinal.evaluation.files import RetrievalSet, read_beir
from vicinal.recipes.judging import best_weight, judge
from vicinal.recipes.reranker import Pair, check_unseen, read_pairs, train_reranker

HELD = 100
"""Titles that the weight is chosen by."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--arxiv", type=int, default=3000, help="titles to train on (%(default)s)")
    parser.add_argument("--medquad", type=int, default=1500, help="questions to train on (%(default)s)")
    parser.add_argument("--queries", type=int, default=200, help="at most, of each set that is judged on (%(default)s)")
    parser.add_argument("--candidates", type=int, default=50, help="that are reranked (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--float32", action="store_true", help="train without bfloat16")
    options = parser.parse_args()
    data, draw = options.data, random.Random(options.seed)
    warnings.simplefilter("ignore")  # passages longer than the model

    titles = titles_and_abstracts(data)
    held, rest = titles[:HELD], titles[HELD:]
    pairs = [*read_pairs(str(data / "scifact"))[0], *rest[: options.arxiv]]
    pairs += draw.sample(read_pairs(str(data / "medquad"))[0], options.medquad)
    known = {query for query, _ in pairs}
    weigh = [arxiv_set(held, rest), some(read_beir(data / "medquad", "dev"), HELD, known, draw)]
    tests = [
        some(read_beir(data / name, split), options.queries, known, draw)
        for name, split in (("cranfield", None), ("scifact", "test"), ("medquad", "test"))
    ]
    for found in (*weigh, *tests):
        check_unseen(pairs, found)
    encoder = SentenceTransformer(options.model)
    say(f"{len(pairs):,} pairs")
    reranker, _ = train_reranker(
        encoder, pairs, options.output, bf16=not options.float32, seed=options.seed, max_length=256, save_steps=50
    )
    say(f"trained: {options.output / 'model'}")
    chosen = [judge(encoder, reranker, found, options.candidates) for found in weigh]
    for found in chosen:
        say(f"{found.name}: " + ", ".join(f"{w:.1f} {found.ndcg(w).mean():.4f}" for w in (0, 0.2, 0.4, 0.6, 0.8, 1)))
    weight = best_weight(chosen)
    say(f"weight {weight:.2f}")
    for found in tests:
        judged = judge(encoder, reranker, found, options.candidates)
        for row in (judged.compared(), judged.compared(weight)):
            print(row, flush=True)


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


def titles_and_abstracts(data: Path) -> list[Pair]:
    """(title, abstract) of arXiv's papers, in the file's order."""
    with gzip.open(data / "arxiv" / "title_abstract.tsv.gz", "rt", encoding="utf-8", newline="\n") as lines:
        next(lines)
        rows = [line.rstrip("\n").split("\t") for line in lines]
    return [(row[2], row[3]) for row in rows]


def arxiv_set(held: list[Pair], rest: list[Pair]) -> RetrievalSet:
    """Titles that look for their abstract among 5,000."""
    corpus = [abstract for _, abstract in held] + [abstract for _, abstract in rest[-(5000 - len(held)) :]]
    queries = {f"q{i}": title for i, (title, _) in enumerate(held)}
    relevant = {f"q{i}": {f"d{i}": 1.0} for i in range(len(held))}
    return RetrievalSet("arxiv/held out", queries, {f"d{i}": text for i, text in enumerate(corpus)}, relevant)


def some(found: RetrievalSet, most: int, known: set[str], draw: random.Random) -> RetrievalSet:
    """So many of a set's queries, none that is known already."""
    ids = [query for query, text in found.queries.items() if text not in known]
    kept = sorted(draw.sample(ids, min(most, len(ids))))
    queries = {query: found.queries[query] for query in kept}
    return RetrievalSet(found.name, queries, found.corpus, {query: found.relevant[query] for query in kept})


if __name__ == "__main__":
    main()
