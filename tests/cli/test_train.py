"""`vicinal train`."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import tiny
from vicinal import SentenceTransformer

pytest.importorskip("datasets")

WORDS = [word for word in tiny.VOCABULARY if word.isalpha()]


def write(path: Path, first: int, n: int = 12) -> Path:
    """Pairs that no other `first` has."""
    rows = [(f"{WORDS[first]} {word}", f"the {word} {WORDS[first]}") for word in WORDS[:n]]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("query", "answer"), *rows])
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.write_bert(tmp_path / "base")


def test_by_options_alone(run: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    data, held, dev = (write(tmp_path / f"{name}.csv", i) for i, name in enumerate(("faq", "held", "dev")))
    out, picture = tmp_path / "model", tmp_path / "curve.png"
    options = ["--data", data, "--task", "retrieval", "--dev", dev, "--test", held, "--batch-size", 4, "--epochs", 2,
               "--learning-rate", 1e-3, "--dtype", "bfloat16", "--seed", 3, "--plot", picture, "-o", out]  # fmt: skip
    done = run("train", model, *options)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [cell.strip() for cell in lines[0].split("|")][1:-1] == [
        "task", "metric", "before", "after", "difference", "p"
    ]  # fmt: skip
    assert lines[2].startswith("| held | ndcg@10 | ")
    assert len(lines) == 3
    assert "faq: 12 rows, retrieval, MultipleNegativesRankingLoss" in done.stderr
    assert "step 6/6" in done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert SentenceTransformer(out).encode(["red apple"]).shape == (1, tiny.WIDTH)
    assert (out / "README.md").exists()
    again = run("train", model, *options)
    assert again.exit_code == 1
    assert "holds a finished run: name another folder, or remove this one" in again.stderr


def test_by_a_file_and_options_beside_it(run: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    settings = tmp_path / "config.yaml"
    data = [{"path": str(write(tmp_path / "faq.csv", 0)), "task": "retrieval"}]
    training = {"per_device_train_batch_size": 4}
    settings.write_text(yaml.safe_dump({"model": str(model), "output": "unused", "data": data, "training": training}))
    done = run("train", settings, "--max-steps", 1, "--output", tmp_path / "model")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""  # nothing was measured
    assert "step 1/1" in done.stderr
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert not Path("unused").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["{model}"], 2, "is no .yaml file: say what to train on"),
        (["{model}", "--data", "{faq}", "-o", "{out}"], 2, "say what the data teach, or name a loss"),
        (["{model}", "--data", "{faq}", "--task", "retrieval"], 2, "say where the trained model goes"),
        (["{yaml}", "--data", "{faq}"], 2, "says what to train on: write it there"),
        (["{yaml}", "--no-quotes"], 2, "says what to train on: write it there"),
        (["{yaml}"], 1, "error: {yaml} has no 'modle': did you mean model?"),
        (["none.yaml"], 1, "error: there is no settings file none.yaml"),
        (["{model}", "--data", "none.csv", "--loss", "mnr", "-o", "{out}"], 1, "error: none.csv does not exist"),
        (["{model}", "--data", "{faq}", "--loss", "mnrr", "-o", "{out}"], 1,
         "error: data 'faq', loss: there is no loss 'mnrr': did you mean mnr"),
        (["{model}", "--data", "{faq}", "--loss", "mnr", "--test", "{faq}", "-o", "{out}"], 1,
         "row 0: 'a a' stands in what the model is measured on, 'faq' (12 such rows)"),
        (["{model}", "--data", "{faq}", "--loss", "mnr", "--plot", "x.gif", "-o", "{out}"], 1,
         "error: a picture must end in .png, .svg, .pdf, not 'x.gif'"),
    ],
)  # fmt: skip
def test_wrong_calls(
    run: Callable[..., Any], model: Path, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    names = {"model": model, "faq": write(tmp_path / "faq.csv", 0), "yaml": tmp_path / "c.yaml", "out": tmp_path / "o"}
    names["yaml"].write_text("modle: x\n")
    done = run("train", *(option.format(**names) for option in options))
    assert done.exit_code == code, done.output
    assert message.format(**names) in done.stderr
    assert not names["out"].exists()
