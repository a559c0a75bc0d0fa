"""The pure functions: gradients by finite differences, extremes, properties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vicinal import util
from vicinal.losses import BatchHardTripletLossDistanceFunction, SiameseDistanceMetric, TripletDistanceMetric
from vicinal.losses.batch_triplet import (
    batch_all_triplet,
    batch_hard_soft_margin_triplet,
    batch_hard_triplet,
    batch_semi_hard_triplet,
)
from vicinal.losses.contrastive import contrastive, online_contrastive
from vicinal.losses.distillation import candidate_scores, distill_kl_div, margin_targets, margins
from vicinal.losses.embeddings import embedding_distance
from vicinal.losses.gist import guided_ranking
from vicinal.losses.megabatch import mega_batch_margin
from vicinal.losses.orthogonal import spread
from vicinal.losses.pairs import cosent
from vicinal.losses.ranking import in_batch_ranking
from vicinal.losses.softmax import pair_features
from vicinal.losses.tension import contrastive_tension, contrastive_tension_in_batch
from vicinal.losses.triplet import triplet

SEEDS = st.integers(0, 10_000)
Tensors = list[Tensor]
ALL: Any = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")


def vectors(count: int, rows: int = 5, dims: int = 3, seed: int = 0) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(count, rows, dims, generator=generator, dtype=torch.float64).unbind())


BINARY = torch.tensor([1, 0, 1, 0, 0])
CLASSES = torch.tensor([0, 1, 0, 2, 1])
DEGREES = torch.tensor([0.1, 0.7, 0.7, 0.3, 0.0])
TEACHER = vectors(1, dims=2, seed=9)[0]

FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "in_batch_ranking": (4, lambda q, *d: in_batch_ranking(q, d, 3.0)),
    "in_batch_ranking, all": (3, lambda q, *d: in_batch_ranking(q, d, 3.0, util.cos_sim, ALL)),
    "in_batch_ranking, symmetric": (
        2,
        lambda q, *d: in_batch_ranking(q, d, 3.0, util.dot_score, ALL[::2], "per_direction"),
    ),
    "in_batch_ranking, chunks": (3, lambda q, *d: in_batch_ranking(q, d, 3.0, util.cos_sim, ALL, chunk=2)),
    "guided_ranking": (3, lambda a, *c: guided_ranking(a, c, *guides(2), temperature=0.5, margin=-0.3)),
    "mega_batch_margin": (2, lambda a, p: mega_batch_margin(a, p, 0.8, -0.5)),
    "contrastive": (2, lambda a, b: contrastive(a, b, BINARY, margin=1.5).mean()),
    "contrastive, euclidean": (2, lambda a, b: contrastive(a, b, BINARY, SiameseDistanceMetric.EUCLIDEAN, 9).sum()),
    "online_contrastive": (2, lambda a, b: online_contrastive(a, b, BINARY, margin=1.7)),
    "contrastive_tension": (2, lambda a, b: contrastive_tension(a, b, BINARY)),
    "contrastive_tension_in_batch": (2, lambda a, b: contrastive_tension_in_batch(a, b, 3.0)),
    "cosent": (2, lambda a, b: cosent(a, b, DEGREES, 3.0)),
    "angle": (2, lambda a, b: cosent(a, b, DEGREES, 3.0, util.pairwise_angle_sim)),
    "cosine": (2, lambda a, b: (util.pairwise_cos_sim(a, b) - DEGREES).square().mean()),
    "triplet": (3, triplet),
    "triplet, cosine": (3, lambda a, p, n: triplet(a, p, n, TripletDistanceMetric.COSINE, 1.0)),
    "triplet, manhattan": (3, lambda a, p, n: triplet(a, p, n, TripletDistanceMetric.MANHATTAN, 1.0)),
    "batch_all_triplet": (1, lambda e: batch_all_triplet(e, CLASSES)),
    "batch_hard_triplet": (1, lambda e: batch_hard_triplet(e, CLASSES)),
    "batch_hard_soft_margin_triplet": (1, lambda e: batch_hard_soft_margin_triplet(e, CLASSES)),
    "batch_semi_hard_triplet": (1, lambda e: batch_semi_hard_triplet(e, CLASSES, margin=1.0)),
    "margin": (4, lambda q, *c: (margins(candidate_scores(q, c)) - TEACHER).square().mean()),
    "distill_kl_div": (3, lambda q, *c: distill_kl_div(candidate_scores(q, c), TEACHER, 2.0, 0.7)),
    "embedding_distance, mse": (1, lambda e: embedding_distance(e, vectors(1, seed=3)[0], "mse")),
    "embedding_distance, l2": (1, lambda e: embedding_distance(e, vectors(1, seed=3)[0], "l2")),
    "embedding_distance, cosine": (1, lambda e: embedding_distance(e, vectors(1, seed=3)[0], "cosine")),
    "spread": (1, lambda e: torch.stack(spread(e)).sum()),
    "pair_features": (2, lambda u, v: pair_features(u, v, product=True).square().sum()),
}


def guides(candidates: int) -> tuple[Tensor, Tensors]:
    first, *others = vectors(candidates + 1, dims=4, seed=5)
    return first, others


EACH = pytest.mark.parametrize("name", FUNCTIONS)


@EACH
def test_gradient(name: str) -> None:
    count, function = FUNCTIONS[name]
    inputs = [tensor.requires_grad_() for tensor in vectors(count, seed=1)]
    assert torch.autograd.gradcheck(function, inputs)


EXTREMES: dict[str, Callable[[Tensors], Tensors]] = {
    "identical": lambda columns: [torch.ones_like(column) for column in columns],
    "zero": lambda columns: [torch.zeros_like(column) for column in columns],
    "one column zero": lambda columns: [*columns[:-1], torch.zeros_like(columns[-1])],
    "large": lambda columns: [column * 1e8 for column in columns],
    "small": lambda columns: [column * 1e-12 for column in columns],
}


@EACH
@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extremes_are_finite(name: str, extreme: str, dtype: Any) -> None:
    count, function = FUNCTIONS[name]
    inputs = [tensor.to(dtype).requires_grad_() for tensor in EXTREMES[extreme](vectors(count))]
    value = function(*inputs)
    assert torch.isfinite(value)
    gradients = torch.autograd.grad(value, inputs, allow_unused=True)
    assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None)


@pytest.mark.parametrize("name", ["in_batch_ranking", "in_batch_ranking, symmetric", "contrastive_tension_in_batch"])
def test_one_row_has_nothing_to_be_told_from(name: str) -> None:
    inputs = [tensor.requires_grad_() for tensor in vectors(2, rows=1)]
    value = FUNCTIONS[name][1](*inputs)
    torch.testing.assert_close(value.detach(), torch.zeros_like(value), atol=1e-12, rtol=0)
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(value, inputs))


def test_one_row_of_the_others() -> None:
    one = torch.tensor([1])
    a, b, c = (tensor.requires_grad_() for tensor in vectors(3, rows=1))
    values = [
        mega_batch_margin(a, b),
        online_contrastive(a, b, one),
        online_contrastive(a, b, one - 1),
        cosent(a, b, one),
        triplet(a, b, c),
        batch_all_triplet(a, one),
        batch_hard_triplet(a, one),
        batch_semi_hard_triplet(a, one),
        batch_hard_soft_margin_triplet(a, one),
        in_batch_ranking(a, [b], directions=ALL),
        guided_ranking(a, [b], a.detach(), [b.detach()]),
        *spread(a),
    ]
    for value in values:
        assert torch.isfinite(value)
        if value.requires_grad:
            gradients = torch.autograd.grad(value, [a, b, c], allow_unused=True, retain_graph=True)
            assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None)
    assert float(cosent(a, b, one).detach()) == 0
    assert float(mega_batch_margin(a, b, -1.0).detach()) == 0


LABELLED = {
    "contrastive": lambda a, b, y: contrastive(a, b, (y > 0.2).long()).mean(),
    "online_contrastive": lambda a, b, y: online_contrastive(a, b, (y > 0.2).long(), margin=1.5),
    "contrastive_tension": lambda a, b, y: contrastive_tension(a, b, (y > 0.2).long()),
    "cosent": cosent,
    "batch_all_triplet": lambda a, b, y: batch_all_triplet(a, (y * 3).long()),
    "batch_hard_triplet": lambda a, b, y: batch_hard_triplet(a, (y * 3).long()),
    "batch_semi_hard_triplet": lambda a, b, y: batch_semi_hard_triplet(a, (y * 3).long()),
}
UNLABELLED = ["in_batch_ranking", "in_batch_ranking, all", "in_batch_ranking, symmetric", "mega_batch_margin",
              "contrastive_tension_in_batch", "triplet", "spread"]  # fmt: skip


@pytest.mark.parametrize("name", UNLABELLED)
@given(SEEDS, st.permutations(range(5)))
def test_the_order_of_rows_does_not_matter(name: str, seed: int, order: list[int]) -> None:
    count, function = FUNCTIONS[name]
    columns = vectors(count, seed=seed)
    torch.testing.assert_close(function(*(column[order] for column in columns)), function(*columns))


@pytest.mark.parametrize("name", LABELLED)
@given(SEEDS, st.permutations(range(5)))
def test_the_order_of_labelled_rows_does_not_matter(name: str, seed: int, order: list[int]) -> None:
    a, b = vectors(2, seed=seed)
    value = LABELLED[name](a, b, DEGREES)
    torch.testing.assert_close(LABELLED[name](a[order], b[order], DEGREES[order]), value)


@pytest.mark.parametrize(
    "name",
    ["in_batch_ranking", "in_batch_ranking, all", "guided_ranking", "mega_batch_margin", "contrastive", "cosent",
     "angle", "triplet, cosine", "embedding_distance, cosine", "spread"],
)  # fmt: skip
@given(SEEDS, st.floats(0.01, 100))
def test_lengths_do_not_matter_to_angles(name: str, seed: int, factor: float) -> None:
    count, function = FUNCTIONS[name]
    columns = vectors(count, seed=seed)
    torch.testing.assert_close(function(*(factor * column for column in columns)), function(*columns))


@given(SEEDS)
def test_both_sides_are_alike_where_they_should_be(seed: int) -> None:
    a, b = vectors(2, seed=seed)
    for function in (
        lambda a, b: in_batch_ranking(a, [b], 3.0, directions=ALL[::2], partition_mode="per_direction"),
        lambda a, b: in_batch_ranking(a, [b], 3.0, directions=ALL),
        lambda a, b: contrastive_tension_in_batch(a, b, 3.0),
        lambda a, b: contrastive(a, b, BINARY).sum(),
        lambda a, b: cosent(a, b, DEGREES),
    ):
        torch.testing.assert_close(function(a, b), function(b, a))


@given(SEEDS, st.floats(0.1, 10), st.floats(-5, 5))
def test_only_the_order_of_degrees_matters(seed: int, factor: float, offset: float) -> None:
    a, b = vectors(2, seed=seed)
    torch.testing.assert_close(cosent(a, b, DEGREES.double() * factor + offset), cosent(a, b, DEGREES))
    assert float(cosent(a, b, torch.ones(5))) == 0


@given(SEEDS, st.floats(-5, 5))
def test_what_all_scores_share_does_not_matter(seed: int, offset: float) -> None:
    scores = vectors(1, dims=2, seed=seed)[0]
    torch.testing.assert_close(distill_kl_div(scores + offset, TEACHER - offset), distill_kl_div(scores, TEACHER))
    torch.testing.assert_close(margins(scores + offset), margins(scores))
    assert float(distill_kl_div(TEACHER, TEACHER)) == pytest.approx(0, abs=1e-12)


@given(SEEDS)
def test_batch_distances_are_those_of_pairs(seed: int) -> None:
    (e,) = vectors(1, seed=seed)
    square = BatchHardTripletLossDistanceFunction.euclidean_distance(e, squared=True)
    plain = BatchHardTripletLossDistanceFunction.eucledian_distance(e)
    torch.testing.assert_close(square, plain**2)
    assert torch.equal(plain.diagonal(), torch.zeros(5, dtype=torch.float64))


def test_a_candidate_left_out_by_the_teacher_teaches_nothing() -> None:
    scores = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[1.0, 2.0, -torch.inf], [0.0, -torch.inf, 3.0]])
    (gradient,) = torch.autograd.grad(distill_kl_div(scores, teacher), scores)
    assert torch.isfinite(gradient).all()


def test_margins_may_be_given_as_scores() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, 5.0]])
    wanted = torch.tensor([[2.0, 1.0], [-1.0, -5.0]])
    assert torch.equal(margin_targets(scores, 2, 2), wanted)
    assert torch.equal(margin_targets(wanted, 2, 2), wanted)
    assert torch.equal(margin_targets(list(scores), 2, 2), wanted)
    assert torch.equal(margin_targets(torch.tensor([1.0, 2.0]), 2, 1), torch.tensor([[1.0], [2.0]]))
