"""Losses around losses: against the reference, over every kind of inner loss, and drawing what they draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer import losses as theirs
from torch import nn

from tests.losses.models import assert_same, columns, run, sentence_model
from tests.losses.test_parity import ROWS, SCORES, normal
from vicinal import losses
from vicinal.errors import TrainingWarning, UnsupportedModel
from vicinal.losses.base import Loss
from vicinal.losses.matryoshka import shortened

DIMS = [22, 5, 11]

Inner = tuple[str, dict[str, Any], int, Any]
INNER: list[Inner] = [
    ("MultipleNegativesRankingLoss", {}, 3, None),
    ("CachedMultipleNegativesRankingLoss", {"mini_batch_size": 4}, 3, None),
    ("MegaBatchMarginLoss", {"mini_batch_size": 4, "positive_margin": 0.99}, 2, None),
    ("CoSENTLoss", {}, 2, SCORES),
    ("AnglELoss", {}, 3, None),
    ("TripletLoss", {}, 3, None),
    ("DistillKLDivLoss", {}, 3, normal(ROWS, 2)),
    ("BatchHardTripletLoss", {}, 1, torch.tensor([0, 1, 0, 1, 1, 0])),
    ("MSELoss", {}, 2, normal(ROWS, 22)),
    ("EmbedDistillLoss", {}, 2, normal(ROWS, 2, 22)),
]
SEPARATE = [case for case in INNER if not case[0].startswith(("Cached", "Mega"))]


def both(wrapper: str, inner: Inner, *given: Any, **options: Any) -> tuple[Any, Any, Any]:
    model, (name, settings, _, _) = sentence_model(), inner
    reference, own = (
        getattr(module, wrapper)(model, getattr(module, name)(model, **settings), *given, **options)
        for module in (theirs, losses)
    )
    return reference, own, model


@pytest.mark.parametrize(
    ("inner", "options"),
    [
        *((inner, options) for inner in INNER for options in ({}, {"matryoshka_weights": [1, 0.5, 3.0]})),
        *(
            (inner, {"n_dims_per_step": 2}) for inner in SEPARATE
        ),  # around cached losses the reference adds them unsorted
    ],
)
def test_matryoshka(inner: Inner, options: dict[str, Any]) -> None:
    reference, own, model = both("MatryoshkaLoss", inner, DIMS, **options)
    assert own.get_config_dict() == reference.get_config_dict()
    assert_same(reference, own, model, columns(inner[2]), inner[3])


def steep(layer: int) -> float:
    return layer**2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_layers_per_step": -1, "layer_weighting": "log", "kl_temperature": 0.5},
        {"n_layers_per_step": -1, "layer_weighting": "linear", "prior_layers_weight": 2.0, "last_layer_weight": 0.5},
        {"layer_weighting": steep, "kl_temperature": 0},
        {"kl_div_weight": 3.0},
    ],
)
@pytest.mark.parametrize("inner", SEPARATE[:4], ids=lambda case: case[0])
def test_adaptive_layers(inner: Inner, options: dict[str, Any]) -> None:
    reference, own, model = both("AdaptiveLayerLoss", inner, **options)
    assert own.get_config_dict() == reference.get_config_dict()
    assert_same(reference, own, model, columns(inner[2]), inner[3])


@pytest.mark.parametrize("inner", SEPARATE, ids=lambda case: case[0])
def test_matryoshka_2d(inner: Inner) -> None:
    reference, own, model = both("Matryoshka2dLoss", inner, DIMS, n_dims_per_step=2)
    assert own.get_config_dict() == reference.get_config_dict()
    assert_same(reference, own, model, columns(inner[2]), inner[3])


def separate(model: Any) -> Loss:
    return losses.MultipleNegativesRankingLoss(model)


def cached(model: Any) -> Loss:
    return losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=4)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model, loss: losses.AdaptiveLayerLoss(model, loss, n_layers_per_step=-1),
        lambda model, loss: losses.Matryoshka2dLoss(model, loss, DIMS, n_layers_per_step=-1, n_dims_per_step=-1),
        lambda model, loss: losses.MatryoshkaLoss(model, losses.AdaptiveLayerLoss(model, loss, -1), DIMS),
    ],
)
def test_a_cached_loss_gives_the_same_as_a_plain_one_under_every_wrapper(wrap: Callable[[Any, Any], Any]) -> None:
    model = sentence_model()
    assert wrap(model, cached(model)).uses_gradient_cache
    assert_same(wrap(model, separate(model)), wrap(model, cached(model)), model, columns(3), None)


def test_a_guided_loss_keeps_its_guides_whole_embeddings() -> None:
    model, guide = sentence_model(), sentence_model(1)
    reference = theirs.MatryoshkaLoss(model, theirs.GISTEmbedLoss(model, guide, temperature=0.5), DIMS)
    own = losses.MatryoshkaLoss(model, losses.GISTEmbedLoss(model, guide, temperature=0.5), DIMS)
    assert_same(reference, own, model, columns(2), None)


class Users(nn.Module):
    """A loss as users write them."""

    def __init__(self, model: Any, copies: bool = False) -> None:
        super().__init__()
        self.encoder = model
        self.copies = copies

    def forward(self, sentence_features: Any, labels: Any) -> Any:
        a, b = (
            self.encoder(features if not self.copies else {"input_ids": features["input_ids"].clone()})
            for features in sentence_features
        )
        return ((a["sentence_embedding"] * b["sentence_embedding"]).sum(1) - labels).square().mean()


@pytest.mark.parametrize("wrapper", ["MatryoshkaLoss", "Matryoshka2dLoss", "AdaptiveLayerLoss"])
def test_a_users_own_loss(wrapper: str) -> None:
    model = sentence_model()
    given = [] if wrapper == "AdaptiveLayerLoss" else [DIMS]
    reference, own = (getattr(module, wrapper)(model, Users(model), *given) for module in (theirs, losses))
    assert_same(reference, own, model, columns(2), SCORES)


def test_a_users_own_loss_that_is_about_embeddings() -> None:
    model = sentence_model()
    labels = normal(ROWS, 22)

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, sentence_features: Any, labels: Any) -> Any:
            return (self.model(sentence_features[0])["sentence_embedding"] - labels).abs().mean()

    assert_same(
        theirs.MatryoshkaLoss(model, Own(), DIMS), losses.MatryoshkaLoss(model, Own(), DIMS), model, columns(1), labels
    )


def test_a_users_own_loss_of_embeddings_is_asked_by_that() -> None:
    model = sentence_model()

    class Own(nn.Module):
        def compute_loss_from_embeddings(self, embeddings: Any, labels: Any) -> Any:
            return embeddings[0].square().sum() / labels

    value, _ = run(losses.MatryoshkaLoss(model, Own(), DIMS), model, columns(1), 2.0)
    torch.testing.assert_close(value, torch.tensor(3 * ROWS / 2.0, dtype=torch.float64))


def test_a_users_own_loss_that_cannot_be_followed() -> None:
    model = sentence_model()
    vars(model).pop("forward", None)
    with pytest.raises(UnsupportedModel, match="features that are none of its columns: give it a method"):
        losses.MatryoshkaLoss(model, Users(model, copies=True), DIMS)(columns(2), SCORES)
    assert "forward" not in vars(model)
    inner = theirs.CachedMultipleNegativesRankingLoss(model)
    with pytest.raises(
        UnsupportedModel, match=r"CachedMultipleNegativesRankingLoss runs the model .*use vicinal's loss"
    ):
        losses.MatryoshkaLoss(model, inner, DIMS)(columns(2), None)


def test_named_parts_are_added_by_name() -> None:
    model = sentence_model()
    inner = losses.GlobalOrthogonalRegularizationLoss(model)
    whole, _ = run(inner, model, columns(2), None)
    short = losses.MatryoshkaLoss(model, inner, [22, 5], matryoshka_weights=[2.0, 3.0])
    value, gradients = run(short, model, columns(2), None)
    five = inner.compute_loss_from_embeddings([shortened(inner.encode(model, c), 5) for c in columns(2)])
    for name in ("gor_mean", "gor_second_moment"):
        torch.testing.assert_close(value[name], 2 * whole[name] + 3 * five[name].detach())
    assert gradients
    layers, _ = run(losses.AdaptiveLayerLoss(model, inner), model, columns(2), None)
    assert layers.keys() == {"gor_mean", "gor_second_moment", "kl_div"}


def test_what_makes_no_sense() -> None:
    model = sentence_model()
    inner = losses.CoSENTLoss(model)
    for dims in ([], [22, 0]):
        with pytest.raises(ValueError, match=r"matryoshka_dims must be one or more positive lengths, not \["):
            losses.MatryoshkaLoss(model, inner, dims)
    with pytest.raises(ValueError, match=r"matryoshka_dims \[22, 23\] exceed the model's 22 dimensions"):
        losses.MatryoshkaLoss(model, inner, [22, 23])
    with pytest.raises(ValueError, match="there are 1 for 2 lengths"):
        losses.MatryoshkaLoss(model, inner, [22, 2], matryoshka_weights=[1])
    with pytest.warns(TrainingWarning, match="leave out the model's own 22 dimensions"):
        losses.MatryoshkaLoss(model, inner, [11])
    with pytest.raises(ValueError, match="layer_weighting must be 'uniform', 'log', 'linear' or a function"):
        losses.AdaptiveLayerLoss(model, inner, layer_weighting="steep")  # type: ignore[arg-type]
    mapped = losses.MatryoshkaLoss(model, losses.MSELoss(model, projection_dim=5), DIMS)
    with pytest.raises(ValueError, match="projection_dim maps whole embeddings"):
        mapped(columns(1), normal(ROWS, 5))
    with pytest.raises(ValueError, match=r"the model's embeddings have shape \(6, 22\) and the teacher's \(6, 30\)"):
        losses.MatryoshkaLoss(model, losses.MSELoss(model), DIMS)(columns(1), normal(ROWS, 30))


def test_shortening_is_cutting_and_scaling() -> None:
    vectors = normal(3, 7)
    short = shortened(vectors, 4)
    torch.testing.assert_close(short, vectors[:, :4] / vectors[:, :4].norm(dim=1, keepdim=True))
    assert torch.equal(shortened(torch.zeros(2, 3), 2), torch.zeros(2, 2))


def test_the_networks_configuration_is_as_before() -> None:
    model = sentence_model()
    losses.AdaptiveLayerLoss(model, separate(model))(columns(2), None)
    assert model[0].auto_model.config.output_hidden_states is False
