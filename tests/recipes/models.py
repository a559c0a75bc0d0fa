"""What the tests of recipes train: tiny models, and texts of their words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests import tiny
from vicinal import SentenceTransformer
from vicinal.evaluation import measuring
from vicinal.evaluation.files import PairSet, RetrievalSet
from vicinal.recipes.runs import Schedule

QUICK = Schedule(epochs=1, batch_size=8, learning_rate=1e-3, save_every=2)
WORDS = ("red", "green", "apple", "tax", "law", "the", *"abcdefgh")


def texts(count: int, seed: int = 0, least: int = 2) -> list[str]:
    """Different texts of two to nine words."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(rng.choice(WORDS, rng.integers(least, 9)))] = None
    return list(found)


def passages(count: int = 24) -> list[str]:
    """Different ones of four sentences."""
    return [". ".join(texts(4, seed, least=4)) + "." for seed in range(count)]


def held_out(count: int, seed: int, least: int = 2) -> list[str]:
    """Texts that `texts` never gives."""
    return [f"query {text}" for text in texts(count, seed, least)]


def deep_teacher(folder: Path, layers: int = 4) -> SentenceTransformer:
    """A BERT of more layers than the tests' own."""
    return SentenceTransformer(
        tiny.write_bert(folder, tensors=tiny.bert_tensors(layers=layers), config={"num_hidden_layers": layers}),
        dtype="float32",
        threads=1,
    )


def likeness(count: int = 30) -> measuring.Task:
    """Pairs whose score is the share of common words."""
    a, b = held_out(count, 101), held_out(count, 102)
    words = [(set(x.split()), set(y.split())) for x, y in zip(a, b, strict=True)]
    return measuring.similarity(PairSet("likeness", a, b, [len(x & y) / len(x | y) for x, y in words]))


def finding(count: int = 12) -> measuring.Task:
    """Queries that are the first words of their documents."""
    documents = held_out(count, 103, least=4)
    queries = {str(i): " ".join(text.split()[:3]) for i, text in enumerate(documents)}
    relevant = {str(i): {str(i): 1.0} for i in range(count)}
    corpus = {str(i): text for i, text in enumerate(documents)}
    return measuring.retrieval(RetrievalSet("finding", queries, corpus, relevant))
