"""Retrieval and similarity quality on public sets: STS-B test (Spearman) and SciFact test (nDCG@10).

usage: python benchmarks/quality.py DATA [MODEL ...] [--dtype float32]

DATA: a folder with stsb/test.tsv.gz and scifact/ in BEIR's form. MODEL: names or folders; "bundled" is vicinal's own.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

import numpy as np

from vicinal import SentenceTransformer, util


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs="*", default=["all-MiniLM-L6-v2", "bundled"])
    parser.add_argument("--dtype", nargs="*", default=["float32", "bfloat16", "int8"])
    options = parser.parse_args()
    print(f"{'model':32}{'dtype':10}{'STS-B test':>12}{'SciFact nDCG@10':>18}")
    for name in options.models:
        for dtype in ["float32"] if name == "bundled" else options.dtype:
            model = SentenceTransformer(None if name == "bundled" else name, dtype=dtype)
            print(
                f"{name:32}{dtype:10}{sts(model, options.data):12.2f}{scifact(model, options.data):18.2f}", flush=True
            )


def sts(model: SentenceTransformer, data: Path) -> float:
    """Spearman correlation of cosine and human score, times 100."""
    with gzip.open(data / "stsb" / "test.tsv.gz", "rt", encoding="utf-8") as lines:
        header = next(lines).rstrip("\n").split("\t")
        rows = [dict(zip(header, line.rstrip("\n").split("\t"), strict=True)) for line in lines]
    a, b = (model.encode([row[key] for row in rows]) for key in ("sentence1", "sentence2"))
    return 100 * spearman(util.pairwise_cos_sim(a, b), np.array([float(row["score"]) for row in rows]))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def scifact(model: SentenceTransformer, data: Path) -> float:
    """nDCG@10 of claims to abstracts by cosine, times 100."""
    folder = data / "scifact"
    corpus, queries = (jsonl(folder / f"{name}.jsonl.gz") for name in ("corpus", "queries"))
    relevant: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, score = line.split("\t")
        relevant.setdefault(query, {})[document] = int(score)
    documents = model.encode_document([f"{row['title']} {row['text']}".strip() for row in corpus], truncation="ignore")
    asked = [row for row in queries if row["_id"] in relevant]
    vectors = model.encode_query([row["text"] for row in asked])
    scores = []
    for row, hits in zip(asked, util.semantic_search(vectors, documents, top_k=10), strict=True):
        gains = relevant[row["_id"]]
        found = [gains.get(corpus[hit["corpus_id"]]["_id"], 0) for hit in hits]
        scores.append(dcg(found) / dcg(sorted(gains.values(), reverse=True)[:10]))
    return 100 * float(np.mean(scores))


def dcg(gains: list[int]) -> float:
    return float(sum(gain / np.log2(rank + 2) for rank, gain in enumerate(gains)))


def jsonl(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main()
