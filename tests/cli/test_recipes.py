"""`vicinal distil`, `augment` and `adapt`: what they read, and what they call."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.cross_encoder.conftest import write_classifier
from tests.recipes.models import deep_teacher, texts
from vicinal.evaluation.resampling import Difference, Interval
from vicinal.recipes.base import Compared
from vicinal.recipes.runs import Outcome, Schedule

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
Run = Callable[..., Any]


@pytest.fixture
def student(tmp_path: Path) -> Path:
    return tiny.write_bert(tmp_path / "student")


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    return write_classifier(tmp_path / "judge")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A text a line, one of them twice, one blank."""
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join([*texts(40), texts(40)[0], " "]) + "\n", "utf-8")
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.tsv"
    rows = [f"query {a}\tquery {b}\t{i % 6}" for i, (a, b) in enumerate(zip(texts(12, 1), texts(12, 2), strict=True))]
    path.write_text("\n".join(["sentence1\tsentence2\tscore", *rows]) + "\n", "utf-8")
    return path


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": str(i), "title": f"Title {i}", "text": text} for i, text in enumerate(texts(9, 3))]
    queries = [{"_id": str(i), "text": f"query {i}"} for i in range(4)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    for split in ("train", "test"):
        judged = "\n".join(f"{i}\t{i}\t1" for i in range(4))
        (folder / f"qrels/{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}\n", "utf-8")
    return folder


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Put something in the place of a recipe that takes down what it is given."""

    def replace(name: str) -> dict[str, Any]:
        given: dict[str, Any] = {}
        module, _, function = name.rpartition(".")

        def recipe(*args: Any, say: Callable[[str], object], **options: Any) -> Outcome:
            given.update({"args": args, **options})
            row = Compared(
                "a", "ndcg@10", Interval(0.5, 0.4, 0.6), Interval(0.6, 0.5, 0.7), Difference(0.1, 0, 0.2, 0.04)
            )
            say("half way")
            return Outcome(Path("made"), [row])

        monkeypatch.setattr(importlib.import_module(f"vicinal.recipes.{module}"), function, recipe)
        return given

    return replace


def test_a_model_is_made_and_its_table_goes_to_standard_output(
    run: Run, corpus: Path, pairs: Path, tmp_path: Path
) -> None:
    deep_teacher(tmp_path / "deep")
    args = ("distil", "layers", tmp_path / "deep", "--layers", 2, "--texts", corpus, "--test", pairs,
            "--epochs", 1, "-o", tmp_path / "out")  # fmt: skip
    done = run(*args)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["|", "task", "|", "metric", "|", "before", "|", "after", "|",
                                                   "difference", "|", "p", "|"]  # fmt: skip
    assert len(done.stdout.splitlines()) == 3
    assert "| task" not in done.stderr
    assert f"the model is in {tmp_path / 'out'}" in done.stderr
    assert (tmp_path / "out/modules.json").exists()
    again = run(*args)
    assert again.exit_code == 1
    assert "holds a finished run" in again.stderr


def test_what_a_recipe_refuses_is_a_wrong_call(run: Run, student: Path, corpus: Path, tmp_path: Path) -> None:
    base = ("--texts", corpus, "-o", tmp_path / "out")
    for args, message in (
        (("layers", student, "--layers", "0,9"), "layers must be different numbers from 0 to"),
        (("layers", student, "--layers", "all"), "'all' is neither a number"),
        (("layers", student), "give either student="),
        (("dims", student, "--dims", 99), "dims must be from 1 to 21"),
        (("static", student, "--dims", 99), "dims must be from 1 to 22"),
    ):
        done = run("distil", *args, *base)
        assert (done.exit_code, done.stdout) == (2, "")
        assert message in " ".join(done.stderr.replace("│", "").split())
    assert not (tmp_path / "out").exists()


def test_layers_and_a_student(run: Run, called: Any, student: Path, corpus: Path) -> None:
    given = called("distil.distil")
    done = run("distil", "layers", student, "--student", student, "--texts", corpus, "-o", "out", "--seed", 7, "--bf16",
               "--learning-rate", 0.5, "--vectors", "kept")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert given["args"][1:] == (texts(40), Path("out"))
    assert (given["layers"], given["vectors"], given["tasks"]) == (None, Path("kept"), [])
    plan = given["schedule"]
    assert (plan.seed, plan.bf16, plan.learning_rate, plan.batch_size) == (7, True, 0.5, 128)
    assert "half way" in done.stderr
    run("distil", "layers", student, "--layers", "0,2", "--texts", corpus, "-o", "out")
    assert given["layers"] == [0, 2]


def test_scores_are_learned_of_pairs_and_of_retrieval_sets(
    run: Run, called: Any, student: Path, judge: Path, beir: Path, tmp_path: Path
) -> None:
    (tmp_path / "told.tsv").write_text("red\tgreen\nlaw\ttax\n", "utf-8")
    given = called("scores.distil_scores")
    done = run("distil", "scores", student, "--teacher", judge, "--pairs", tmp_path / "told.tsv", "--pairs", beir,
               "--loss", "kl", "--skip", 2, "--test", beir, "-o", "out")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    _, _, rows, output = given["args"]
    assert rows[:2] == [("red", "green"), ("law", "tax")]
    assert rows[2] == ("query 0", f"Title 0 {texts(9, 3)[0]}")
    assert (len(rows), len(given["corpus"]), output) == (6, 9, Path("out"))
    assert (given["loss"], given["negatives"], given["skip"]) == ("kl", 4, 2)
    assert [task.name for task in given["tasks"]] == ["beir/test"]


def test_gold_pairs_are_scaled(run: Run, called: Any, student: Path, judge: Path, pairs: Path, corpus: Path) -> None:
    given = called("augment.augment")
    done = run(
        "augment", student, "--gold", pairs, "--highest", 5, "--texts", corpus, "--sampling", "bm25", "-o", "out"
    )
    assert done.exit_code == 0, done.stderr
    assert [round(row.score * 5) for row in given["gold"][:7]] == [0, 1, 2, 3, 4, 5, 0]
    assert given["sentences"] == texts(40)
    assert (given["sampling"], given["teacher"], given["silver"]) == ("bm25", None, None)
    assert isinstance(given["teacher_schedule"], Schedule)
    assert run("augment", student, "--teacher", judge, "--texts", corpus, "-o", "out").exit_code == 0
    assert (given["gold"], given["teacher"].num_labels) == ([], 1)
    assert run("augment", student, "--gold", pairs, "--highest", 0, "-o", "out").exit_code == 2


def test_passages_come_with_their_titles(
    run: Run, called: Any, student: Path, judge: Path, beir: Path, corpus: Path
) -> None:
    given = called("queries.adapt_without_labels")
    done = run("adapt", "queries", student, "--teacher", judge, "--passages", beir, "--passages", corpus, "-o", "out")
    assert done.exit_code == 0, done.stderr
    named = dict(zip(given["args"][1], given["titles"], strict=True))
    assert list(named)[:9] == texts(9, 3)
    assert named[texts(9, 3)[8]] == "Title 8"
    assert named[texts(40)[39]] == ""
    assert given["generator"] is None


def test_texts_alone(run: Run, called: Any, student: Path, corpus: Path) -> None:
    given = called("unsupervised.adapt")
    done = run("adapt", "texts", student, "--method", "simcse", "--texts", corpus, "--epochs", 2, "-o", "out")
    assert done.exit_code == 0, done.stderr
    assert (given["method"], given["schedule"].epochs, given["schedule"].batch_size) == ("simcse", 2, 64)
    assert "ndcg@10" in done.stdout
