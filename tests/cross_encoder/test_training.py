"""Training by the older arguments, beside sentence-transformers' own; settings that training must keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests import tiny
from tests.cross_encoder.conftest import write_classifier
from vicinal import CrossEncoder, InputExample, SentenceTransformer
from vicinal.cross_encoder.evaluation import CrossEncoderCorrelationEvaluator
from vicinal.cross_encoder.losses import CrossEntropyLoss, MSELoss
from vicinal.errors import InvalidData

pytestmark = [
    pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
WORDS = [word for word in tiny.VOCABULARY if word.isalpha()]


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    return [tuple(" ".join(rng.choice(WORDS, n)) for n in rng.integers(1, 7, 2)) for _ in range(count)]  # type: ignore[misc]


def loader(labels: int = 1) -> Any:
    values = np.random.default_rng(1).random(16).tolist() if labels == 1 else [i % labels for i in range(16)]
    rows = [InputExample(texts=list(pair), label=value) for pair, value in zip(pairs(16), values, strict=True)]
    return DataLoader(rows, batch_size=4, shuffle=False)


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (1, {}),
        (1, {"activation_fct": torch.nn.Tanh(), "scheduler": "warmupcosine", "max_grad_norm": 0.1}),
        (3, {}),
    ],
)
def test_fit_gives_the_peers_weights(
    labels: int, options: dict[str, Any], tmp_path: Path, peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # theirs writes into the working folder
    folder = write_classifier(tmp_path / "model", labels, **STILL)
    given = {"epochs": 2, "warmup_steps": 2, "optimizer_params": {"lr": 1e-3}, "show_progress_bar": False, **options}
    ours, theirs = CrossEncoder(folder, dtype="float32"), peer(str(folder), device="cpu")
    probe = pairs(9, 3)
    before = ours.predict(probe)
    ours.fit(loader(labels), **given)
    theirs.fit(loader(labels), **given)
    assert ours.backend == "openvino"
    found = ours.predict(probe)
    np.testing.assert_allclose(found, theirs.predict(probe), atol=2e-4)
    assert np.abs(found - before).max() > 2e-3


@pytest.mark.parametrize(
    ("labels", "given", "same"),
    [
        (1, torch.nn.MSELoss(), lambda model: MSELoss(model, torch.nn.Sigmoid())),
        (3, torch.nn.CrossEntropyLoss(label_smoothing=0.2), lambda model: CrossEntropyLoss(model, label_smoothing=0.2)),
    ],
)
def test_fit_takes_any_function_of_logits(labels: int, given: Any, same: Any, tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "model", labels, **STILL)
    options = {"warmup_steps": 0, "optimizer_params": {"lr": 1e-3}, "show_progress_bar": False}
    one, other = (CrossEncoder(folder, dtype="float32") for _ in range(2))
    before = one.predict(pairs(9, 3))
    one.fit(loader(labels), loss_fct=given, activation_fct=torch.nn.Sigmoid() if labels == 1 else None, **options)
    other.fit(loader(labels), loss_fct=same(other), **options)
    np.testing.assert_array_equal(one.predict(pairs(9, 3)), other.predict(pairs(9, 3)))
    assert np.abs(one.predict(pairs(9, 3)) - before).max() > 1e-3


@pytest.mark.filterwarnings("ignore:this processor computes bfloat16 in software")
def test_fit_keeps_the_best_and_calls_back(tmp_path: Path) -> None:
    model = CrossEncoder(write_classifier(tmp_path / "model", **STILL), dtype="float32")
    judge = CrossEncoderCorrelationEvaluator(pairs(8, 5), np.linspace(0, 1, 8).tolist())
    seen: list[tuple[float, int, int]] = []
    model.fit(
        train_dataloader=loader(), evaluator=judge, epochs=2, evaluation_steps=3, warmup_steps=1, use_amp=True,
        output_path=str(tmp_path / "best"), optimizer_class=torch.optim.SGD, optimizer_params={"lr": 0.1},
        callback=lambda *told: seen.append(told), show_progress_bar=False,
    )  # fmt: skip
    assert [place[1:] for place in seen] == [(0, 3), (0, -1), (1, 3), (1, -1)]
    best = judge(CrossEncoder(tmp_path / "best", dtype="float32"))[judge.primary_metric]
    assert best == pytest.approx(max(score for score, _, _ in seen), abs=1e-4)


def test_fit_takes_losses_of_its_own(tmp_path: Path) -> None:
    model = CrossEncoder(write_classifier(tmp_path / "model", **STILL), dtype="float32")
    with pytest.raises(ValueError, match="give activation_fct to MSELoss itself, as activation_fn"):
        model.fit(loader(), loss_fct=MSELoss(model), activation_fct=torch.nn.Sigmoid())
    before = model.predict(pairs(4))
    model.fit(loader(), loss_fct=MSELoss(model), warmup_steps=0, show_progress_bar=False)
    assert np.abs(model.predict(pairs(4)) - before).max() > 1e-6
    triples = DataLoader([InputExample(texts=["red", "law", "tax"], label=1.0)], batch_size=1)
    with pytest.raises(InvalidData, match="BinaryCrossEntropyLoss"):
        model.fit(triples)


@pytest.mark.parametrize("labels", [1, 3])
def test_a_loop_of_ones_own(labels: int, tmp_path: Path, peer: Any) -> None:
    folder = write_classifier(tmp_path / "model", labels)
    model, theirs = CrossEncoder(folder, dtype="float32"), peer(str(folder), device="cpu")
    rows = [InputExample(texts=[" red apple", "law"], label=1), InputExample(texts=["tax", "the law "], label=0)]
    features, found = model.smart_batching_collate(rows)
    other, wanted = theirs.smart_batching_collate(rows)
    assert found.dtype == wanted.dtype
    assert found.tolist() == wanted.tolist()
    for name in other:
        assert features[name].tolist() == other[name].tolist()
    logits = model(features)["scores"]
    assert logits.shape == (2, labels)
    logits.sum().backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if "classifier" in n)


def test_torch_takes_what_was_set_since_loading(tmp_path: Path) -> None:
    scorer = CrossEncoder(write_classifier(tmp_path / "scorer"), max_length=9, dtype="float32")
    long = ("tax " * 30, "law " * 30)
    wanted = scorer.predict(long, truncation="ignore")
    assert scorer.trainable().max_seq_length == 9
    assert scorer.trainable().preprocess([long])["input_ids"].shape == (1, 9)
    assert scorer.backend == "torch"
    assert scorer.predict(long, truncation="ignore") == pytest.approx(wanted, abs=1e-5)
    scorer.refresh()
    assert scorer.max_length == 9
    encoder = SentenceTransformer(tiny.write_bert(tmp_path / "encoder"), dtype="float32")
    encoder.max_seq_length = 7
    assert encoder.trainable().max_seq_length == 7
    encoder.max_seq_length = 11
    assert encoder.trainable().max_seq_length == encoder.refresh().max_seq_length == 11


@pytest.mark.parametrize("name", ["truncate_dim", "similarity_fn_name", "encode", "get_embedding_dimension", "cache"])
def test_what_models_of_vectors_alone_have(name: str, tmp_path: Path) -> None:
    model = CrossEncoder(write_classifier(tmp_path / "model"), dtype="float32")
    assert not hasattr(model, name)
    with pytest.raises(
        AttributeError, match=f"a CrossEncoder gives scores of pairs, not vectors, and has no {name}; a Se"
    ):
        getattr(model, name)
    with pytest.raises(AttributeError, match=f"not vectors, and has no {name}"):
        setattr(model, name, None)
    assert "labels=1, max_seq_length=23" in repr(model)
    with pytest.raises(AttributeError, match="'CrossEncoder' object has no attribute 'nonsense'"):
        model.nonsense  # noqa: B018
