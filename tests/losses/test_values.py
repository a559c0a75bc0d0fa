"""The pure functions' values, by loops over listed rows and pairs."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.losses.test_functions import ALL, BINARY, DEGREES, SEEDS, TEACHER, vectors
from vicinal.losses.batch_triplet import (
    batch_all_triplet,
    batch_hard_soft_margin_triplet,
    batch_hard_triplet,
    batch_semi_hard_triplet,
)
from vicinal.losses.contrastive import contrastive, online_contrastive
from vicinal.losses.distillation import candidate_scores, distill_kl_div, margins
from vicinal.losses.embeddings import embedding_distance
from vicinal.losses.gist import guided_ranking
from vicinal.losses.megabatch import mega_batch_margin
from vicinal.losses.orthogonal import spread
from vicinal.losses.pairs import cosent
from vicinal.losses.ranking import in_batch_ranking
from vicinal.losses.tension import contrastive_tension, contrastive_tension_in_batch
from vicinal.losses.triplet import triplet


def cosine(a: Tensor, b: Tensor) -> float:
    lengths = math.sqrt(sum(x * x for x in a.tolist())) * math.sqrt(sum(x * x for x in b.tolist()))
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True)) / lengths


def distance(a: Tensor, b: Tensor) -> float:
    return math.dist(a.tolist(), b.tolist())


def log_sum(values: list[float]) -> float:
    return math.log(sum(math.exp(value) for value in values))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@given(SEEDS)
def test_in_batch_ranking_by_hand(seed: int) -> None:
    queries, first, second = vectors(3, seed=seed)
    documents = [*first, *second]
    rows, scale = range(len(queries)), 2.5
    everything, forward, symmetric = [], [], []
    for i in rows:
        q2d = [scale * cosine(queries[i], document) for document in documents]
        q2q = [scale * cosine(queries[i], queries[j]) for j in rows if j != i]
        d2q = [scale * cosine(queries[j], first[i]) for j in rows]
        d2d = [scale * cosine(documents[j], first[i]) for j in range(len(documents)) if j % len(rows) != i]
        own = q2d[i]
        forward.append(log_sum(q2d) - own)
        everything.append(log_sum(q2d + q2q + d2q + d2d) - own)
        symmetric.append((log_sum(q2d) + log_sum(d2q)) / 2 - own)
    columns = [first, second]
    for options, wanted in (
        ({}, forward),
        ({"directions": ALL}, everything),
        ({"directions": ALL[::2], "partition_mode": "per_direction"}, symmetric),
    ):
        for chunk in (None, 2):
            value = in_batch_ranking(queries, columns, scale, chunk=chunk, **options)
            assert float(value) == pytest.approx(mean(wanted), abs=1e-9)
        part = in_batch_ranking(queries, columns, scale, rows=range(1, 3), **options)
        assert float(part) == pytest.approx(mean(wanted[1:3]), abs=1e-9)


@given(SEEDS)
def test_hardness_by_hand(seed: int) -> None:
    queries, first, second = vectors(3, seed=seed)
    documents, rows = [*first, *second], range(len(queries))
    counted = {
        "in_batch_negatives": lambda i, j: j % len(rows) != i,
        "hard_negatives": lambda i, j: j == i + len(rows),
        "all_negatives": lambda i, j: j != i,
    }
    for mode, holds in counted.items():
        terms = []
        for i in rows:
            similarities = [cosine(queries[i], document) for document in documents]
            scores = [2 * s + 3 * s * holds(i, j) for j, s in enumerate(similarities)]
            terms.append(log_sum(scores) - scores[i])
        value = in_batch_ranking(queries, [first, second], 2.0, hardness_mode=mode, hardness_strength=3.0)  # type: ignore[arg-type]
        assert float(value) == pytest.approx(mean(terms), abs=1e-9)


@given(SEEDS, st.sampled_from([-0.5, 0.0, 0.2]), st.booleans())
def test_guided_ranking_by_hand(seed: int, margin: float, relative: bool) -> None:
    anchors, positives, negatives = vectors(3, seed=seed)
    guide_a, guide_p, guide_n = vectors(3, dims=4, seed=seed + 1)
    rows, terms = range(len(anchors)), []
    for i in rows:
        own = cosine(guide_a[i], guide_p[i])
        bound = own - margin * (abs(own) if relative else 1)
        kept = [cosine(anchors[i], positives[i])]
        for j in rows:
            others = [(anchors, negatives, guide_a, guide_n, True)]
            if j != i:
                others += [
                    (anchors, positives, guide_a, guide_p, True),
                    (anchors, anchors, guide_a, guide_a, True),
                    (positives, positives, guide_p, guide_p, True),
                ]
            kept += [cosine(x[i], y[j]) for x, y, gx, gy, _ in others if not cosine(gx[i], gy[j]) > bound]
        terms.append(log_sum([score / 0.5 for score in kept]) - kept[0] / 0.5)
    for chunk in (None, 2):
        value = guided_ranking(
            anchors,
            [positives, negatives],
            guide_a,
            [guide_p, guide_n],
            0.5,
            "relative" if relative else "absolute",
            margin,
            chunk=chunk,
        )
        assert float(value) == pytest.approx(mean(terms), abs=1e-9)


@given(SEEDS)
def test_mega_batch_margin_by_hand(seed: int) -> None:
    anchors, positives = vectors(2, seed=seed)
    terms = []
    for i in range(len(anchors)):
        hardest = max(cosine(anchors[i], positives[j]) for j in range(len(anchors)) if j != i)
        terms.append(max(0, 0.8 - cosine(anchors[i], positives[i])) + max(0, hardest - 0.1))
    for chunk in (None, 2):
        assert float(mega_batch_margin(anchors, positives, 0.8, 0.1, chunk)) == pytest.approx(mean(terms), abs=1e-9)


@given(SEEDS)
def test_contrastive_by_hand(seed: int) -> None:
    a, b = vectors(2, seed=seed)
    distances = [1 - cosine(x, y) for x, y in zip(a, b, strict=True)]
    labels = BINARY.tolist()
    each = [0.5 * (d**2 if y else max(0, 0.7 - d) ** 2) for d, y in zip(distances, labels, strict=True)]
    torch.testing.assert_close(contrastive(a, b, BINARY, margin=0.7).tolist(), each)
    positives = [d for d, y in zip(distances, labels, strict=True) if y]
    negatives = [d for d, y in zip(distances, labels, strict=True) if not y]
    hard = [d**2 for d in positives if d > min(negatives)]
    hard += [max(0, 0.7 - d) ** 2 for d in negatives if d < max(positives)]
    assert float(online_contrastive(a, b, BINARY, margin=0.7)) == pytest.approx(sum(hard), abs=1e-9)


@given(SEEDS)
def test_cosent_by_hand(seed: int) -> None:
    a, b = vectors(2, seed=seed)
    scores = [2.0 * cosine(x, y) for x, y in zip(a, b, strict=True)]
    degrees = DEGREES.tolist()
    pairs = [(i, j) for i, j in itertools.product(range(5), repeat=2) if degrees[i] < degrees[j]]
    wanted = math.log(1 + sum(math.exp(scores[i] - scores[j]) for i, j in pairs))
    assert float(cosent(a, b, DEGREES, 2.0)) == pytest.approx(wanted, abs=1e-9)


@given(SEEDS)
def test_triplets_by_hand(seed: int) -> None:
    a, p, n = vectors(3, seed=seed)
    terms = [max(0, distance(x, y) - distance(x, z) + 0.5) for x, y, z in zip(a, p, n, strict=True)]
    assert float(triplet(a, p, n, margin=0.5)) == pytest.approx(mean(terms), abs=1e-9)


@given(SEEDS, st.lists(st.integers(0, 2), min_size=3, max_size=6).filter(lambda labels: len(set(labels)) > 1))
def test_batch_triplets_by_hand(seed: int, labels: list[int]) -> None:
    (embeddings,) = vectors(1, rows=len(labels), seed=seed)
    rows, margin = range(len(labels)), 1.0
    apart = {(i, j): distance(embeddings[i], embeddings[j]) for i in rows for j in rows}
    positives = [(i, j) for i in rows for j in rows if i != j and labels[i] == labels[j]]
    negatives = {i: [apart[i, k] for k in rows if labels[k] != labels[i]] for i in rows}
    every = [apart[i, j] - d + margin for i, j in positives for d in negatives[i]]
    violated = [value for value in every if value > 0]
    farthest = [max([apart[i, j] for a, j in positives if a == i], default=0.0) for i in rows]
    hard = [max(0, farthest[i] - min(negatives[i]) + margin) for i in rows]
    soft = [math.log(1 + math.exp(farthest[i] - min(negatives[i]))) for i in rows]
    semi = []
    for i, j in positives:
        outside = [d for d in negatives[i] if d > apart[i, j]]
        semi.append(max(0, apart[i, j] - (min(outside) if outside else max(negatives[i])) + margin))
    classes = torch.tensor(labels)
    for function, wanted in (
        (batch_all_triplet, mean(violated) if violated else 0.0),
        (batch_hard_triplet, mean(hard)),
        (batch_semi_hard_triplet, mean(semi) if semi else 0.0),
    ):
        assert float(function(embeddings, classes, margin=margin)) == pytest.approx(wanted, abs=1e-9)
    assert float(batch_hard_soft_margin_triplet(embeddings, classes)) == pytest.approx(mean(soft), abs=1e-9)


@given(SEEDS)
def test_tension_by_hand(seed: int) -> None:
    a, b = vectors(2, seed=seed)
    products = [sum((x * y).tolist()) for x, y in zip(a, b, strict=True)]
    terms = [math.log(1 + math.exp(s)) - y * s for s, y in zip(products, BINARY.tolist(), strict=True)]
    assert float(contrastive_tension(a, b, BINARY)) == pytest.approx(sum(terms), abs=1e-9)
    rows = range(len(a))
    there = [log_sum([2 * cosine(a[i], b[j]) for j in rows]) - 2 * cosine(a[i], b[i]) for i in rows]
    back = [log_sum([2 * cosine(a[j], b[i]) for j in rows]) - 2 * cosine(a[i], b[i]) for i in rows]
    assert float(contrastive_tension_in_batch(a, b, 2.0)) == pytest.approx(mean(there + back), abs=1e-9)


@given(SEEDS)
def test_distillation_by_hand(seed: int) -> None:
    query, *candidates = vectors(3, seed=seed)
    scores = [[sum((query[i] * c[i]).tolist()) for c in candidates] for i in range(len(query))]
    terms = []
    for row, teacher in zip(scores, TEACHER.tolist(), strict=True):
        wanted = [math.exp(t / 0.7 - log_sum([x / 0.7 for x in teacher])) for t in teacher]
        found = [s / 2 - log_sum([x / 2 for x in row]) for s in row]
        terms.append(sum(w * (math.log(w) - f) for w, f in zip(wanted, found, strict=True)))
    value = distill_kl_div(candidate_scores(query, candidates), TEACHER, 2.0, 0.7)
    assert float(value) == pytest.approx(4 * mean(terms), abs=1e-9)
    torch.testing.assert_close(
        margins(torch.tensor(scores, dtype=torch.float64)).tolist(), [[row[0] - row[1]] for row in scores]
    )


@given(SEEDS)
def test_distances_and_spread_by_hand(seed: int) -> None:
    e, t = vectors(2, seed=seed)
    squares = [(x - y) ** 2 for u, v in zip(e.tolist(), t.tolist(), strict=True) for x, y in zip(u, v, strict=True)]
    assert float(embedding_distance(e, t, "mse")) == pytest.approx(mean(squares))
    assert float(embedding_distance(e, t, "l2")) == pytest.approx(
        mean([distance(x, y) for x, y in zip(e, t, strict=True)])
    )
    cosines = [cosine(x, y) for x, y in zip(e, t, strict=True)]
    assert float(embedding_distance(e, t)) == pytest.approx(1 - mean(cosines))
    pairs = [cosine(e[i], e[j]) for i in range(5) for j in range(5) if i != j]
    first, second = spread(e)
    assert float(first) == pytest.approx(mean(pairs) ** 2, abs=1e-12)
    assert float(second) == pytest.approx(max(0, mean([p * p for p in pairs]) - 1 / 3), abs=1e-12)
