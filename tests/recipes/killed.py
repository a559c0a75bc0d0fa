"""Recipes that are killed in the middle: as a program, `python -m tests.recipes.killed FOLDER` kills each once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests import tiny
from tests.cross_encoder.conftest import write_classifier
from tests.recipes.models import QUICK, deep_teacher, passages, texts
from vicinal import CrossEncoder, SentenceTransformer
from vicinal.recipes import static
from vicinal.recipes.augment import Scored, augment
from vicinal.recipes.distil import distil
from vicinal.recipes.queries import adapt_without_labels
from vicinal.recipes.scores import distil_scores
from vicinal.recipes.unsupervised import adapt

Say = Callable[[str], object]


def prepare(folder: Path) -> None:
    """The models that are trained, and the judge."""
    deep_teacher(folder / "deep")
    tiny.write_bert(folder / "student")
    write_classifier(folder / "judge")


def _student(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(folder / "student", dtype="float32", threads=1)


def _judge(folder: Path) -> CrossEncoder:
    return CrossEncoder(folder / "judge", dtype="float32", threads=1)


def _layers(folder: Path, out: Path, say: Say) -> None:
    teacher = SentenceTransformer(folder / "deep", dtype="float32", threads=1)
    distil(teacher, texts(70), out, layers=2, batch_tokens=60, schedule=replace(QUICK, epochs=3), say=say)


def _static(folder: Path, out: Path, say: Say) -> None:
    static._KEEP = 4
    static.distil_static(_student(folder), texts(300), out, dims=7, first_steps=6, steps=6, say=say)


def _scores(folder: Path, out: Path, say: Say) -> None:
    pairs = list(zip(texts(60, 1), texts(60, 2), strict=True))
    distil_scores(_judge(folder), _student(folder), pairs, out, negatives=1, schedule=QUICK, say=say)


def _augment(folder: Path, out: Path, say: Say) -> None:
    gold = [Scored(a, b, i / 60) for i, (a, b) in enumerate(zip(texts(60, 3), texts(60, 4), strict=True))]
    augment(_student(folder), out, gold=gold, silver=20, schedule=QUICK, teacher_schedule=QUICK, say=say)


def _queries(folder: Path, out: Path, say: Say) -> None:
    adapt_without_labels(_student(folder), passages(), _judge(folder), out, schedule=QUICK, say=say)


def _alone(folder: Path, out: Path, say: Say) -> None:
    adapt(_student(folder), texts(60, 8), out, method="tsdae", schedule=replace(QUICK, epochs=3), say=say)


RECIPES: dict[str, tuple[Callable[[Path, Path, Say], None], str]] = {
    "layers": (_layers, "step 28/"),
    "static": (_static, "after the first stage"),
    "scores": (_scores, "step 6/"),
    "augment": (_augment, "labelling"),
    "queries": (_queries, "step 6/"),
    "alone": (_alone, "step 20/"),
}
"""Each recipe, and the beginning of the line at which it is killed."""


def main() -> None:
    """Kill each recipe in a child of its own, so that all of them share what is imported."""
    folder = Path(sys.argv[1])
    for name, (recipe, word) in RECIPES.items():
        child = os.fork()
        if child == 0:

            def say(line: str, word: str = word) -> None:
                if line.startswith(word):
                    os.kill(os.getpid(), signal.SIGKILL)

            recipe(folder, folder / name, say)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{name} {os.WTERMSIG(status)}\n")


if __name__ == "__main__":
    main()
