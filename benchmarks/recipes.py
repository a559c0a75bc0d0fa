"""What recipes gain, each from its beginning on public data.

usage: python benchmarks/recipes.py DATA NAME [--seeds 3] [--out recipes-work] [--threads N] [--texts N] [--steps N]
           [--dtype auto]

DATA: the folder of texts. NAME: distil-layers (MiniLM with 3 of its 6 layers), distil-dims (with 128 of its 384
dimensions), augmented (Augmented SBERT on 1,000 gold pairs of --set: stsb, mrpc or trecqa), queries (pseudo-queries
and, as its teacher, a cross-encoder given with --teacher, on the corpus of --corpus: scifact or cranfield), tsdae,
simcse, ct (on that corpus, from MiniLM).

Training computes in --dtype: auto is bfloat16 where the processor has it. Every run keeps its checkpoints in OUT, and
goes on there after a kill. Prints each seed's table, then mean and spread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from vicinal import CrossEncoder, SentenceTransformer
from vicinal.backends.openvino import has_bfloat16
from vicinal.evaluation import measuring
from vicinal.evaluation.files import read_beir, read_corpus, read_pairs
from vicinal.recipes.augment import SCHEDULE, TEACHER_SCHEDULE, Scored, augment
from vicinal.recipes.base import leaks
from vicinal.recipes.distil import distil, reduce_dimensions
from vicinal.recipes.queries import adapt_without_labels
from vicinal.recipes.runs import Outcome, Schedule
from vicinal.recipes.scores import SCHEDULE as SCORES
from vicinal.recipes.unsupervised import SCHEDULES, adapt

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
    parser.add_argument("--steps", type=int, default=0, help="of each training, in place of the recipe's own length")
    parser.add_argument("--layers", type=int, nargs="*", default=[0, 4, 5])
    parser.add_argument("--teacher", help="a cross-encoder")
    parser.add_argument("--set", choices=sorted(SETS), default="stsb", help="of augmented")
    parser.add_argument("--corpus", choices=("scifact", "cranfield"), default="scifact", help="that has no labels")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of training")
    options = parser.parse_args()
    options.bf16 = has_bfloat16() if options.dtype == "auto" else options.dtype == "bfloat16"
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


def once(task: measuring.Task) -> measuring.Task:
    """The task, which measures a model once, however many seeds begin with it."""
    known: dict[str, measuring.Measured] = {}

    def measure(model: SentenceTransformer) -> measuring.Measured:
        if model.fingerprint not in known:
            known[model.fingerprint] = task.measure(model)
        return known[model.fingerprint]

    return replace(task, measure=measure)


@cache
def tasks(data: Path) -> list[measuring.Task]:
    """STS-B and SciFact, test."""
    pairs = read_pairs(data / "stsb/test.tsv.gz", ["sentence1", "sentence2", "score"], quotes=False)
    options = {"truncation": "ignore"}
    return [
        once(measuring.similarity(pairs, options=options)),
        once(measuring.retrieval(read_beir(data / "scifact"), options=options)),
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


def distil_layers(options: argparse.Namespace, seed: int) -> Outcome:
    teacher = SentenceTransformer(MODEL, threads=options.threads)
    schedule = Schedule(
        steps=options.steps or 3600, batch_size=64, learning_rate=6e-4, warmup=0.05, bf16=options.bf16,
        save_every=100, seed=seed, threads=options.threads,
    )  # fmt: skip
    return distil(
        teacher, free_texts(options.data, options.texts), options.out / f"distil-layers-{seed}", layers=options.layers,
        batch_tokens=2048, schedule=schedule, tasks=tasks(options.data), say=say,
    )  # fmt: skip


def distil_dims(options: argparse.Namespace, seed: int) -> Outcome:
    teacher = SentenceTransformer(MODEL, threads=options.threads)
    texts = free_texts(options.data, min(options.texts, 20_000))
    out = options.out / f"distil-dims-{seed}"
    return reduce_dimensions(teacher, texts, 128, out, tasks=tasks(options.data), say=say)


SETS = {
    "stsb": (["sentence1", "sentence2", "score"], 5, measuring.similarity),
    "mrpc": (["sentence1", "sentence2", "label"], 1, measuring.duplicates),
    "trecqa": (["question", "sentence", "label"], 1, measuring.duplicates),
}
"""The columns of each set's pairs, their highest score, and what the model is measured by."""


def augmented(options: argparse.Namespace, seed: int) -> Outcome:
    names, highest, task = SETS[options.set]
    read = partial(read_pairs, names=names, quotes=False)
    measured = [task(read(options.data / options.set / "test.tsv.gz"))]
    pairs = read(options.data / options.set / "train.tsv.gz")
    rows = [
        Scored(a, b, score / highest)
        for a, b, score in zip(pairs.sentences1, pairs.sentences2, pairs.scores, strict=True)
    ]
    known = set(leaks((row[:2] for row in rows), measured[0].texts))
    rows = [row for i, row in enumerate(rows) if i not in known]
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    gold, rest = ([rows[i] for i in part] for part in (order[:1000], order[1000:]))
    sentences = [text for row in rest for text in row[:2]][: options.texts]
    student = SentenceTransformer(MODEL, threads=options.threads)
    few = {"steps": options.steps, "seed": seed, "threads": options.threads, "bf16": options.bf16}
    return augment(
        student, options.out / f"augmented-{options.set}-{seed}", gold=gold, sentences=sentences,
        per_sentence=2, silver=8000, schedule=replace(SCHEDULE, **few),
        teacher_schedule=replace(TEACHER_SCHEDULE, **few), tasks=measured, say=say,
    )  # fmt: skip


@cache
def corpus(folder: Path, count: int) -> tuple[list[tuple[str, str]], list[measuring.Task]]:
    """Titles and texts, and the test queries that are asked of them."""
    named = [row for row in read_corpus(folder) if row[1]][:count]
    return named, [once(measuring.retrieval(read_beir(folder), options={"truncation": "ignore"}))]


def unlabelled(options: argparse.Namespace, seed: int) -> Outcome:
    if options.teacher is None:
        raise SystemExit("queries needs --teacher, a cross-encoder")
    named, measured = corpus(options.data / options.corpus, options.texts)
    student = SentenceTransformer(MODEL, threads=options.threads)
    schedule = replace(SCORES, steps=options.steps, seed=seed, threads=options.threads, bf16=options.bf16)
    return adapt_without_labels(
        student, [text for _, text in named], CrossEncoder(options.teacher, threads=options.threads),
        options.out / f"queries-{options.corpus}-{seed}", titles=[title for title, _ in named], schedule=schedule,
        tasks=measured, say=say,
    )  # fmt: skip


def alone(method: str, options: argparse.Namespace, seed: int) -> Outcome:
    named, measured = corpus(options.data / options.corpus, options.texts)
    model = SentenceTransformer(MODEL, threads=options.threads)
    few = {"steps": options.steps, "seed": seed, "threads": options.threads, "bf16": options.bf16}
    schedule = replace(SCHEDULES[method], **few)
    out = options.out / f"{method}-{options.corpus}-{seed}"
    return adapt(model, [text for _, text in named], out, method=method, schedule=schedule, tasks=measured, say=say)


RECIPES: dict[str, Callable[[argparse.Namespace, int], Outcome]] = {
    "distil-layers": distil_layers,
    "distil-dims": distil_dims,
    "augmented": augmented,
    "queries": unlabelled,
    **{method: partial(alone, method) for method in SCHEDULES},
}

if __name__ == "__main__":
    main()
