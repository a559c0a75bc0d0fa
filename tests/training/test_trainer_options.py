"""What comes from the trainer of transformers: search over hyperparameters, early stopping, gradient checkpointing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import EarlyStoppingCallback

from tests import tiny
from tests.training.test_trainer import STILL, WORDS, arguments, history, pairs, scored, texts
from vicinal import SentenceTransformer, losses
from vicinal.errors import TrainingWarning
from vicinal.evaluation import EmbeddingSimilarityEvaluator
from vicinal.training.trainer import SentenceTransformerTrainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_bert(tmp_path / "model", config=STILL)


@pytest.mark.filterwarnings("ignore:.*[Oo]ptuna.*")
def test_a_search_over_hyperparameters(folder: Path, tmp_path: Path) -> None:
    made: list[SentenceTransformer] = []

    def fresh(trial: Any) -> SentenceTransformer:
        made.append(SentenceTransformer(folder, dtype="float32"))
        return made[-1]

    judge = EmbeddingSimilarityEvaluator(texts(8, 6), texts(8, 7), np.linspace(0, 1, 8).tolist())
    trainer = SentenceTransformerTrainer(
        model_init=fresh,
        args=arguments(tmp_path / "out", max_steps=2, eval_strategy="steps", eval_steps=2),
        train_dataset=pairs(),
        loss=losses.MultipleNegativesRankingLoss,
        evaluator=judge,
    )
    rates: list[float] = []

    def space(trial: Any) -> dict[str, Any]:
        rates.append(trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True))
        return {"learning_rate": rates[-1]}

    best = trainer.hyperparameter_search(
        hp_space=space, n_trials=3, direction="maximize", backend="optuna",
        compute_objective=lambda metrics: metrics["eval_spearman_cosine"],
    )  # fmt: skip
    assert len(made) >= 3  # a model for each
    assert len({model.fingerprint for model in made}) >= 3  # each trained from the beginning, at its own rate
    assert best.hyperparameters["learning_rate"] in rates
    one = SentenceTransformer(folder, dtype="float32")
    alone = SentenceTransformerTrainer(
        model=one,
        args=arguments(tmp_path / "one", max_steps=2, learning_rate=best.hyperparameters["learning_rate"]),
        train_dataset=pairs(),
        loss=losses.MultipleNegativesRankingLoss(one),
    )
    alone.train()
    assert judge(one)["spearman_cosine"] == pytest.approx(best.objective, abs=1e-6)


def test_early_stopping(folder: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(folder, dtype="float32")
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(
            tmp_path / "out", num_train_epochs=9, learning_rate=0.0, eval_strategy="steps", eval_steps=2, save_steps=2,
            save_strategy="steps", load_best_model_at_end=True, metric_for_best_model="eval_loss",
        ),
        train_dataset=scored(),
        eval_dataset=scored(8),
        loss=losses.CoSENTLoss(model),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
    )  # fmt: skip
    before = model.encode(WORDS[:3])
    trainer.train()
    assert trainer.state.global_step == 6  # the first evaluation is the best; two more brought nothing
    np.testing.assert_allclose(model.encode(WORDS[:3]), before, atol=1e-6)


def test_gradient_checkpointing_changes_no_number(folder: Path, tmp_path: Path) -> None:
    found = []
    for checkpointing in (False, True):
        model = SentenceTransformer(folder, dtype="float32")
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments(tmp_path / str(checkpointing), max_steps=4, gradient_checkpointing=checkpointing),
            train_dataset=pairs(),
            loss=losses.MultipleNegativesRankingLoss(model),
        )
        trainer.train()
        assert model.trainable()[0].model.is_gradient_checkpointing == checkpointing
        found.append((history(trainer), model.encode(WORDS)))
    (plain, vectors), (again, same) = found
    np.testing.assert_allclose(again, plain, rtol=1e-5)
    np.testing.assert_allclose(same, vectors, atol=1e-5)


def test_bfloat16_that_a_processor_lacks_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = SentenceTransformer(folder, dtype="float32")
    loss = losses.MultipleNegativesRankingLoss(model)
    args = arguments(tmp_path / "out", bf16=True, use_cpu=True)
    monkeypatch.setattr("vicinal.training.trainer.has_bfloat16", lambda: False)
    with pytest.warns(TrainingWarning, match="computes bfloat16 in software, many times slower than float32"):
        SentenceTransformerTrainer(model=model, args=args, train_dataset=pairs(), loss=loss)
    monkeypatch.setattr("vicinal.training.trainer.has_bfloat16", lambda: True)
    SentenceTransformerTrainer(model=model, args=args, train_dataset=pairs(), loss=loss)
