"""Every loss against sentence-transformers' of that name: same model, same texts, value and all gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sentence_transformers.cross_encoder import losses as theirs
from torch import nn

from tests.cross_encoder.losses.models import COLUMNS, LISTS, QUERIES, pair_model
from tests.losses.models import assert_same
from tests.losses.test_parity import CLASSES, SCORES, normal, signature
from vicinal.cross_encoder import losses

GRADES = [torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.0, 3.0, 1.0, 1.0])]
EQUAL = [torch.ones(3), torch.zeros(2), torch.ones(4)]

PAIRS: list[tuple[str, dict[str, Any], int, Any]] = [
    ("BinaryCrossEntropyLoss", {}, 2, SCORES.float()),
    ("BinaryCrossEntropyLoss", {"pos_weight": torch.tensor(4.0), "activation_fn": nn.Tanh()}, 2, CLASSES.clamp(max=1)),
    ("BinaryCrossEntropyLoss", {"reduction": "sum"}, 2, SCORES.float().unsqueeze(1)),
    ("MSELoss", {}, 2, SCORES),
    ("MSELoss", {"activation_fn": nn.Sigmoid(), "reduction": "sum"}, 2, SCORES.unsqueeze(1)),
    ("MarginMSELoss", {}, 3, SCORES),
    ("MarginMSELoss", {"activation_fn": nn.Sigmoid()}, 4, normal(6, 2)),
    ("MarginMSELoss", {}, 4, list(normal(6, 3))),
    ("MultipleNegativesRankingLoss", {}, 2, None),
    ("MultipleNegativesRankingLoss", {"num_negatives": None, "scale": 3.0, "activation_fn": None}, 3, None),
    ("MultipleNegativesRankingLoss", {"num_negatives": 2, "scale": None}, 4, None),
    ("CachedMultipleNegativesRankingLoss", {"mini_batch_size": 4}, 3, None),
    ("CachedMultipleNegativesRankingLoss", {"num_negatives": 100, "mini_batch_size": 1}, 2, None),
]
LISTWISE: list[tuple[str, dict[str, Any], Any]] = [
    ("ListNetLoss", {}, GRADES),
    ("ListNetLoss", {"activation_fn": nn.Sigmoid(), "mini_batch_size": 2}, GRADES),
    ("ListMLELoss", {}, GRADES),
    ("ListMLELoss", {"respect_input_order": False, "mini_batch_size": -1}, GRADES),
    ("PListMLELoss", {}, GRADES),
    ("PListMLELoss", {"respect_input_order": False}, GRADES),
    ("PListMLELoss", {"lambda_weight": None}, GRADES),
    ("ADRMSELoss", {}, GRADES),
    ("ADRMSELoss", {"alpha": 3.0, "activation_fn": nn.Sigmoid()}, GRADES),
    ("RankNetLoss", {}, GRADES),
    ("RankNetLoss", {"k": 1, "sigma": 2.0, "reduction_log": "natural"}, GRADES),
    ("LambdaLoss", {}, GRADES),
    ("LambdaLoss", {"k": 2, "reduction_log": "natural", "sigma": 0.5}, GRADES),
    ("LambdaLoss", {"weighting_scheme": None}, GRADES),
    *(
        ("LambdaLoss", {"weighting_scheme": scheme, "k": k}, GRADES)
        for scheme in ("NoWeightingScheme", "NDCGLoss1Scheme", "NDCGLoss2Scheme", "LambdaRankScheme")
        for k in (None, 2)
    ),
    ("LambdaLoss", {"weighting_scheme": "NDCGLoss1Scheme"}, EQUAL),
    ("LambdaLoss", {"activation_fn": nn.Tanh(), "eps": 0.5}, [grades - 1 for grades in GRADES]),
]


def made(module: Any, name: str, options: dict[str, Any], model: Any) -> Any:
    scheme = options.get("weighting_scheme")
    return getattr(module, name)(model, **options | ({"weighting_scheme": getattr(module, scheme)()} if scheme else {}))


@pytest.mark.parametrize(("name", "options", "count", "labels"), PAIRS)
def test_value_and_gradient(name: str, options: dict[str, Any], count: int, labels: Any) -> None:
    model = pair_model()
    tolerance = 1e-6 if "MSE" in name or "Binary" in name else 1e-9  # the reference makes labels float32
    reference, own = made(theirs, name, options, model), made(losses, name, options, model)
    assert_same(reference, own, model, COLUMNS[:count], labels, tolerance)


@pytest.mark.parametrize("labels", [CLASSES, CLASSES.unsqueeze(1), normal(6, 3).softmax(1)])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "activation_fn": nn.Tanh()}])
def test_classes(labels: Any, options: dict[str, Any]) -> None:
    model = pair_model(3)
    reference, own = theirs.CrossEntropyLoss(model, **options), losses.CrossEntropyLoss(model, **options)
    assert_same(reference, own, model, COLUMNS[:2], labels)


@pytest.mark.parametrize(("name", "options", "labels"), LISTWISE)
def test_lists(name: str, options: dict[str, Any], labels: Any) -> None:
    """The reference computes these in float32 whatever the model has."""
    model = pair_model()
    reference, own = made(theirs, name, options, model), made(losses, name, options, model)
    assert_same(Widened(reference), own, model, [QUERIES, LISTS], labels, 2e-5)


class Widened(nn.Module):
    """The reference's value as float64."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, inputs: Any, labels: Any) -> Any:
        return self.loss(inputs, labels).double()


@pytest.mark.parametrize("case", [*PAIRS, *LISTWISE], ids=lambda case: case[0])
def test_settings_are_told_alike(case: Any) -> None:
    name, options = case[:2]
    expected, found = (made(module, name, options, pair_model()).get_config_dict() for module in (theirs, losses))
    plain = {
        key: str(value).rpartition(".")[2] if key.endswith(("scheme", "weight")) else value
        for key, value in found.items()
    }
    theirs_plain = {
        key: str(v).rpartition(".")[2] if key.endswith(("scheme", "weight")) else v for key, v in expected.items()
    }
    if theirs_plain.get("activation_fn") == "NoneType":  # what None does is what the identity does
        theirs_plain["activation_fn"] = "torch.nn.modules.linear.Identity"
    assert plain == theirs_plain


@pytest.mark.parametrize("name", theirs.__all__)
def test_constructors_take_the_same(name: str) -> None:
    if not name.endswith("Scheme") or name == "NDCGLoss2PPScheme":
        assert signature(getattr(losses, name)) == signature(getattr(theirs, name))


def test_every_loss_is_there() -> None:
    assert set(theirs.__all__) <= set(losses.__all__)
    assert losses.__all__ == sorted(losses.__all__)
