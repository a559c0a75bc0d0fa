"""What all losses share: what they take and refuse, how they describe themselves, what they run on."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import vicinal
from tests.losses.models import columns, run, sentence_model
from vicinal import losses, util
from vicinal.errors import InvalidData, TrainingWarning
from vicinal.losses.base import Inputs, Loss, described, summed, trainable, unwrapped

SIX = torch.arange(6)

WRONG: list[tuple[str, dict[str, Any], int, Any, str]] = [
    ("MultipleNegativesRankingLoss", {}, 1, None,
     r"takes 2 or more columns of texts, \(anchor, positive, negative_1, \.\.\.\), but got 1"),
    ("CachedMultipleNegativesRankingLoss", {}, 1, None, "takes 2 or more columns"),
    ("MegaBatchMarginLoss", {}, 3, None, r"takes 2 columns of texts, \(anchor, positive\), but got 3"),
    ("ContrastiveLoss", {}, 3, SIX, r"takes 2 columns of texts, \(text_a, text_b\), but got 3"),
    ("ContrastiveLoss", {}, 2, None,
     "needs labels .1 for a pair that belongs together, 0 for one that does not., but got none"),
    ("ContrastiveLoss", {}, 2, SIX[:5] % 2,
     r"expected 6 labels \(1 for a pair .*\), but got 5 of shape \(5,\), torch.int64"),
    ("OnlineContrastiveLoss", {}, 2, torch.ones(6, 2), r"expected 6 labels .*, but got 12 of shape \(6, 2\)"),
    ("ContrastiveTensionLoss", {}, 2, SIX[:2], "expected 6 labels .1 if both texts are the same, 0 if not."),
    ("CoSENTLoss", {}, 2, SIX[:3], "expected 6 labels .a degree of similarity a pair., but got 3"),
    ("CoSENTLoss", {}, 2, [1, 2], r"expected 6 labels .*, but got list \[1, 2\]"),
    ("AnglELoss", {}, 2, None,
     "AnglELoss needs labels .a degree of similarity; from three columns on it may be missing."),
    ("AnglELoss", {}, 3, SIX[:4], "expected 6 labels"),
    ("CosineSimilarityLoss", {}, 2, SIX[:3], "expected 6 labels .the cosine wanted of each pair., but got 3"),
    ("TripletLoss", {}, 2, None, r"takes 3 columns of texts, \(anchor, positive, negative\), but got 2"),
    ("BatchAllTripletLoss", {}, 2, SIX, r"takes 1 column of texts, \(text\), but got 2"),
    ("BatchHardTripletLoss", {}, 1, None, "needs labels .the class of each text., but got none"),
    ("BatchSemiHardTripletLoss", {}, 1, SIX[:3], "expected 6 labels .the class of each text., but got 3"),
    ("SoftmaxLoss", {"embedding_dimension": 22, "num_labels": 3}, 2, SIX[:4],
     r"a class a pair, 6 labels, .* shape \(4,\)"),
    ("SoftmaxLoss", {"embedding_dimension": 22, "num_labels": 3}, 3, SIX, "takes 2 columns"),
    ("MarginMSELoss", {}, 2, SIX,
     r"takes 3 or more columns of texts, \(query, positive, negative, negative_1, \.\.\.\), but got 2"),
    ("MarginMSELoss", {}, 4, SIX, r"expected labels of shape \(6, 2\) or \(6, 3\) .*, but got 6 of shape \(6, 1\)"),
    ("DistillKLDivLoss", {}, 3, torch.ones(6, 3),
     r"expected labels of shape \(6, 2\) .*, but got 18 of shape \(6, 3\)"),
    ("DistillKLDivLoss", {}, 3, torch.full((6, 2), torch.nan), "the teacher's scores hold nan"),
    ("MSELoss", {}, 1, None, "needs labels .the teacher's embedding of each row, one for all columns or one a column."),
    ("MSELoss", {}, 1, SIX, r"expected labels \(n, e\) or \(n, 1, e\) .*, but got \(6,\)"),
    ("MSELoss", {}, 2, torch.ones(6, 3, 22), r"are for 3 columns of texts, but there are 2"),
    ("EmbedDistillLoss", {}, 1, torch.ones(6, 5), r"have shape \(6, 22\) and the teacher's \(6, 5\): projection_dim="),
    ("GlobalOrthogonalRegularizationLoss", {}, 0, None, "takes 1 or more column of texts"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "count", "labels", "message"), WRONG)
def test_wrong_columns_and_labels(name: str, options: dict[str, Any], count: int, labels: Any, message: str) -> None:
    loss = getattr(losses, name)(sentence_model(), **options)
    with pytest.raises(InvalidData, match=message):
        loss(columns(count), labels)


def test_columns_of_unequal_length() -> None:
    given = [columns(1)[0], columns(2, rows=4)[1]]
    with pytest.raises(
        InvalidData, match=r"row i belongs with row i, .* queries has shape \(6, 22\), documents.0. has shape \(4, 22\)"
    ):
        losses.MultipleNegativesRankingLoss(sentence_model())(given)


SETTINGS: list[tuple[str, dict[str, Any], str]] = [
    ("MultipleNegativesRankingLoss", {"scale": 0}, "scale must be positive, not 0"),
    ("MultipleNegativesRankingLoss", {"directions": ()}, "directions must have 'query_to_doc'"),
    ("MultipleNegativesRankingLoss", {"directions": ("doc_to_doc",)}, "directions must have 'query_to_doc'"),
    ("MultipleNegativesRankingLoss", {"directions": ("query_to_doc", "up")}, r"\['up'\] are no directions"),
    ("MultipleNegativesRankingLoss", {"partition_mode": "each"},
     "partition_mode must be 'joint' or 'per_direction', not 'each'"),
    (
        "MultipleNegativesRankingLoss",
        {"directions": ("query_to_doc", "doc_to_doc"), "partition_mode": "per_direction"},
        r"needs the positive in every direction, and \['doc_to_doc'\] do not have it",
    ),
    ("MultipleNegativesRankingLoss", {"hardness_mode": "hard"}, "hardness_mode must be None or one of"),
    ("MultipleNegativesRankingLoss", {"hardness_strength": -1.0}, "hardness_strength must not be negative"),
    ("GISTEmbedLoss", {"margin_strategy": "half"}, "margin_strategy must be 'absolute' or 'relative', not 'half'"),
    ("EmbedDistillLoss", {"distance_metric": "cos"}, "distance_metric must be 'mse', 'l2' or 'cosine', not 'cos'"),
    ("DistillKLDivLoss", {"temperature": 0.0}, "temperature must be positive and finite, not 0"),
    ("DistillKLDivLoss", {"teacher_temperature": float("inf")}, "teacher_temperature must be positive and finite"),
    ("GlobalOrthogonalRegularizationLoss", {"mean_weight": 0, "second_moment_weight": None}, "must be other than 0"),
    ("GlobalOrthogonalRegularizationLoss", {"aggregation": "max"}, "aggregation must be 'mean' or 'sum', not 'max'"),
    ("ContrastiveTensionLossInBatchNegatives", {"scale": -1}, "scale must be positive, not -1"),
    (
        "SoftmaxLoss",
        {"embedding_dimension": 2, "num_labels": 2,
         "concatenation_sent_rep": False, "concatenation_sent_difference": False},
        "the classifier needs something to see",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "message"), SETTINGS)
def test_settings_that_are_none(name: str, options: dict[str, Any], message: str) -> None:
    given = {**options, **({"guide": sentence_model(1)} if name == "GISTEmbedLoss" else {})}
    with pytest.raises(ValueError, match=message):
        getattr(losses, name)(sentence_model(), **given)


def test_settings_that_do_nothing_are_told() -> None:
    model = sentence_model()
    with pytest.warns(TrainingWarning, match="hardness_mode='all_negatives' does nothing while hardness_strength is 0"):
        losses.MultipleNegativesRankingLoss(model, hardness_mode="all_negatives")
    for name in ("ContrastiveLoss", "OnlineContrastiveLoss"):
        loss = getattr(losses, name)(model)
        with pytest.warns(TrainingWarning, match="labels should be 0 or 1"):
            loss(columns(2), torch.linspace(0, 1, 6))
        loss(columns(2), torch.linspace(0, 1, 6))  # once
    with pytest.warns(TrainingWarning, match="differ by up to 1000 within a row, .* raise it above 10"):
        losses.DistillKLDivLoss(model)(columns(3), torch.tensor([[1000.0, 0.0]] * 6))


def test_softmax_needs_to_know_its_size() -> None:
    with pytest.raises(TypeError, match="needs embedding_dimension and num_labels"):
        losses.SoftmaxLoss(sentence_model(), num_labels=3)
    older = losses.SoftmaxLoss(sentence_model(), sentence_embedding_dimension=22, num_labels=3)
    assert older.classifier.in_features == 66


def test_what_can_be_trained() -> None:
    model = sentence_model()

    class Held:
        def trainable(self) -> Any:
            return model

    assert losses.CoSENTLoss(Held()).model is model
    with pytest.raises(TypeError, match="a loss needs a model that can be trained"):
        trainable("all-MiniLM-L6-v2")


def test_wrapped_models_are_seen_through() -> None:
    model = sentence_model()

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = model

    assert unwrapped(Around()) is model
    assert unwrapped(model) is model


def test_the_features_are_left_as_they_were() -> None:
    given = columns(2)
    kept = [dict(column) for column in given]
    losses.MultipleNegativesRankingLoss(sentence_model())(given)
    assert [set(column) for column in given] == [set(column) for column in kept]
    assert all(
        column[key] is value for column, before in zip(given, kept, strict=True) for key, value in before.items()
    )


def test_a_generator_of_columns_will_do() -> None:
    loss = losses.MultipleNegativesRankingLoss(sentence_model())
    assert torch.equal(loss(iter(columns(2))), loss(columns(2)))


def test_embeddings_may_be_given_directly() -> None:
    model = sentence_model()
    loss = losses.MultipleNegativesRankingLoss(model)
    embeddings = [model(column)["sentence_embedding"] for column in columns(3)]
    torch.testing.assert_close(loss.compute_loss_from_embeddings(embeddings, None), loss(columns(3)))


def test_half_precision_models_have_losses_in_full() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 4, dtype=torch.bfloat16)

        def forward(self, features: Any) -> Any:
            return {"sentence_embedding": self.table(features["input_ids"]).mean(1)}

    model = Half()
    given = [{"input_ids": torch.randint(10, (6, 3))} for _ in range(2)]
    for loss in (losses.MultipleNegativesRankingLoss(model), losses.SoftmaxLoss(model, 4, 2)):
        value = loss(given, torch.zeros(6, dtype=torch.int64))
        assert value.dtype == torch.float32
        value.backward()
        assert model.table.weight.grad.dtype == torch.bfloat16


def test_a_loss_of_parts_beside_another() -> None:
    """The way that GlobalOrthogonalRegularizationLoss tells."""
    model = sentence_model()

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rank = losses.MultipleNegativesRankingLoss(model)
            self.spread = losses.GlobalOrthogonalRegularizationLoss(model)

        def forward(self, sentence_features: Any, labels: Any = None) -> Any:
            embeddings = [model(features)["sentence_embedding"] for features in sentence_features]
            rank = self.rank.compute_loss_from_embeddings(embeddings, labels)
            return {"rank": rank, **self.spread.compute_loss_from_embeddings(embeddings)}

    value, gradients = run(Both(), model, columns(2), None)
    assert value.keys() == {"rank", "gor_mean", "gor_second_moment"}
    assert gradients


def test_sums_of_scalars_and_of_parts() -> None:
    one, two = torch.tensor(1.0), torch.tensor(2.0)
    assert summed([(2.0, one), (0.5, two)]) == 3
    assert summed([(2.0, {"a": one}), (0.5, {"a": two, "b": two})]) == {"a": 3, "b": 1}


def test_settings_are_told_by_name() -> None:
    assert described(util.cos_sim) == "cos_sim"
    assert described(partial(util.semantic_search, top_k=3)) == "semantic_search(top_k=3)"
    assert described(nn.Sigmoid()) == "torch.nn.modules.activation.Sigmoid"
    assert described(losses.TripletDistanceMetric.COSINE) == "TripletDistanceMetric.COSINE"
    assert described(losses.CoSENTLoss(sentence_model())) == "CoSENTLoss"
    assert described(0.5) == 0.5


def test_inputs_read_as_a_row() -> None:
    assert str(Inputs(("query",))) == "(query)"
    assert str(Inputs(("query", "positive"), more="negative")) == "(query, positive, negative_1, ...)"


def test_every_loss_says_what_it_takes_and_where_it_comes_from() -> None:
    for name in losses.__all__:
        kind = getattr(losses, name)
        if isinstance(kind, type) and issubclass(kind, Loss) and kind is not Loss:
            assert isinstance(kind.inputs, Inputs), name
            assert kind.citation if isinstance(kind.citation, str) else kind.citation is not None, name
            assert "@" in (kind.citation if isinstance(kind.citation, str) else kind(sentence_model()).citation), name


def test_a_loss_must_say_how() -> None:
    class Own(Loss):
        inputs = Inputs(("text",))

    with pytest.raises(NotImplementedError, match="Own must define compute_loss_from_embeddings"):
        Own(sentence_model())(columns(1))


def test_without_torch_it_is_said_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\ntry:\n    from vicinal import losses\n"
        "except ImportError as e:\n    print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "training (vicinal.losses) needs torch, which is not installed: pip install 'vicinal[torch]'" in done.stdout


def test_losses_are_a_public_name() -> None:
    assert vicinal.losses is losses
