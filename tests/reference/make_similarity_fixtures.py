"""Write tests/fixtures/similarity.npz: what sentence-transformers computes for the functions of vicinal.similarity.

Run by hand, in an environment of its own, when a behaviour is to be followed anew:

    pip install sentence-transformers==6.2.0
    python tests/reference/make_similarity_fixtures.py

Inputs are random; seeds are tried until no two scores that are ranked lie within float32 rounding of each other, so
that the order is the same for whoever computes it right.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch
from sentence_transformers import quantize_embeddings, util

OUT = Path(__file__).parent.parent / "fixtures" / "similarity.npz"
FUNCTIONS = ("cos_sim", "dot_score", "euclidean_sim", "manhattan_sim")
GAP = 4e-6


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def apart(scores: np.ndarray) -> bool:
    return bool(np.diff(np.sort(scores, axis=-1), axis=-1).min() > GAP)


def score_cases() -> Iterator[tuple[str, np.ndarray]]:
    a, b = normal(1, 7, 24), normal(2, 5, 24)
    a[3] = 0
    b[4] = a[0] * np.float32(1 + 1e-3)
    odd = a[:5, :23]
    yield from {"a": a, "b": b}.items()
    for name in FUNCTIONS:
        yield name, getattr(util, name)(a, b).numpy()
        yield f"pairwise_{name}", getattr(util, f"pairwise_{name}")(a[:5], b).numpy()
    yield "pairwise_angle_sim", util.pairwise_angle_sim(a[:5], b).numpy()
    yield "pairwise_angle_sim_odd", util.pairwise_angle_sim(odd, b[:, :23]).numpy()
    yield "normalize_embeddings", util.normalize_embeddings(torch.tensor(a)).numpy()


def search_cases() -> Iterator[tuple[str, np.ndarray]]:
    for seed in itertools.count():
        queries, corpus = normal(seed, 5, 16), normal(seed + 1000, 120, 16)
        if all(apart(getattr(util, name)(queries, corpus).numpy()) for name in FUNCTIONS):
            break
    yield from {"queries": queries, "corpus": corpus}.items()
    for name in FUNCTIONS:
        hits = util.semantic_search(queries, corpus, top_k=7, score_function=getattr(util, name))
        yield f"search_{name}_ids", np.array([[hit["corpus_id"] for hit in found] for found in hits])
        yield f"search_{name}_scores", np.array([[hit["score"] for hit in found] for found in hits])


def mining_cases() -> Iterator[tuple[str, np.ndarray]]:
    upper = np.triu_indices(50, 1)
    for seed in itertools.count():
        embeddings = normal(seed, 50, 16)
        if all(apart(getattr(util, name)(embeddings, embeddings).numpy()[upper]) for name in FUNCTIONS[:2]):
            break
    yield "mined", embeddings
    for label, settings in {"all": {}, "top_3": {"top_k": 3}, "best_40": {"max_pairs": 40, "top_k": 5}}.items():
        for name in FUNCTIONS[:2]:
            function = getattr(util, name)
            rows = util.paraphrase_mining_embeddings(torch.tensor(embeddings), score_function=function, **settings)
            yield f"mining_{name}_{label}", np.array(rows)


def community_cases() -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((12, 12))
    embeddings = (centres[rng.integers(0, 12, 150)] + 0.45 * rng.standard_normal((150, 12))).astype(np.float32)
    yield "clustered", embeddings
    found = [
        [threshold, least, util.community_detection(embeddings, threshold, least)]
        for threshold in (0.2, 0.6, 0.75, 0.9)
        for least in (1, 3, 10)
    ]
    yield "communities", np.array(json.dumps(found))


def quantization_cases() -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(6)
    embeddings, calibration = rng.standard_normal((110, 13)), 0.7 * rng.standard_normal((130, 13))
    embeddings[:, 4] = 0.25
    yield from {"unquantized": embeddings, "calibration": calibration}.items()
    for kind, precision in itertools.product(("float16", "float32", "float64"), ("int8", "uint8", "binary", "ubinary")):
        given, sample = embeddings.astype(kind), calibration.astype(kind)
        ways: dict[str, dict[str, Any]] = {
            "own": {},
            "calibrated": {"calibration_embeddings": sample},
            "ranges": {"ranges": np.stack([sample.min(axis=0), sample.max(axis=0)])},
        }
        for way, settings in ways.items() if "int" in precision else [("own", {})]:
            yield f"quantized_{kind}_{precision}_{way}", quantize_embeddings(given, precision, **settings)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    cases = (score_cases, search_cases, mining_cases, community_cases, quantization_cases)
    arrays = {name: array for case in cases for name, array in case()}
    OUT.parent.mkdir(exist_ok=True)
    np.savez_compressed(OUT, version=np.array(sentence_transformers.__version__), **arrays)
    print(f"{OUT}: {len(arrays)} arrays, {OUT.stat().st_size} bytes")
