"""Training, beside sentence-transformers' trainer, and what must hold of any training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests import tiny
from tests.cross_encoder.conftest import write_classifier
from vicinal import CrossEncoder, InputExample, SentenceTransformer, losses
from vicinal.errors import InvalidData
from vicinal.evaluation import EmbeddingSimilarityEvaluator
from vicinal.training.arguments import CrossEncoderTrainingArguments, SentenceTransformerTrainingArguments
from vicinal.training.cross_encoder import CrossEncoderTrainer
from vicinal.training.trainer import SentenceTransformerTrainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
WORDS = [word for word in tiny.VOCABULARY if word.isalpha()]


def texts(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(count)]


def pairs(count: int = 24) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"anchor": texts(count, 0), "positive": texts(count, 1)})


def scored(count: int = 24) -> datasets.Dataset:
    scores = np.random.default_rng(2).random(count).tolist()
    return datasets.Dataset.from_dict({"sentence1": texts(count, 3), "sentence2": texts(count, 4), "score": scores})


def arguments(folder: Path, kind: type[Any] = SentenceTransformerTrainingArguments, **more: Any) -> Any:
    options = {
        "output_dir": str(folder), "per_device_train_batch_size": 4, "num_train_epochs": 2, "learning_rate": 1e-3,
        "report_to": [], "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, "seed": 7,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    return kind(**{**options, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_bert(tmp_path / "model", config=STILL)


def history(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("batches", ["batch_sampler", "no_duplicates"])
def test_the_losses_and_weights_are_the_peers(folder: Path, tmp_path: Path, batches: str) -> None:
    import sentence_transformers as st
    from sentence_transformers.sentence_transformer import losses as their_losses

    options = {"batch_sampler": batches}
    model = SentenceTransformer(folder, dtype="float32")
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(tmp_path / "a", **options),
        train_dataset=pairs(),
        loss=losses.MultipleNegativesRankingLoss(model),
    )
    trainer.train()
    theirs = st.SentenceTransformer(str(folder))
    peer = st.SentenceTransformerTrainer(
        model=theirs,
        args=arguments(tmp_path / "b", st.SentenceTransformerTrainingArguments, **options),
        train_dataset=pairs(),
        loss=their_losses.MultipleNegativesRankingLoss(theirs),
    )
    peer.train()
    assert len(history(trainer)) == 12
    np.testing.assert_allclose(history(trainer), history(peer), rtol=2e-4)
    probe = texts(9, 5)
    np.testing.assert_allclose(model.encode(probe), theirs.encode(probe), atol=2e-4)
    assert model.backend == "openvino"


def test_fit_trains_and_keeps_the_best(folder: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(folder, dtype="float32")
    before = model.encode(WORDS[:3])
    examples = [InputExample(texts=[a, b]) for a, b in zip(texts(16, 0), texts(16, 1), strict=True)]
    loader = DataLoader(examples, shuffle=True, batch_size=4)
    judge = EmbeddingSimilarityEvaluator(texts(8, 6), texts(8, 7), np.linspace(0, 1, 8).tolist())
    seen: list[tuple[float, int, int]] = []
    model.fit(
        train_objectives=[(loader, losses.MultipleNegativesRankingLoss(model))],
        evaluator=judge,
        epochs=2,
        warmup_steps=1,
        evaluation_steps=2,
        output_path=str(tmp_path / "out"),
        optimizer_params={"lr": 1e-3},
        callback=lambda score, epoch, steps: seen.append((score, epoch, steps)),
        show_progress_bar=False,
    )
    assert np.abs(model.encode(WORDS[:3]) - before).max() > 1e-3
    assert [place[1:] for place in seen] == [(0, 2), (0, 4), (0, -1), (1, 2), (1, 4), (1, -1)]
    kept = SentenceTransformer(tmp_path / "out", dtype="float32")
    found = judge(kept)
    assert found[judge.primary_metric] == pytest.approx(max(score for score, _, _ in seen), abs=1e-4)


def test_several_data_sets_prompts_rates_and_an_evaluator(folder: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(folder, dtype="float32")
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(
            tmp_path / "out",
            prompts='{"pairs": {"anchor": "red "}, "scored": "apple "}',
            multi_dataset_batch_sampler="round_robin",
            learning_rate_mapping={"embeddings": 0.0},
            eval_strategy="epoch",
            weight_decay=0.0,
        ),
        train_dataset={"pairs": pairs(), "scored": scored()},
        eval_dataset={"pairs": pairs(8), "scored": scored(8)},
        loss={"pairs": losses.MultipleNegativesRankingLoss(model), "scored": losses.CoSENTLoss(model)},
        evaluator=EmbeddingSimilarityEvaluator(texts(8, 6), texts(8, 7), np.linspace(0, 1, 8).tolist()),
    )
    words = model.trainable()[0].auto_model.embeddings.word_embeddings.weight
    before, layer = words.detach().clone(), model[0].auto_model.encoder.layer[0].output.dense.weight
    start = layer.detach().clone()
    trainer.train()
    assert torch.equal(words, before), "its rate was 0"
    assert not torch.equal(layer, start)
    last = trainer.state.log_history[-2]
    assert "eval_pairs_loss" in set().union(*trainer.state.log_history)
    assert "epoch" in last
    assert any("eval_spearman_cosine" in entry for entry in trainer.state.log_history)
    collator = trainer.data_collator
    assert collator.prompt_of("anchor", "pairs") == "red "
    assert collator.prompt_of("positive", "pairs") is None
    assert collator.prompt_of("sentence1", "scored") == "apple "


def test_an_evaluator_alone_is_enough(folder: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(folder, dtype="float32")
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(
            tmp_path / "out", eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True,
            metric_for_best_model="spearman_cosine",
        ),
        train_dataset=scored(),
        evaluator=EmbeddingSimilarityEvaluator(texts(8, 6), texts(8, 7), np.linspace(0, 1, 8).tolist()),
    )  # fmt: skip
    trainer.train()
    found = {e["step"]: e["eval_spearman_cosine"] for e in trainer.state.log_history if "eval_spearman_cosine" in e}
    best = SentenceTransformer(tmp_path / f"out/checkpoint-{max(found, key=lambda step: found[step])}", dtype="float32")
    np.testing.assert_allclose(model.encode(WORDS), best.encode(WORDS), atol=1e-6)
    assert trainer.state.best_metric == max(found.values())
    assert 'SentenceTransformer("path/to/this/folder")' in (tmp_path / "out/checkpoint-6/README.md").read_text()


def test_what_a_loss_learns_is_trained_saved_and_read_back(folder: Path, tmp_path: Path) -> None:
    labelled = pairs().add_column("label", [i % 3 for i in range(24)])
    results = []
    for stop in (None, 6):
        torch.manual_seed(0)
        model = SentenceTransformer(folder, dtype="float32")
        loss = losses.SoftmaxLoss(model, model.get_embedding_dimension(), num_labels=3)
        args = arguments(tmp_path / "out", save_strategy="steps", save_steps=6)
        trainer = SentenceTransformerTrainer(model=model, args=args, train_dataset=labelled, loss=loss)
        start = loss.classifier.weight.detach().clone()
        trainer.train(resume_from_checkpoint=None if stop is None else str(tmp_path / "out/checkpoint-6"))
        assert not torch.equal(loss.classifier.weight, start)
        results.append((loss.classifier.weight.detach().clone(), model.encode(WORDS)))
    assert torch.equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


_KILLED = """
import sys, datasets, torch
from transformers import TrainerCallback
from tests.training.test_trainer import arguments, pairs
from vicinal import SentenceTransformer, losses
from vicinal.training.trainer import SentenceTransformerTrainer
from pathlib import Path
import os, signal
torch.set_num_threads(1)
folder, out, die, resume = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1"

class Die(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == die:
            os.kill(os.getpid(), signal.SIGKILL)

model = SentenceTransformer(folder, dtype="float32")
args = arguments(out, save_strategy="steps", save_steps=3)
trainer = SentenceTransformerTrainer(model=model, args=args, train_dataset=pairs(),
    loss=losses.MultipleNegativesRankingLoss(model), callbacks=[Die()])
trainer.train(resume_from_checkpoint=resume)
model.save(out / "final")
"""


def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path / "model")  # with dropout: the random state is part of what resumes
    script = tmp_path / "run.py"
    script.write_text(_KILLED)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}

    def run(out: str, die: int, resume: bool) -> int:
        command = [sys.executable, str(script), str(folder), str(tmp_path / out), str(die), "01"[resume]]
        return subprocess.run(command, cwd=root, env=environment, capture_output=True).returncode

    assert run("whole", -1, False) == 0
    assert run("killed", 8, False) == -signal.SIGKILL
    assert run("killed", -1, True) == 0
    whole, killed = ((tmp_path / out / "final/model.safetensors").read_bytes() for out in ("whole", "killed"))
    assert whole == killed


def test_cross_encoders_train_as_the_peers_do(tmp_path: Path) -> None:
    import sentence_transformers.cross_encoder as st

    folder = write_classifier(tmp_path / "model", **STILL)
    data = datasets.Dataset.from_dict(
        {"query": texts(16, 0), "answer": texts(16, 1), "label": [float(i % 2) for i in range(16)]}
    )
    model = CrossEncoder(str(folder), dtype="float32")
    args = arguments(tmp_path / "a", CrossEncoderTrainingArguments)
    trainer = CrossEncoderTrainer(model=model, args=args, train_dataset=data)
    trainer.train()
    theirs = st.CrossEncoder(str(folder))
    peer = st.CrossEncoderTrainer(
        model=theirs, args=arguments(tmp_path / "b", st.CrossEncoderTrainingArguments), train_dataset=data
    )
    peer.train()
    np.testing.assert_allclose(history(trainer), history(peer), rtol=1e-3, atol=1e-4)
    probe = list(zip(texts(5, 8), texts(5, 9), strict=True))
    np.testing.assert_allclose(model.predict(probe), theirs.predict(probe), atol=1e-3)
    assert model.backend == "openvino"
    model.save(tmp_path / "saved")
    np.testing.assert_allclose(st.CrossEncoder(str(tmp_path / "saved")).predict(probe), model.predict(probe), atol=1e-5)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"label": [1.0]}, "has no column of texts"),
        ({"a": ["x"], "b": ["y"], "label": [1], "score": [0.5]}, "several columns of labels"),
        ({"a": ["x"]}, "takes 2 or more columns"),
        ({"a": [], "b": []}, "has no rows"),
        ({"a": ["x", None], "b": ["y", "z"]}, "row 1: 'a' must be a text"),
        ({"a": ["x"], "b": ["y"], "label": ["one"]}, "row 0: 'label' must be a number"),
        ({"a": ["x"] * 2500, "b": ["y"] * 2499 + [None]}, "row 2499: 'b' must be a text"),
        (
            {"a": ["x"] * 1500, "b": ["y", " "] + ["z"] * 1497 + [""]},
            "has 2 rows with an empty text, the first row 1, 'b'",
        ),
        ({"a": ["x"] * 1300, "b": ["y"] * 1300, "label": [0.5] * 1299 + [float("nan")]}, "row 1299: 'label' must be"),
        ({"a": ["x"] * 2, "b": ["y"] * 2, "label": [[0.5, 1.0], [float("inf")]]}, "row 1: 'label' must be a number"),
    ],
)
def test_data_is_looked_at_before_the_first_step(data: dict[str, Any], text: str, folder: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(folder, dtype="float32")
    loss = losses.MultipleNegativesRankingLoss(model)
    with pytest.raises(InvalidData, match=text):
        SentenceTransformerTrainer(
            model=model, args=arguments(tmp_path / "o"), train_dataset=datasets.Dataset.from_dict(data), loss=loss
        )


def test_rows_that_a_function_makes_are_not_all_made(folder: Path, tmp_path: Path) -> None:
    asked: list[int] = []

    def made(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        asked.append(len(rows["a"]))
        return rows

    data = datasets.Dataset.from_dict({"a": ["x"] * 400, "b": ["y"] * 400}).with_transform(made)
    model = SentenceTransformer(folder, dtype="float32")
    loss = losses.MultipleNegativesRankingLoss(model)
    SentenceTransformerTrainer(model=model, args=arguments(tmp_path / "o"), train_dataset=data, loss=loss)
    assert 100 <= sum(asked) < 400  # the card looks at some too


def test_a_list_is_no_data_set(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"a list is no data set: datasets.Dataset.from_list\(rows\) makes one"):
        SentenceTransformerTrainer(
            SentenceTransformer(folder), arguments(tmp_path / "o"), train_dataset=[{"a": "x", "b": "y"}]
        )


def test_losses_and_data_sets_must_have_the_same_names(folder: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(folder, dtype="float32")
    loss = {"other": losses.CoSENTLoss(model)}
    with pytest.raises(InvalidData, match="'mine' has no loss; there are losses for other"):
        SentenceTransformerTrainer(
            model=model, args=arguments(tmp_path / "o"), train_dataset={"mine": scored()}, loss=loss
        )
