"""Tests of vicinal.store.vectors.formats."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.store.vectors import formats


@settings(deadline=None)
@given(st.integers(0, 2**63), st.integers(1, 2**31))
def test_npy_header_is_what_numpy_reads(rows: int, dims: int) -> None:
    raw = formats.npy_header(rows, dims)
    assert len(raw) == 128
    file = io.BytesIO(raw)
    assert np.lib.format.read_magic(file) == (1, 0)
    assert np.lib.format.read_array_header_1_0(file) == ((rows, dims), False, np.dtype("<f4"))
    assert file.tell() == 128


@pytest.mark.parametrize("format", formats.FORMATS)
def test_what_is_written_is_read(tmp_path: Path, format: formats.Format) -> None:
    vectors = np.random.default_rng(3).normal(size=(7, 5)).astype(np.float32)
    texts = [f"text {i} é" for i in range(7)]
    path = tmp_path / f"a.{format}"
    with path.open("wb") as file:
        formats.write_shard(file, format, texts, vectors, {"a": "b"})
    found = formats.read_shard(path, format)
    np.testing.assert_array_equal(found, vectors, strict=True)
    assert not found.flags.writeable
    assert isinstance(found, np.memmap) == (format == "npy")
    if format == "parquet":
        assert formats.read_texts(path) == texts


def test_vectors_that_are_views_are_written_as_they_read(tmp_path: Path) -> None:
    wide = np.random.default_rng(3).normal(size=(7, 10)).astype(np.float32)
    for i, vectors in enumerate((wide[:, ::2], np.asfortranarray(wide), wide.astype(">f4"))):
        with (tmp_path / f"{i}.npy").open("wb") as file:
            formats.write_shard(file, "npy", [], vectors, {})
        np.testing.assert_array_equal(formats.read_shard(tmp_path / f"{i}.npy", "npy"), vectors)
