"""SIGKILL at random points of `encode_to`: the next run ends with the bytes of one that was never killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.long import KILLS
from tests.store.vectors import killed
from tests.store.vectors.conftest import ROOT, contents, corpus
from vicinal import SentenceTransformer
from vicinal.store.vectors.reading import load_vectors

ROWS, SHARD = 700, 60


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_killed_at_random_points(tmp_path: Path, format: str) -> None:
    folder = tiny.write_static(tmp_path / "model")
    model, texts = SentenceTransformer(folder), corpus(ROWS)
    model.encode_to(tmp_path / "whole", texts, shard_rows=SHARD, format=format)  # type: ignore[arg-type]
    whole = contents(tmp_path / "whole")
    call = (folder, tmp_path / "parts", ROWS, SHARD, format, 7, KILLS // 2)
    done = subprocess.run(
        [sys.executable, "-m", killed.__name__, *map(str, call)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    runs = [line.split(" ") for line in done.stdout.splitlines()]
    assert sum(how == "killed" for how, _ in runs) == KILLS // 2
    assert runs[-1][0] == "ended"
    reached = 0  # the shard that the last run was at, in this folder
    for how, starts in runs:
        if starts:
            computed = list(map(int, starts.split(",")))
            assert computed == list(range(computed[0], computed[-1] + 1, SHARD))
            # At most the one that the last run was at is computed twice: it may have been finished, and not yet noted.
            assert computed[0] in (reached, reached + SHARD)
            reached = computed[-1]
        if how == "ended":
            reached = 0
    folders = sorted(tmp_path.glob("parts*"))
    assert len(folders) == sum(how == "ended" for how, _ in runs)
    for parts in folders:
        found = contents(parts)
        assert found == whole
        np.testing.assert_array_equal(np.asarray(load_vectors(parts, model)), model.encode(texts))
