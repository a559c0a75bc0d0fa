"""Contrastive tension: the copy, the learned temperature, and the loader's pairs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from tests.losses.models import columns, run, sentence_model
from vicinal import losses


@pytest.mark.parametrize("name", ["ContrastiveTensionLoss", "ContrastiveTensionLossInBatchNegatives"])
def test_the_copy_is_one_and_both_learn(name: str) -> None:
    model = copy.deepcopy(sentence_model())
    loss = getattr(losses, name)(model)
    assert loss.model2 is model
    assert loss.model1 is not model
    assert not {id(p) for p in loss.model1.parameters()} & {id(p) for p in model.parameters()}
    _, gradients = run(loss, model, columns(2), None)
    assert any(name.startswith("loss.model1") for name in gradients)


def test_the_temperature_is_learned() -> None:
    model = sentence_model()
    loss = losses.ContrastiveTensionLossInBatchNegatives(model, scale=3.0)
    assert loss.get_config_dict() == {"scale": pytest.approx(3.0), "similarity_fct": "cos_sim"}
    _, gradients = run(loss, model, columns(1), None)
    assert gradients["loss.logit_scale"].abs() > 0


def test_labels_are_found_out_from_the_tokens() -> None:
    model = sentence_model()
    loss = losses.ContrastiveTensionLoss(model)
    a, b = columns(2)
    equal = loss.targets([a, dict(a.items())], None)
    assert equal.all()
    longer = {key: torch.nn.functional.pad(v, (0, 3)) if isinstance(v, torch.Tensor) else v for key, v in a.items()}
    assert loss.targets([a, longer], None).all()  # padding does not count
    assert not loss.targets([a, b], None).any()


def test_pairs_of_the_loader() -> None:
    texts = [f"text {i}" for i in range(103)]
    before = list(texts)
    loader = losses.ContrastiveTensionDataLoader(texts, batch_size=8, pos_neg_ratio=4)
    assert len(loader) == 103 // 14
    batches = list(loader)
    assert len(batches) == len(loader)
    used: list[str] = []
    for batch in batches:
        assert [pair.label for pair in batch] == [1, 0, 0, 0] * 2
        for pair in batch:
            assert (pair.texts[0] == pair.texts[1]) == bool(pair.label)
            used += pair.texts[: 1 if pair.label else 2]
    assert len(set(used)) == len(used)
    assert texts == before
    assert [pair.texts for pair in next(iter(loader))] != [pair.texts for pair in batches[0]]


def test_the_loader_collates_where_it_is_told() -> None:
    loader = losses.ContrastiveTensionDataLoader([str(i) for i in range(40)], batch_size=2, pos_neg_ratio=2)
    loader.collate_fn = len
    assert list(loader) == [2] * (40 // 3)


@pytest.mark.parametrize(("size", "ratio"), [(6, 4), (0, 1), (4, 0)])
def test_batches_that_cannot_be_divided(size: int, ratio: int) -> None:
    with pytest.raises(
        ValueError, match=f"batch_size must be a positive multiple of pos_neg_ratio, but is {size} for {ratio}"
    ):
        losses.ContrastiveTensionDataLoader(["a"], batch_size=size, pos_neg_ratio=ratio)


def test_it_goes_around_and_in_parts() -> None:
    model = sentence_model()
    inner = losses.ContrastiveTensionLossInBatchNegatives(model)
    value, _ = run(losses.MatryoshkaLoss(model, inner, [22, 5]), model, columns(1), None)
    assert torch.isfinite(value)


def test_flat_features_have_tokens_too() -> None:
    loss: Any = losses.ContrastiveTensionLoss(sentence_model())
    a = {"input_ids": torch.tensor([1, 2, 3]), "offsets": torch.tensor([0, 2])}
    b = {"input_ids": torch.tensor([1, 2, 4, 5]), "offsets": torch.tensor([0, 2])}
    assert loss.targets([a, b], None).tolist() == [True, False]
