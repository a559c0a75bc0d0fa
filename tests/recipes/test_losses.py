"""Losses by name, with arguments as a settings file has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from vicinal import SentenceTransformer
from vicinal.errors import InvalidData

losses = pytest.importorskip("vicinal.losses")
recipe = pytest.importorskip("vicinal.recipes.losses")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return SentenceTransformer(tiny.write_bert(tmp_path_factory.mktemp("model")))


@pytest.mark.parametrize("name", sorted(recipe._CLASSES))
def test_every_loss_has_its_names(name: str) -> None:
    for said in (name, name.removesuffix("Loss"), name.lower(), f"{name[0]}_{name[1:]}"):
        assert recipe.loss_class(said, "x") is getattr(losses, name)


def test_short_names_are_of_losses_that_there_are() -> None:
    for short, name in recipe.ALIASES.items():
        assert recipe.loss_class(short, "x").__name__ == name
    for kind in recipe.KINDS.values():
        assert {kind.plain, kind.labelled} - {None} <= set(recipe._CLASSES)


def test_arguments_that_are_losses_functions_and_models(model: SentenceTransformer, tmp_path: Path) -> None:
    given = {"name": "Matryoshka", "matryoshka_dims": [22, 8], "loss": {"name": "mnr", "similarity_fct": "dot_score"}}
    loss = recipe.build(given, model, 0, "x")
    assert type(loss).__name__ == "MatryoshkaLoss"
    assert type(loss.loss).__name__ == "MultipleNegativesRankingLoss"
    assert loss.loss.similarity_fct.__name__ == "dot_score"
    assert recipe.sampler_for(loss).value == "no_duplicates"
    triplet = recipe.build({"name": "triplet", "distance_metric": "cosine", "triplet_margin": 1}, model, 0, "x")
    assert triplet.triplet_margin == 1
    assert recipe.sampler_for(triplet).value == "batch_sampler"
    softmax = recipe.build("softmax", model, 3, "x")
    assert softmax.classifier.out_features == 3
    assert recipe.sampler_for(recipe.build("batchhard", model, 0, "x")).value == "group_by_label"
    tiny.write_bert(tmp_path / "guide")
    guided = recipe.build({"name": "gist", "guide": str(tmp_path / "guide")}, model, 0, "x")
    assert guided.guide.__class__.__name__


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("cosin", "x: there is no loss 'cosin': did you mean cosine"),
        ({"scale": 3}, "x needs the name of a loss"),
        ({"name": "mnr", "scal": 3}, r"x \(MultipleNegativesRankingLoss\) has no 'scal': did you mean scale\?"),
        ({"name": "mnr", "similarity_fct": "cosine_sim"}, r"x.similarity_fct: there is no 'cosine_sim': did you mean"),
        ({"name": "triplet", "distance_metric": "near"}, r"x.distance_metric: there is no 'near': there are"),
        ({"name": "matryoshka", "loss": "mnr", "matryoshka_dims": [99]}, "x: MatryoshkaLoss refuses its arguments: "),
        ({"name": "matryoshka", "loss": "mnrr", "matryoshka_dims": [8]}, r"x\.loss: there is no loss 'mnrr'"),
        ({"name": "matryoshka"}, "x: MatryoshkaLoss refuses its arguments: .*loss"),
    ],
)
def test_what_is_no_loss(model: SentenceTransformer, given: Any, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        recipe.build(given, model, 0, "x")


def test_a_task_has_a_loss_by_whether_there_are_labels() -> None:
    assert recipe.chosen("duplicates", True, "x") == "OnlineContrastiveLoss"
    assert recipe.chosen("duplicates", False, "x") == "MultipleNegativesSymmetricRankingLoss"
    with pytest.raises(InvalidData, match="x: data for similarity has no labels, which it needs: name their column"):
        recipe.chosen("similarity", False, "x")
    with pytest.raises(
        InvalidData, match=r"x: data for retrieval has labels \(MultipleNegativesRankingLoss takes none"
    ):
        recipe.chosen("retrieval", True, "x")
