"""Every loss against sentence-transformers' of that name: same model, same features, value and all gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sentence_transformers import util as their_util
from sentence_transformers.sentence_transformer import losses as theirs
from torch import nn

from tests.losses.models import assert_same, columns, run, sentence_model
from vicinal import losses, util

ROWS = 6
SCORES = torch.tensor([0.9, 0.1, 0.5, 0.5, 0.0, 1.0], dtype=torch.float64)
BINARY = torch.tensor([1, 0, 1, 1, 0, 0])
CLASSES = torch.tensor([0, 1, 0, 2, 1, 1])


def normal(*shape: int, seed: int = 7) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
Case = tuple[str, dict[str, Any], int, Any]

CASES: list[Case] = [
    ("MultipleNegativesRankingLoss", {}, 2, None),
    ("MultipleNegativesRankingLoss", {"scale": 3.0, "similarity_fct": "dot_score"}, 4, None),
    ("MultipleNegativesRankingLoss", {"directions": DIRECTIONS}, 4, None),
    ("MultipleNegativesRankingLoss", {"directions": DIRECTIONS[:2]}, 3, None),
    ("MultipleNegativesRankingLoss", {"directions": (DIRECTIONS[0], DIRECTIONS[3])}, 3, None),
    ("MultipleNegativesRankingLoss", {"directions": DIRECTIONS[::2], "partition_mode": "per_direction"}, 3, None),
    *(
        (name, {"hardness_mode": mode, "hardness_strength": 4.0, "scale": 5.0, **more}, 4, None)
        for mode in ("in_batch_negatives", "hard_negatives", "all_negatives")
        for name, more in (
            ("MultipleNegativesRankingLoss", {}),
            ("CachedMultipleNegativesRankingLoss", {"mini_batch_size": 4}),
        )
    ),
    ("CachedMultipleNegativesRankingLoss", {"mini_batch_size": 4, "directions": DIRECTIONS}, 4, None),
    ("CachedMultipleNegativesRankingLoss", {"mini_batch_size": 1}, 2, None),
    ("CachedMultipleNegativesRankingLoss", {"mini_batch_num_tokens": 9, "mini_batch_size": 2}, 3, None),
    ("MultipleNegativesSymmetricRankingLoss", {}, 3, None),
    ("CachedMultipleNegativesSymmetricRankingLoss", {"mini_batch_size": 4}, 3, None),
    ("MegaBatchMarginLoss", {"positive_margin": 0.99, "negative_margin": 0.0, "mini_batch_size": 4}, 2, None),
    ("MegaBatchMarginLoss", {"use_mini_batched_version": False}, 2, None),
    ("ContrastiveLoss", {}, 2, BINARY),
    ("ContrastiveLoss", {"size_average": False, "margin": 3.0, "distance_metric": "EUCLIDEAN"}, 2, BINARY.double()),
    ("ContrastiveLoss", {"distance_metric": "MANHATTAN", "margin": 9.0}, 2, BINARY.unsqueeze(1)),
    ("OnlineContrastiveLoss", {"margin": 1.5}, 2, BINARY),
    ("OnlineContrastiveLoss", {"margin": 9.0, "distance_metric": "EUCLIDEAN"}, 2, BINARY),
    ("OnlineContrastiveLoss", {"margin": 1.5}, 2, torch.ones(ROWS)),
    ("OnlineContrastiveLoss", {"margin": 1.5}, 2, torch.zeros(ROWS)),
    ("ContrastiveTensionLoss", {}, 2, BINARY),
    ("ContrastiveTensionLoss", {}, 2, None),
    ("ContrastiveTensionLossInBatchNegatives", {"scale": 3.0}, 1, None),
    ("CoSENTLoss", {}, 2, SCORES),
    ("CoSENTLoss", {"scale": 2.0, "similarity_fct": "pairwise_dot_score"}, 2, CLASSES),
    ("CoSENTLoss", {}, 2, BINARY.bool()),
    ("AnglELoss", {}, 2, SCORES),
    ("AnglELoss", {"scale": 5.0}, 4, None),
    ("AnglELoss", {}, 3, SCORES),
    ("CosineSimilarityLoss", {}, 2, SCORES.float()),
    ("CosineSimilarityLoss", {"loss_fct": nn.L1Loss(), "cos_score_transformation": nn.Sigmoid()}, 2, SCORES.float()),
    ("TripletLoss", {}, 3, None),
    ("TripletLoss", {"distance_metric": "COSINE", "triplet_margin": 0.1}, 3, None),
    ("TripletLoss", {"distance_metric": "MANHATTAN", "triplet_margin": 1}, 3, BINARY),
    *(
        (name, {"distance_metric": distance, **({} if "Soft" in name else {"margin": margin})}, 1, CLASSES)
        for name in (
            "BatchAllTripletLoss",
            "BatchHardTripletLoss",
            "BatchSemiHardTripletLoss",
            "BatchHardSoftMarginTripletLoss",
        )
        for distance, margin in (("euclidean_distance", 5), ("cosine_distance", 0.2))
    ),
    ("BatchHardTripletLoss", {}, 1, torch.arange(ROWS)),
    ("BatchSemiHardTripletLoss", {}, 1, torch.tensor([0, 0, 0, 0, 0, 1])),
    ("MarginMSELoss", {}, 3, SCORES),
    ("MarginMSELoss", {"similarity_fct": "pairwise_cos_sim"}, 4, normal(ROWS, 2)),
    ("MarginMSELoss", {}, 4, normal(ROWS, 3)),
    ("DistillKLDivLoss", {}, 4, normal(ROWS, 3)),
    ("DistillKLDivLoss", {"student_temperature": 2.0, "teacher_temperature": 0.5}, 3, normal(ROWS, 2)),
    ("DistillKLDivLoss", {"temperature": 3.0, "similarity_fct": "pairwise_cos_sim"}, 3, normal(ROWS, 2)),
    ("MSELoss", {}, 2, normal(ROWS, 22)),
    ("MSELoss", {}, 1, normal(ROWS, 1, 22)),
    ("EmbedDistillLoss", {}, 2, normal(ROWS, 22)),
    ("EmbedDistillLoss", {"distance_metric": "l2"}, 2, normal(ROWS, 2, 22)),
    ("EmbedDistillLoss", {"distance_metric": "mse"}, 3, normal(ROWS, 22)),
    ("GlobalOrthogonalRegularizationLoss", {}, 3, None),
    (
        "GlobalOrthogonalRegularizationLoss",
        {"mean_weight": None, "aggregation": "sum", "second_moment_weight": 2.0},
        2,
        None,
    ),
]


def made(module: Any, name: str, options: dict[str, Any], model: Any) -> Any:
    """A loss of theirs or ours, functions among its options taken from the same side."""
    functions = their_util if module is theirs else util
    homes = {
        "ContrastiveLoss": "SiameseDistanceMetric",
        "OnlineContrastiveLoss": "SiameseDistanceMetric",
        "TripletLoss": "TripletDistanceMetric",
    }
    given = dict(options)
    if "similarity_fct" in given:
        given["similarity_fct"] = getattr(functions, given["similarity_fct"])
    if "distance_metric" in given and name != "EmbedDistillLoss":
        home = getattr(module, homes.get(name, "BatchHardTripletLossDistanceFunction"))
        given["distance_metric"] = getattr(home, given["distance_metric"])
    return getattr(module, name)(model, **given)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("name", "options", "count", "labels"), CASES)
def test_value_and_gradient(name: str, options: dict[str, Any], count: int, labels: Any) -> None:
    model = sentence_model()
    tolerance = 1e-6 if name in ("ContrastiveTensionLossInBatchNegatives",) else 1e-9  # its scale is float32
    assert_same(
        made(theirs, name, options, model), made(losses, name, options, model), model, columns(count), labels, tolerance
    )


def other_guide() -> Any:
    """A guide whose tokens have other ids."""
    from tests import tiny

    return sentence_model(3, (*tiny.SPECIAL, *tiny.VOCABULARY[:4:-1]))


GUIDED = [
    ({}, 2),
    ({"temperature": 0.1}, 3),
    ({"margin_strategy": "relative", "margin": 0.02, "temperature": 0.5}, 3),
    ({"margin": 0.05, "contrast_anchors": False, "temperature": 0.5}, 3),
    ({"contrast_positives": False, "contrast_anchors": False, "temperature": 0.5}, 2),
]


@pytest.mark.parametrize(("options", "count"), GUIDED)
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("guide", [lambda: sentence_model(1), other_guide])
def test_guided(options: dict[str, Any], count: int, cached: bool, guide: Callable[[], Any]) -> None:
    model, given = sentence_model(), {**options, "guide": guide()}
    name = "CachedGISTEmbedLoss" if cached else "GISTEmbedLoss"
    given |= {"mini_batch_size": 4} if cached else {}
    assert_same(
        getattr(theirs, name)(model, **given), getattr(losses, name)(model, **given), model, columns(count), None
    )


@pytest.mark.parametrize("labels", [CLASSES, normal(ROWS, 3).softmax(1)])
@pytest.mark.parametrize("product", [False, True])
def test_softmax(labels: Any, product: bool) -> None:
    model = sentence_model()
    options = {"embedding_dimension": 22, "num_labels": 3, "concatenation_sent_multiplication": product}
    reference, own = theirs.SoftmaxLoss(model, **options).double(), losses.SoftmaxLoss(model, **options).double()
    own.classifier.load_state_dict(reference.classifier.state_dict())
    assert_same(reference, own, model, columns(2), labels)
    _, logits = own(columns(2), None)
    torch.testing.assert_close(logits, reference(columns(2), None)[1])
    for name in ("loss.classifier.weight", "loss.classifier.bias"):
        ours, wanted = (run(loss, model, columns(2), labels)[1][name] for loss in (own, reference))
        torch.testing.assert_close(ours, wanted)


@pytest.mark.parametrize("name", ["MSELoss", "EmbedDistillLoss"])
def test_a_projection(name: str, tmp_path: Any) -> None:
    model = sentence_model()
    reference = getattr(theirs, name)(model, projection_dim=5).double()
    own = getattr(losses, name)(model, projection_dim=5).double()
    reference.save_projection(tmp_path / "map.safetensors")
    own.load_projection(tmp_path / "map.safetensors")
    assert_same(reference, own, model, columns(2), normal(ROWS, 5))
    own.save_projection(tmp_path / "own.safetensors")
    fresh = getattr(losses, name)(model)
    fresh.load_projection(tmp_path / "own.safetensors")
    assert fresh.get_config_dict()["projection_dim"] == 5
    torch.testing.assert_close(fresh.projection.weight.double(), own.projection.weight)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_settings_are_told_alike(case: Case) -> None:
    name, options, _, _ = case
    model = sentence_model()
    expected = made(theirs, name, options, model).get_config_dict()
    if options.get("use_mini_batched_version") is False:
        expected["mini_batch_size"] = None  # there are none
    assert made(losses, name, options, model).get_config_dict() == expected


LOSSES = [name for name in theirs.__all__ if not name.endswith(("Metric", "Function"))]


def signature(kind: Any) -> list[tuple[str, Any]]:
    """Names and defaults of a constructor's arguments; functions and modules by their names."""
    found = []
    for parameter in inspect.signature(kind.__init__).parameters.values():
        default = parameter.default
        if isinstance(default, nn.Module):
            default = type(default).__name__
        elif inspect.isroutine(default):
            default = "a metric" if parameter.name == "distance_metric" else default.__name__
        found.append((parameter.name, default))
    return found


@pytest.mark.parametrize("name", LOSSES)
def test_constructors_take_the_same(name: str) -> None:
    expected, found = signature(getattr(theirs, name)), signature(getattr(losses, name))
    if name == "SoftmaxLoss":  # two names for one argument, so that neither can be required
        assert [argument for argument, _ in found][: len(expected)] == [argument for argument, _ in expected]
        return
    assert found == expected


def test_every_loss_is_there() -> None:
    assert set(theirs.__all__) <= set(losses.__all__)
    assert losses.__all__ == sorted(losses.__all__)
