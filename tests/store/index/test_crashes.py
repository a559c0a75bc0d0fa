"""Processes that are killed while they write, and readers beside a writer; the long form is of `tests.long`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.long import KILLS, LONG, SECONDS
from tests.store.index import worker
from tests.store.vectors.conftest import ROOT, corpus
from vicinal import Index, SentenceTransformer
from vicinal.store.index import derived

Create = Callable[..., Index]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def done(*arguments: object) -> dict[str, int]:
    """What the worker says that it did."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.store.index.worker", *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    counts: dict[str, int] = json.loads(result.stdout)
    if LONG:
        sys.stdout.write(f"{arguments[0]}: {counts}\n")
    return counts


@pytest.mark.parametrize(("search", "share"), [("exact", 0.4), ("hnsw", 0.3)])
def test_a_kill_at_any_instant_loses_nothing_that_was_committed(create: Create, search: str, share: float) -> None:
    index = create(search=search)
    kills = round(KILLS * share)
    assert sum(done("write", index.path, kills, len(search)).values()) == kills
    index.optimize()
    assert index.verify() == []
    left = [path.name for path in (index.path / "derived").iterdir() if path.is_dir()]
    assert len(left) <= 1, "what killed builders left is cleaned away"


def test_a_builder_killed_before_it_cleaned_is_cleaned_after(create: Create) -> None:
    index = create(search="hnsw")
    index.add(corpus(60))
    index.optimize()
    (made,) = derived.folders(index.path)
    shutil.copytree(made, made.with_name("0"))  # the generation before, of which the next was published
    index.optimize()
    assert derived.folders(index.path) == [made]
    index.close()


def test_a_kill_while_another_model_embeds_leaves_one_index_whole(
    create: Create, model: SentenceTransformer, tmp_path: Path
) -> None:
    other = tiny.write_static(tmp_path / "other", width=7, seed=1)
    index = create()
    index.add(corpus(60))
    index.close()
    kills = round(KILLS * 0.3)
    during = done("rebuild", index.path, kills, 3, model.name, other)
    assert sum(during.values()) == kills
    assert during["begin"] > 0, "some were killed while they embedded"


def test_readers_beside_a_writer_see_whole_writes(create: Create) -> None:
    index: Any = create()
    index.add(worker.texts(0), worker.ids(0), [{"turn": 0}] * worker.GROUP, vectors=worker.vectors(0))
    index.close()
    counts = done("read", index.path, SECONDS, worker.READERS)
    assert counts["processes"] == worker.READERS + 1
    assert counts["searches"] >= worker.READERS
    with Index.open(index.path) as again:
        assert again.verify() == []
