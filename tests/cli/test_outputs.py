"""Tests of vicinal.cli.outputs: what other programs read from the files, and that a file is whole or not there."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vicinal.cli import outputs
from vicinal.store.files import atomic

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
MATRICES = hnp.arrays(np.float32, st.tuples(st.integers(0, 9), st.integers(1, 5)), elements=FINITE)


@settings(deadline=None)
@given(MATRICES, st.integers(1, 4))
def test_npy_in_portions(vectors: np.ndarray, step: int) -> None:
    file = io.BytesIO()
    writer = outputs.Npy(file, vectors.shape[1], {})
    for start in range(0, len(vectors), step):
        writer.add([], vectors[start : start + step])
    writer.finish()
    file.seek(0)
    np.testing.assert_array_equal(np.load(file), vectors, strict=True)


@settings(deadline=None)
@given(MATRICES, st.text(st.characters(exclude_categories=("Cs",))))
def test_jsonl_gives_every_float_back(vectors: np.ndarray, text: str) -> None:
    file = io.BytesIO()
    writer = outputs.Jsonl(file, vectors.shape[1], {})
    writer.add([text] * len(vectors), vectors)
    writer.finish()
    found = [json.loads(line) for line in file.getvalue().decode().splitlines()]
    assert [item["text"] for item in found] == [text] * len(vectors)
    back = np.array([item["embedding"] for item in found], np.float32).reshape(vectors.shape)
    np.testing.assert_array_equal(back, vectors)


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the parquet extra")
    vectors = np.random.default_rng(3).normal(size=(7, 5)).astype(np.float32)
    texts = [f"text {i} é" for i in range(7)]
    with atomic(tmp_path / "a.parquet") as file:
        writer = outputs.Parquet(file, 5, {"vicinal.model": '"m"'})
        writer.add(texts[:3], vectors[:3])
        writer.add(texts[3:], vectors[3:])
        writer.finish()
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.column("text").to_pylist() == texts
    np.testing.assert_array_equal(np.array(table.column("embedding").to_pylist(), np.float32), vectors)
    assert table.schema.metadata[b"vicinal.model"] == b'"m"'


@pytest.mark.parametrize("suffix", [".npy", ".JSONL", ".parquet"])
def test_writer_by_suffix(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="the parquet extra")
    assert outputs.writer_for(tmp_path / f"a{suffix}", []).__name__.lower() == suffix[1:].lower()


@pytest.mark.parametrize("name", ["a.txt", "a", "a.npy.gz", ".npy"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"must end in one of \.npy, \.jsonl, \.parquet"):
        outputs.writer_for(tmp_path / name, [])


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.npy").mkdir()
    (tmp_path / "in.jsonl").touch()
    with pytest.raises(IsADirectoryError):
        outputs.writer_for(tmp_path / "a.npy", [])
    with pytest.raises(FileNotFoundError, match="there is no such folder to write into"):
        outputs.writer_for(tmp_path / "none" / "a.npy", [])
    with pytest.raises(typer.BadParameter, match=r"in\.jsonl is also an input, and would be replaced"):
        outputs.writer_for(tmp_path / "in.jsonl", ["-", str(tmp_path / "." / "in.jsonl")])


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"before")

    def fail() -> None:
        with atomic(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="links and modes of POSIX")
def test_links_and_modes_are_kept(tmp_path: Path) -> None:
    (tmp_path / "real.npy").write_bytes(b"before")
    (tmp_path / "real.npy").chmod(0o600)
    (tmp_path / "link.npy").symlink_to("real.npy")
    with atomic(tmp_path / "link.npy") as file:
        file.write(b"after")
    assert (tmp_path / "link.npy").is_symlink()
    assert (tmp_path / "real.npy").read_bytes() == b"after"
    assert (tmp_path / "real.npy").stat().st_mode & 0o777 == 0o600
