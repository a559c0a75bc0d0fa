"""The frame of a recipe: train from where a killed run stopped, save, measure before and after."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback

from vicinal.errors import InvalidData
from vicinal.evaluation.measuring import Task
from vicinal.recipes import base
from vicinal.recipes.base import Compared, Run

logger = logging.getLogger("vicinal")
Say = Callable[[str], object]
"""Shows a line to whoever waits."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a model is trained.

    Attributes:
        epochs: passes over the data.
        steps: batches, in place of epochs, where it is positive.
        batch_size: rows of a batch, at most.
        learning_rate: at its highest, after `warmup` (a share of all steps); it falls to 0 in a line.
        seed: of order, dropout and every other choice.
        bf16: compute in bfloat16 where that is safe; quicker on processors that have it, slower on others.
        save_every: batches between two checkpoints: what a kill can cost.
        threads: of torch; None leaves it as it is.
    """

    epochs: float = 1.0
    steps: int = 0
    batch_size: int = 32
    learning_rate: float = 2e-5
    warmup: float = 0.1
    seed: int = 0
    bf16: bool = False
    save_every: int = 500
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)!r}")
        for name, least in (("batch_size", 1), ("save_every", 1), ("steps", 0), ("seed", 0), ("threads", 1)):
            value = getattr(self, name)
            if (value is not None or name != "threads") and (type(value) is not int or not least <= value < 1 << 32):
                raise ValueError(f"{name} must be an integer of {least} or more, not {value!r}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a share of all steps, from 0 to below 1, not {self.warmup!r}")


@dataclass(frozen=True)
class Outcome:
    """What a recipe made.

    Attributes:
        folder: of the model.
        rows: each task before and after; empty where nothing was measured.
    """

    folder: Path
    rows: list[Compared]

    def __str__(self) -> str:
        return base.table(self.rows) if self.rows else f"{self.folder}: nothing was measured"


def recipe(
    output: Path,
    settings: Mapping[str, Any],
    training: Mapping[str, Iterable[Iterable[str]]],
    tasks: Sequence[Task],
    before: Callable[[Run], Any],
    make: Callable[[Run], Any],
    say: Say = logger.info,
) -> Outcome:
    """Run a recipe from its beginning, or from where a killed run with the same settings stopped.

    Args:
        output: the folder of the model to be made.
        settings: whatever makes it another run, as JSON has it.
        training: rows of texts by data set, none of which may be measured on.
        tasks: measured before and after.
        before: gives the model that the made one is compared with; it may have to be trained, in the run's folder.
        make: makes the model, going on with what is in the run's folder.
        say: is told how it goes.

    Raises:
        InvalidData: a training text is measured on; or the folder cannot be used, see `base.running`.
    """
    base.refuse_leaks(training, tasks)
    with base.running(output, settings) as run:
        model = make(run)
        model.save(output)
        rows = []
        if tasks:
            say(f"measuring on {', '.join(task.name for task in tasks)}, before and after")
            rows = base.compared(tasks, base.measured(before(run), tasks), base.measured(model, tasks))
        base.write_comparison(run.folder / "comparison.csv", rows)
        run.done()
    outcome = Outcome(output, rows)
    say(str(outcome))
    return outcome


def train(
    trainer_class: Any, model: Any, data: Any, loss: Any, schedule: Schedule, run: Run, say: Say = logger.info,
    part: str = "", **options: Any,
) -> None:  # fmt: skip
    """Train a model, from the last checkpoint of a killed run where there is one.

    Args:
        trainer_class: `SentenceTransformerTrainer` or `CrossEncoderTrainer`.
        data: what the trainer takes as train_dataset.
        loss: what the trainer takes.
        part: of a recipe that trains several models, a name for this one.
        options: more training arguments, such as `batch_sampler`.
    """
    if schedule.threads is not None:
        torch.set_num_threads(schedule.threads)
    at = run.checkpoints / part if part else run.checkpoints
    args = trainer_class.arguments_class(
        output_dir=str(at),
        num_train_epochs=schedule.epochs,
        max_steps=schedule.steps or -1,
        per_device_train_batch_size=schedule.batch_size,
        learning_rate=schedule.learning_rate,
        warmup_ratio=schedule.warmup,
        seed=schedule.seed,
        bf16=schedule.bf16,
        use_cpu=schedule.bf16 and not torch.cuda.is_available(),  # where bfloat16 has to be asked for
        save_steps=schedule.save_every,
        save_total_limit=2,
        logging_steps=max(1, min(50, schedule.save_every)),
        report_to=base.reports(),
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        **options,
    )
    trainer = trainer_class(model=model, args=args, train_dataset=data, loss=loss)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(base.RunLog(run.folder / f"log{f'-{part}' if part else ''}.csv", say))
    checkpoint = base.last_checkpoint(at)
    if checkpoint is not None:
        say(f"going on from {checkpoint.name}")
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


def planned(schedule: Schedule) -> dict[str, Any]:
    """What of a schedule makes another model."""
    plan = asdict(schedule)
    for name in ("threads", "save_every"):
        del plan[name]
    return plan


def said(schedule: Schedule, model: Any, texts: Iterable[str], **more: Any) -> dict[str, Any]:
    """The settings of a run: how it is trained, from which model, on which texts, and what else makes it another."""
    return {"schedule": planned(schedule), "model": model.fingerprint, "texts": digest(texts), **more}


def digest(texts: Iterable[str]) -> str:
    """What two runs over the same texts in the same order have in common."""
    found = hashlib.sha256()
    for text in texts:
        found.update(len(text).to_bytes(8, "little"))
        found.update(text.encode("utf-8", "surrogatepass"))
    return found.hexdigest()[:16]


def enough(texts: Sequence[str], least: int, what: str) -> None:
    """Raise InvalidData where there are too few texts to do anything with."""
    if len(texts) < least:
        raise InvalidData(f"{what} needs at least {least} texts, but got {len(texts)}")
