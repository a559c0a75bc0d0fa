"""A recipe that was killed goes on, does nothing twice, and makes the model that it would have made."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.recipes.models import texts

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
ROOT = Path(__file__).parent.parent.parent
NAMES = ("layers", "static", "scores", "augment", "queries", "alone")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With models, and of each recipe what it had written when it was killed."""
    from tests.recipes.killed import prepare

    folder = tmp_path_factory.mktemp("killed")
    prepare(folder)
    command = [sys.executable, "-W", "ignore", "-m", "tests.recipes.killed", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.split() == [word for name in NAMES for word in (name, "9")], done.stderr
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_recipe_ends_as_if_it_had_not_been(folder: Path, name: str) -> None:
    from tests.recipes.killed import RECIPES
    from vicinal import SentenceTransformer

    recipe, word = RECIPES[name]
    again: list[str] = []
    recipe(folder, folder / name, again.append)
    twice = ("mining", "training a cross-encoder", "judge: scores of")  # what had been done before
    assert not [line for line in again if name != "augment" and line.startswith(twice)]
    if name not in ("static", "augment"):
        assert f"going on from checkpoint-{int(word[5:-1]) - 2}" in again
    whole: list[str] = []
    recipe(folder, folder / f"{name}-whole", whole.append)
    one, other = (
        SentenceTransformer(folder / n, dtype="float32").encode(texts(20, 5)) for n in (name, f"{name}-whole")
    )
    np.testing.assert_allclose(one, other, atol=1e-5)
    for log in (folder / name / "training").glob("log*.csv"):
        with log.open(newline="") as file:
            steps = [int(row["step"]) for row in csv.DictReader(file) if row["name"] == "loss"]
        assert steps == sorted(set(steps))
        assert steps[0] <= 4
