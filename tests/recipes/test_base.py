"""What recipes share: leaks, tables, logs, runs."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vicinal.errors import FolderBusy, InvalidData
from vicinal.evaluation.measuring import Task, of_means, of_statistics
from vicinal.recipes import base


def task(name: str = "faq", texts: tuple[str, ...] = ()) -> Task:
    return Task(name, name, "accuracy", lambda model: of_means({"accuracy": model}), texts=texts)


def test_a_text_that_is_measured_on_is_refused_wherever_it_stands() -> None:
    training = {"first": [["red", "green"]], "second": [["tax", "law"], ["a", "Night\n TRAIN"], ["night train", "b"]]}
    base.refuse_leaks(training, [task(texts=("train",))])
    with pytest.raises(InvalidData, match=r"'second', row 1: 'Night\\n TRAIN' stands in .* 'faq' \(2 such rows\)"):
        base.refuse_leaks(training, [task("other"), task(texts=("night train",))])
    assert base.leaks(training["second"], ["night train"]) == [1, 2]


def test_the_table_has_paired_differences(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(400)  # items differ much, models little: only a paired comparison sees it
    before, after = hard, hard + 0.01 + rng.normal(0, 0.01, 400)
    (row,) = base.compared([task()], base.measured(before, [task()]), base.measured(after, [task()]))
    assert row.before.high > row.after.low
    assert 0 < row.difference.low < row.difference.value == pytest.approx(row.after.value - row.before.value)
    assert row.difference.p < 0.001
    lines = base.table([row]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert f"{row.difference.value:+.4f} [" in lines[2]
    base.write_comparison(tmp_path / "comparison.csv", [row])
    with (tmp_path / "comparison.csv").open(newline="") as file:
        (found,) = csv.DictReader(file)
    assert float(found["difference_low"]) == row.difference.low
    assert list(found) == ["task", "metric", "before", "before_low", "before_high", "after", "after_low", "after_high",
                           "difference", "difference_low", "difference_high", "p"]  # fmt: skip


def test_statistics_are_compared_on_the_same_resamples() -> None:
    values = np.random.default_rng(1).random(50)
    one = of_statistics({"median": lambda rows: float(np.median(values[rows]))}, 50)
    same = of_statistics({"median": lambda rows: float(np.median(values[rows]))}, 50)
    assert one.minus(same)["median"][:3] == (0, 0, 0)
    assert one.metrics["median"].low < one.metrics["median"].value < one.metrics["median"].high


def state(step: int, epoch: float = 0.5) -> SimpleNamespace:
    return SimpleNamespace(global_step=step, max_steps=10, epoch=epoch)


def test_the_log_of_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    path, said = tmp_path / "log.csv", list[str]()
    log = base.RunLog(path, said.append)
    log.on_train_begin(None, state(0), None)
    for step in (1, 2, 3):
        log.on_log(None, state(step), None, {"loss": step / 10, "epoch": 0.5, "eval_runtime": 3.0, "note": "x"})
    with path.open("a") as file:
        file.write("4,0.5")  # a kill in the middle of a line
    again = base.RunLog(path)
    again.on_train_begin(None, state(2), None)
    again.on_log(None, state(3), None, {"loss": 0.3})
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["name"], row["value"]) for row in rows] == [
        ("1", "loss", "0.1"), ("2", "loss", "0.2"), ("3", "loss", "0.3")
    ]  # fmt: skip
    assert said[0].startswith("step 1/10, 0 s: loss 0.1")


def test_a_run_goes_on_only_with_the_same_settings(tmp_path: Path) -> None:
    output = tmp_path / "model"
    with base.running(output, {"epochs": 1, "data": [{"path": "a"}]}) as run:
        assert run.checkpoint is None
        for step, text in ((9, "{}"), (10, '{"glo'), (11, None)):
            folder = run.checkpoints / f"checkpoint-{step}"
            folder.mkdir(parents=True)
            if text is not None:
                (folder / "trainer_state.json").write_text(text)
        with pytest.raises(FolderBusy), base.running(output, {}):
            pass
    with pytest.raises(InvalidData, match=r"other settings \(epochs, data\[0\]\.path\)"), base.running(
        output, {"epochs": 2, "data": [{"path": "b"}]}
    ):  # fmt: skip
        pass
    with base.running(output, {"epochs": 1, "data": [{"path": "a"}]}) as run:
        assert run.checkpoint == run.checkpoints / "checkpoint-9"
        assert [path.name for path in run.checkpoints.iterdir()] == ["checkpoint-9"]
        run.done()
    assert not run.checkpoints.exists()
    assert json.loads((run.folder / "run.json").read_text())["done"]
    with pytest.raises(InvalidData, match="holds a finished run"), base.running(output, {"epochs": 1}):
        pass


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidData, match="holds something else"), base.running(tmp_path, {}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    mine = tmp_path / "mine"
    (mine / "training").mkdir(parents=True)
    (mine / "README.md").write_text("mine")
    with pytest.raises(InvalidData, match="holds something else"), base.running(mine, {}):
        pass
    (mine / "README.md").unlink()
    (mine / "training" / base.LOCK).touch()
    with base.running(mine, {}):  # one that was killed before it wrote anything
        pass
    with pytest.raises(InvalidData, match="is a file"), base.running(tmp_path / "thesis.txt", {}):
        pass


def test_without_the_extra_recipes_say_what_to_install() -> None:
    for module, extra in (("torch", "torch"), ("datasets", "train")):
        code = (
            f"import sys; sys.modules[{module!r}] = None\ntry:\n    import vicinal.recipes.augment\n"
            "except ImportError as e:\n    print(e)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        wanted = f"recipes (vicinal.recipes) needs {module}, which is not installed: pip install 'vicinal[{extra}]'"
        assert wanted in done.stdout
