"""What recipes gain, each from its beginning on public data.

usage: python benchmarks/recipes.py DATA NAME [--seeds 3] [--out recipes-work] [--threads N] [--texts N] [--steps N]

DATA: the folder of texts. NAME: distil-layers (MiniLM with 3 of its 6 layers), distil-dims (with 128 of its 384
dimensions), augmented (Augmented SBERT on 1,000 gold pairs of STS-B), queries (pseudo-queries and, as its teacher, a
cross-encoder given with --teacher, on SciFact's corpus), unsupervised (TSDAE, SimCSE and contrastive tension there).

Every run keeps its checkpoints in OUT, and goes on there after a kill. Prints each seed's table, then mean and spread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vicinal import SentenceTransformer
from vicinal.evaluation import measuring
from vicinal.evaluation.files import read_beir, read_pairs
from vicinal.recipes.distil import distil, reduce_dimensions
from vicinal.recipes.runs import Outcome, Schedule

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
import make_bundled_model as texts_of  # what may be trained on, as for the bundled model

MODEL = "all-MiniLM-L6-v2"
LONG = 12_000, 6_000
"""Abstracts and paragraphs, and answers, beside the shorter texts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("recipes-work"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--texts", type=int, default=213_000, help="that are trained on, at most")
    parser.add_argument("--steps", type=int, default=3600, help="of the training")
    parser.add_argument("--layers", type=int, nargs="*", default=[0, 4, 5])
    parser.add_argument("--teacher", help="a cross-encoder")
    options = parser.parse_args()
    outcomes = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        began = time.monotonic()
        outcome = RECIPES[options.name](options, seed)
        say(f"{options.name}, seed {seed}: {time.monotonic() - began:.0f} s")
        print(outcome, flush=True)
        outcomes.append(outcome)
    for rows in zip(*(outcome.rows for outcome in outcomes), strict=True):
        for what in ("before", "after", "difference"):
            values = np.array([getattr(row, what).value for row in rows])
            spread = f", spread {values.std(ddof=1):.4f}" if len(values) > 1 else ""
            print(f"{rows[0].task} {rows[0].metric} {what}: mean {values.mean():.4f}{spread}")


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def tasks(data: Path) -> list[measuring.Task]:
    """STS-B and SciFact, test."""
    pairs = read_pairs(data / "stsb/test.tsv.gz", ["sentence1", "sentence2", "score"], quotes=False)
    options = {"truncation": "ignore"}
    return [
        measuring.similarity(pairs, options=options),
        measuring.retrieval(read_beir(data / "scifact"), options=options),
    ]


def free_texts(data: Path, count: int) -> list[str]:
    """Texts of which published weights may be made, short ones and whole paragraphs, in order of their hash."""
    texts = texts_of.collect(data)
    paragraphs = [row["abstract"] for row in texts_of._tsv(data / "arxiv/title_abstract.tsv.gz")]
    for i in range(4):
        rows = texts_of._tsv(data / f"corpus_en/part-{i}.tsv.gz")
        paragraphs += [row["text"] for row in rows if row["source"] in ("arxiv_abstract", "book_paragraph")]
    _, answers = texts_of._medquad(data)
    long = texts_of._draw(paragraphs, LONG[0], "long") + texts_of._draw(answers, LONG[1], "long")
    held = set()
    for split in ("train", "dev", "test"):
        for row in texts_of._tsv(data / f"stsb/{split}.tsv.gz"):
            held |= {texts_of.normalised(row["sentence1"]), texts_of.normalised(row["sentence2"])}
    long = [t for t in long if held.isdisjoint(map(texts_of.normalised, [t, *texts_of.sentences(t)]))]
    found = list(dict.fromkeys(texts + long))
    return texts_of._draw(found, len(found), "order")[:count]


def plan(options: argparse.Namespace, seed: int, **wishes: object) -> Schedule:
    return Schedule(seed=seed, steps=options.steps, threads=options.threads, **wishes)


def distil_layers(options: argparse.Namespace, seed: int) -> Outcome:
    teacher = SentenceTransformer(MODEL, threads=options.threads)
    schedule = plan(
        options, seed, batch_size=64, learning_rate=6e-4, warmup=0.05, bf16=True, save_every=100
    )
    texts = free_texts(options.data, options.texts)
    out = options.out / f"distil-layers-{seed}"
    return distil(teacher, texts, out, layers=options.layers, batch_tokens=2048, schedule=schedule, tasks=tasks(options.data), say=say)


def distil_dims(options: argparse.Namespace, seed: int) -> Outcome:
    teacher = SentenceTransformer(MODEL, threads=options.threads)
    texts = free_texts(options.data, min(options.texts, 20_000))
    return reduce_dimensions(
        teacher, texts, 128, options.out / f"distil-dims-{seed}", tasks=tasks(options.data), say=say
    )


RECIPES: dict[str, Callable[[argparse.Namespace, int], Outcome]] = {
    "distil-layers": distil_layers,
    "distil-dims": distil_dims,
}

if __name__ == "__main__":
    main()
