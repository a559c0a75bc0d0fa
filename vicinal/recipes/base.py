"""What every recipe has: no training on what is measured, a table before and after, a log, a run that resumes."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback

from vicinal.errors import InvalidData
from vicinal.evaluation.measuring import Measured, Task
from vicinal.evaluation.resampling import Difference, Interval
from vicinal.store.files import LOCK, atomic, locked, write_json

# ---- no training on what is measured ------------------------------------------------------------------------------


def standard(text: str) -> str:
    """A text as two are compared: case and white space do not count."""
    return " ".join(text.casefold().split())


def leaks(rows: Iterable[Iterable[str]], held_out: Iterable[str]) -> list[int]:
    """Rows of training data of which a text stands among the held-out ones.

    >>> leaks([["red apple", "tax"], ["Night  train", "law"]], ["night train"])
    [1]
    """
    known = {standard(text) for text in held_out}
    return [i for i, row in enumerate(rows) if any(standard(text) in known for text in row)]


def refuse_leaks(training: Mapping[str, Iterable[Iterable[str]]], tasks: Sequence[Task]) -> None:
    """See to it that no training row has a text of what the model will be measured on.

    Args:
        training: rows of texts, by the name of their data set.
        tasks: of a retrieval set its queries count, since its documents are there to be searched; else all texts.

    Raises:
        InvalidData: one has; which, how many, and where.
    """
    known = {standard(text): task.name for task in reversed(tasks) for text in task.texts}
    for name, rows in training.items():
        found: list[tuple[int, str]] = []
        for i, row in enumerate(rows):
            found += [(i, text) for text in row if standard(text) in known][:1]
        if found:
            row_number, text = found[0]
            raise InvalidData(
                f"training data {name!r}, row {row_number}: {_short(text)!r} stands in what the model is measured on, "
                f"{known[standard(text)]!r} ({len(found):,} such rows): the numbers would say nothing. Remove these "
                "rows, or measure on other data"
            )


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


# ---- before and after ---------------------------------------------------------------------------------------------


class Compared(NamedTuple):
    """One task's primary metric of two models, and their difference, each with its 95 % interval."""

    task: str
    metric: str
    before: Interval
    after: Interval
    difference: Difference


def measured(model: Any, tasks: Sequence[Task]) -> list[Measured]:
    """A model on each task."""
    return [task.measure(model) for task in tasks]


def compared(tasks: Sequence[Task], before: Sequence[Measured], after: Sequence[Measured]) -> list[Compared]:
    """Each task's primary metric before and after; the difference is paired, over the same queries or pairs."""
    rows = []
    for task, first, second in zip(tasks, before, after, strict=True):
        metric = task.primary
        difference = second.minus(first)[metric]
        rows.append(Compared(task.name, metric, first.metrics[metric], second.metrics[metric], difference))
    return rows


def table(rows: Sequence[Compared]) -> str:
    """The comparison as a Markdown table, which can also be read as it is."""
    cells = [["task", "metric", "before", "after", "difference", "p"]]
    for row in rows:
        cells.append([row.task, row.metric, _interval(row.before), _interval(row.after),
                      f"{row.difference.value:+.4f} [{row.difference.low:+.4f}, {row.difference.high:+.4f}]",
                      f"{row.difference.p:.4f}"])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def _interval(interval: Interval) -> str:
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def write_comparison(path: Path, rows: Sequence[Compared]) -> None:
    """The comparison as a csv file, which appears when it is complete."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = [f"{name}{end}" for name in ("before", "after", "difference") for end in ("", "_low", "_high")]
    writer.writerow(["task", "metric", *parts, "p"])
    for row in rows:
        writer.writerow([row.task, row.metric, *row.before, *row.after, *row.difference])
    with atomic(path) as file:
        file.write(text.getvalue().encode())


# ---- the log ------------------------------------------------------------------------------------------------------


class RunLog(TrainerCallback):
    """What a `transformers.Trainer` logs, as lines for people and as a csv file: step, epoch, seconds, name, value.

    A resumed run goes on in the file; rows behind the step that it resumes from are taken out first.

    Args:
        path: of the csv file.
        say: shows a line; None shows none.
    """

    HEAD = ("step", "epoch", "seconds", "name", "value")
    _UNTOLD = frozenset(("epoch", "total_flos", "train_loss", "train_runtime"))

    def __init__(self, path: Path, say: Any = None) -> None:
        self.path, self.say = path, say or (lambda line: None)
        self._since = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin the file, or take out what a killed run wrote behind its last checkpoint."""
        kept: list[list[str]] = []
        if state.global_step and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.reader(file) if len(row) == len(self.HEAD)][1:]
            kept = [row for row in rows if int(row[0]) <= state.global_step]
        self._since = time.monotonic() - (float(kept[-1][2]) if kept else 0.0)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.HEAD, *kept])
        with atomic(self.path) as file:
            file.write(text.getvalue().encode())

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Write and show the numbers of a step."""
        numbers = {
            name: float(value)
            for name, value in (logs or {}).items()
            if isinstance(value, (int, float))
            and name not in self._UNTOLD
            and not name.endswith(("_per_second", "_runtime"))
        }
        if not numbers:
            return
        seconds = time.monotonic() - self._since
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            for name, value in numbers.items():
                writer.writerow([state.global_step, f"{state.epoch or 0:.4f}", f"{seconds:.1f}", name, value])
        shown = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        self.say(f"step {state.global_step}/{state.max_steps}, {seconds:.0f} s: {shown}")


def reports() -> list[str]:
    """The loggers of `transformers` that a run has beside ours: TensorBoard, where it is installed."""
    return ["tensorboard"] if importlib.util.find_spec("tensorboard") else []


# ---- a run that can be resumed ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A run's own folder, `training` in the folder of the model that it makes.

    Attributes:
        folder: with run.json (settings, and whether it is done), log.csv, comparison.csv and checkpoints.
        checkpoint: the last whole one that a killed run left; None where the run begins.
    """

    folder: Path
    checkpoint: Path | None = None

    @classmethod
    def of(cls, output: Path) -> Run:
        """The run that makes the model in a folder."""
        return cls(output / "training")

    @property
    def log(self) -> Path:
        """Where `RunLog` writes."""
        return self.folder / "log.csv"

    @property
    def checkpoints(self) -> Path:
        """Where a trainer writes: its `output_dir`."""
        return self.folder / "checkpoints"

    def done(self) -> None:
        """Take down that nothing is left to do, and remove the checkpoints."""
        path = self.folder / "run.json"
        write_json(path, {**json.loads(path.read_text("utf-8")), "done": True})
        shutil.rmtree(self.checkpoints, ignore_errors=True)


@contextmanager
def running(output: Path, settings: Mapping[str, Any]) -> Iterator[Run]:
    """Be the only run that writes into a folder, and go on where a killed one with the same settings stopped.

    Args:
        output: the folder of the model to be made.
        settings: as JSON has them: whatever makes it another run.

    Raises:
        InvalidData: the folder holds a finished run, one with other settings, or something else. FolderBusy: another
            process runs there.
    """
    folder = Run.of(output).folder
    state = folder / "run.json"
    if output.exists() and not output.is_dir():
        raise InvalidData(f"{output} is a file: name a folder for the model")
    if not state.exists() and not _fresh(output, folder):
        raise InvalidData(f"{output} holds something else: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        settings = json.loads(json.dumps(settings))
        if state.exists():
            known = json.loads(state.read_text("utf-8"))
            if known.get("done"):
                raise InvalidData(f"{output} holds a finished run: name another folder, or remove this one")
            if other := _differing(known["settings"], settings):
                raise InvalidData(
                    f"{output} holds an unfinished run with other settings ({', '.join(other)}): give the same, to go "
                    "on with it; or name another folder, or remove this one"
                )
        else:
            write_json(state, {"settings": settings, "done": False})
        yield Run(folder, last_checkpoint(Run(folder).checkpoints))


def _fresh(output: Path, folder: Path) -> bool:
    """Whether a folder is free for a run: not there, empty, or left by one that was killed before it wrote anything."""
    there = [path for at in (output, folder) if at.is_dir() for path in at.iterdir()]
    return set(there) <= {folder, folder / LOCK}


def _differing(known: Any, asked: Any, at: str = "") -> list[str]:
    """Names of the settings that are not the same."""
    if isinstance(known, dict) and isinstance(asked, dict):
        names = [*known, *(name for name in asked if name not in known)]
        return [x for n in names for x in _differing(known.get(n), asked.get(n), f"{at}.{n}" if at else str(n))]
    if isinstance(known, list) and isinstance(asked, list) and len(known) == len(asked):
        return [x for i, (a, b) in enumerate(zip(known, asked, strict=True)) for x in _differing(a, b, f"{at}[{i}]")]
    return [] if known == asked else [at]


def last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint of a `transformers.Trainer` that is whole: its state, which is written last, can be read.

    What a kill left half-written is removed.
    """
    found: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        if step := re.fullmatch(r"checkpoint-(\d+)", path.name):
            found.append((int(step[1]), path))
    for _, path in sorted(found, reverse=True):
        if _whole(path):
            return path
        shutil.rmtree(path)
    return None


def _whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return True
