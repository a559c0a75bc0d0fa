"""Training by settings: what comes out, what is refused, and a run that is killed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests import tiny
from vicinal import SentenceTransformer
from vicinal.errors import InvalidData
from vicinal.recipes.config import parse, read_config

torch = pytest.importorskip("torch")
train = pytest.importorskip("vicinal.recipes.train")

WORDS = [word for word in tiny.VOCABULARY if word.isalpha()]


def texts(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 8))) for _ in range(n)]


def write(path: Path, **columns: list[Any]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return str(path)


@pytest.fixture
def several(tmp_path: Path) -> dict[str, Any]:
    """Three tasks, measured on two, with everything that may differ by data set."""
    tiny.write_bert(tmp_path / "base")  # with dropout
    kinds = ["neutral", "entailment", "contradiction"]
    return {
        "model": str(tmp_path / "base"),
        "output": str(tmp_path / "model"),
        "data": [
            {"path": write(tmp_path / "faq.csv", question=texts(24, 0), answer=texts(24, 1)), "task": "retrieval"},
            {"path": write(tmp_path / "nli.csv", a=texts(12, 2), b=texts(12, 3), label=kinds * 4), "task": "nli",
             "weight": 0.5},
            {"path": write(tmp_path / "intents.csv", text=texts(16, 4), intent=["pay", "card"] * 8), "label": "intent",
             "task": "classification", "loss": {"name": "batchall", "margin": 2}},
        ],
        "evaluation": {
            "test": [
                {"path": write(tmp_path / "held.csv", q=texts(8, 5), a=texts(8, 6))},
                {"path": write(tmp_path / "spent.csv", text=texts(8, 7), intent=["card", "pay"] * 4),
                 "task": "classification", "label": "intent", "known": str(tmp_path / "intents.csv")},
            ],
            "dev": [{"path": write(tmp_path / "dev.csv", a=texts(8, 9), b=texts(8, 10), label=[0, 1] * 4)}],
        },
        "sampling": {"temperature": 2},
        "instructions": {"retrieval": "query : ", "classification": "the "},
        "training": {"per_device_train_batch_size": 4, "learning_rate": "1e-3"},
    }  # fmt: skip


_KILLED = """
import os, signal, sys
import torch
from vicinal.recipes import train
from vicinal.recipes.config import read_config

torch.set_num_threads(1)

class Dying(train.WeightedTrainer):
    def training_step(self, *args, **options):
        if self.state.global_step == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(*args, **options)

train.WeightedTrainer = Dying
train.train(read_config(sys.argv[1]))
"""


def test_a_killed_run_of_several_tasks_ends_with_the_same_weights(several: dict[str, Any], tmp_path: Path) -> None:
    settings = tmp_path / "config.yaml"
    settings.write_text(yaml.safe_dump(several))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED, str(settings)], cwd=root, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with pytest.raises(InvalidData, match=r"an unfinished run with other settings \(seed\)"):
        train.train(read_config(settings, {"seed": 1}))

    said: list[str] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = train.train(read_config(settings), said.append)
    train.train(read_config(settings, {"output": str(tmp_path / "whole")}))
    torch.set_num_threads(threads)
    killed, whole = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("model", "whole"))
    assert killed == whole != (tmp_path / "base" / "model.safetensors").read_bytes()
    assert "going on from checkpoint-6" in said

    model = SentenceTransformer(tmp_path / "model")
    assert model.prompts["query"] == "query : "
    assert model.prompts["classification"] == "the "
    assert [(row.task, row.metric) for row in rows] == [("held", "ndcg@10"), ("spent", "accuracy")]
    with (tmp_path / "model/training/comparison.csv").open(newline="") as file:
        assert [float(row["after"]) for row in csv.DictReader(file)] == [row.after.value for row in rows]
    with (tmp_path / "model/training/log.csv").open(newline="") as file:
        logged = [(int(row["step"]), row["name"]) for row in csv.DictReader(file)]
    assert len(set(logged)) == len(logged)  # no step twice
    assert {"loss", "loss_faq", "loss_nli", "loss_intents", "eval_sequential_score"} <= {name for _, name in logged}
    assert sorted(path.name for path in (tmp_path / "model/training").iterdir()) == [
        "comparison.csv", "lock", "log.csv", "run.json"
    ]  # fmt: skip
    card = (tmp_path / "model/README.md").read_text()
    assert "ndcg@10" in card
    assert "'nli': 0.5" in card
    with pytest.raises(InvalidData, match="holds a finished run"):
        train.train(read_config(settings))


def test_a_run_that_was_ended_after_its_last_step_only_measures(
    several: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**several, "data": several["data"][:1], "evaluation": several["evaluation"]["test"][:1],
              "training": {"max_steps": 2, "learning_rate": 1e-2}}  # fmt: skip

    def ended(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.base, "compared", ended)
        with pytest.raises(KeyboardInterrupt):
            train.train(parse(config))
    best = SentenceTransformer(tmp_path / "model/training/checkpoints/checkpoint-2").encode(["red apple"])
    said: list[str] = []
    (row,) = train.train(parse(config), said.append)
    assert row.task == "held"
    assert "going on from checkpoint-2" in said
    assert not [line for line in said if line.startswith("step ") and "loss" in line]
    assert np.array_equal(SentenceTransformer(tmp_path / "model").encode(["red apple"]), best)


class Stopped(Exception):
    """What a trainer that only is looked at ends with."""


@pytest.fixture
def trainer_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The trainer that settings make, before its first step."""
    made: list[Any] = []

    class Watched(train.WeightedTrainer):  # type: ignore[misc, name-defined]
        def train(self, *args: Any, **options: Any) -> None:
            made.append(self)
            raise Stopped

    def of(config: dict[str, Any], say: Any = lambda line: None) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(train, "WeightedTrainer", Watched)
            with pytest.raises(Stopped):
                train.train(parse(config), say)
        return made[-1]

    return of


@pytest.mark.filterwarnings("ignore:this processor computes bfloat16 in software")
def test_settings_reach_the_trainer(several: dict[str, Any], trainer_of: Any) -> None:
    trainer = trainer_of({**several, "seed": 7, "dtype": "bfloat16", "max_seq_length": 11})
    assert trainer.args.prompts == {"faq": {"question": "query : "}, "intents": {"text": "the "}}
    assert {name: type(loss).__name__ for name, loss in trainer.loss.items()} == {
        "faq": "MultipleNegativesRankingLoss", "nli": "SoftmaxLoss", "intents": "BatchAllTripletLoss"
    }  # fmt: skip
    assert trainer.loss["intents"].margin == 2
    assert trainer.loss["nli"].num_labels == 3
    kinds = {name: type(trainer.get_batch_sampler(one, 4, False, ("label",))).__name__
             for name, one in trainer.train_dataset.items()}  # fmt: skip
    assert kinds == {
        "faq": "NoDuplicatesBatchSampler", "nli": "DefaultBatchSampler", "intents": "GroupByLabelBatchSampler"
    }  # fmt: skip
    assert (trainer.args.seed, trainer.args.bf16, trainer.encoder.max_seq_length) == (7, True, 11)
    assert (trainer.args.learning_rate, trainer.args.num_train_epochs, trainer.args.warmup_steps) == (1e-3, 1, 0.1)

    batches = list(trainer.get_train_dataloader())
    drawn = [batch["dataset_name"] for batch in batches]
    assert len(drawn) == 6 + 3 + 4
    assert [drawn.count(name) for name in ("faq", "nli", "intents")] == [5, 4, 4]  # more evenly than their sizes
    inputs = batches[drawn.index("nli")]
    trainer.model.eval()
    plain = super(train.WeightedTrainer, trainer).compute_loss(trainer.model, inputs)
    assert trainer.compute_loss(trainer.model, inputs).item() == pytest.approx(0.5 * plain.item())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": [{"path": "dev", "task": "duplicates"}]},
         r"training data 'dev', row 0: .* stands in .* 'dev' \(8 such rows\).*`leaks: drop`"),
        ({"data": [{"path": "dev", "task": "duplicates"}], "leaks": "drop"}, "has no rows but those of the evaluation"),
        ({"data": [{"path": "faq", "task": "classification"}]}, "data 'faq': data for classification has no labels"),
        ({"data": [{"path": "nli", "task": "retrieval"}]}, "data for retrieval has labels"),
        ({"data": [{"path": "intents", "label": "intent", "loss": "cosent"}]}, r"data 'intents': CoSENTLoss .*2"),
        ({"training": {"per_device_train_batch_size": 5}}, "data 'intents': group_by_label needs an even batch size"),
        ({"training": {"lr_scheduler_type": "linaer"}}, "training: .*linaer"),
        ({"data": [{"path": "faq", "loss": {"name": "mnr", "scal": 2}}]},
         r"data 'faq', loss \(MultipleNegativesRankingLoss\) has no 'scal': did you mean scale\?"),
        ({"data": [{"path": "faq", "columns": ["question", "anwser"], "task": "retrieval"}]},
         "faq.csv has no column 'anwser': did you mean answer"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_written(
    several: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    for data in change.get("data", []):
        data["path"] = str(tmp_path / f"{Path(data['path']).stem}.csv")
    with pytest.raises(InvalidData, match=message):
        train.train(parse({**several, **change}))
    assert not (tmp_path / "model").exists()


def test_rows_that_are_measured_on_are_left_out_on_demand(
    several: dict[str, Any], tmp_path: Path, trainer_of: Any
) -> None:
    mixed = texts(8, 5)[:3] + texts(5, 20)
    path = write(tmp_path / "mixed.csv", question=mixed, answer=texts(8, 21))
    said: list[str] = []
    trainer = trainer_of({**several, "data": [{"path": path, "task": "retrieval"}], "leaks": "drop"}, said.append)
    assert said[0] == "mixed: 3 rows are left out, whose texts stand in the evaluation data"
    assert trainer.train_dataset["mixed"]["question"][:] == mixed[3:]
