from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.store.cache.rows import halved, pack, unpack

RNG = np.random.default_rng(5)
KEYS = [bytes([i]) * 16 for i in range(7)]
VECTORS = RNG.standard_normal((7, 13)).astype(np.float32)
TOKENS = np.arange(3, 10)


def test_what_is_packed_is_found() -> None:
    rows = pack(KEYS, VECTORS, TOKENS, 3.5, "float32")
    found = unpack(KEYS, rows, 13, "float32")
    np.testing.assert_array_equal(found.vectors, VECTORS)
    np.testing.assert_array_equal(found.tokens, TOKENS)
    np.testing.assert_array_equal(found.rows, range(7))
    assert found.seconds == pytest.approx(3.5)
    assert found.damaged == 0
    found.vectors[:] = 0  # the caller's own


def test_what_is_missing_is_left_out() -> None:
    rows = pack(KEYS, VECTORS, TOKENS, 7.0, "float32")
    found = unpack(KEYS, [None, rows[1], None, None, rows[4], None, None], 13, "float32")
    assert found.rows.tolist() == [1, 4]
    np.testing.assert_array_equal(found.vectors, VECTORS[[1, 4]])
    assert found.tokens.tolist() == [4, 7]
    assert found.seconds == pytest.approx(2.0)
    nothing = unpack(KEYS, [None] * 7, 13, "float32")
    assert nothing.vectors.shape == (0, 13)
    assert unpack([], [], 13, "float32").rows.tolist() == []


def test_a_row_ends_with_the_checksum_of_its_key_and_itself() -> None:
    (row,) = pack(KEYS[:1], VECTORS[:1], TOKENS[:1], 0.0, "float32")
    assert int.from_bytes(row[-4:], "little") == zlib.crc32(KEYS[0] + row[:-4])
    assert len(row) == 12 + 13 * 4 + 4


@given(st.data())
def test_every_damage_is_found(data: st.DataObject) -> None:
    rows = pack(KEYS, VECTORS, TOKENS, 1.0, data.draw(st.sampled_from(["float32", "float16"])))
    i = data.draw(st.integers(0, 6))
    kind = data.draw(st.sampled_from(["flip", "cut", "swap", "longer"]))
    row = bytearray(rows[i])
    if kind == "flip":
        row[data.draw(st.integers(0, len(row) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del row[data.draw(st.integers(0, len(row) - 1)) :]
    elif kind == "longer":
        row += data.draw(st.binary(min_size=1, max_size=9))
    else:
        row[:] = rows[(i + 1) % 7]
    found = unpack(KEYS, [*rows[:i], bytes(row), *rows[i + 1 :]], 13, "float16")
    assert found.damaged == 1
    assert found.rows.tolist() == [n for n in range(7) if n != i]


def test_halves_are_rounded_once() -> None:
    rows = pack(KEYS, halved(VECTORS), TOKENS, 1.0, "float16")
    assert {len(row) for row in rows} == {12 + 13 * 2 + 4}
    found = unpack(KEYS, rows, 13, "float16").vectors
    np.testing.assert_array_equal(found, halved(VECTORS))
    np.testing.assert_array_equal(found, VECTORS.astype(np.float16))


@pytest.mark.parametrize("scale", [0.0, 1e-5, 1e6, 3e38])
def test_what_float16_cannot_hold_stays_float32(scale: float) -> None:
    vectors = VECTORS.copy()
    vectors[2] = np.clip(VECTORS[2], -1, 1) * scale
    np.testing.assert_array_equal(halved(vectors)[2], vectors[2])
    rows = pack(KEYS, halved(vectors), TOKENS, 1.0, "float16")
    assert [len(row) for row in rows] == [12 + 13 * (4 if i == 2 else 2) + 4 for i in range(7)]
    np.testing.assert_array_equal(unpack(KEYS, rows, 13, "float16").vectors, halved(vectors))


def test_rounding_is_small_wherever_it_is_done() -> None:
    vectors = (VECTORS * np.geomspace(1e-3, 1e4, 7)[:, None]).astype(np.float32)
    error = np.abs(halved(vectors) - vectors)
    assert (error <= np.maximum(2.0**-11 * np.abs(vectors), 2.0**-16 * np.abs(vectors).max(axis=1)[:, None])).all()


def test_a_float32_cache_does_not_take_halves_for_its_own() -> None:
    halves = pack(KEYS, halved(VECTORS), TOKENS, 1.0, "float16")
    found = unpack(KEYS, halves, 13, "float32")
    assert (len(found.rows), found.damaged) == (0, 0)
    wide = pack(KEYS, VECTORS, TOKENS, 1.0, "float32")
    np.testing.assert_array_equal(unpack(KEYS, wide, 13, "float16").vectors, halved(VECTORS))


def test_arrays_will_do() -> None:
    wrong = [np.ones(12, np.float32), np.full(13, np.nan), np.ones(13, np.int64), "text"]
    found = unpack(KEYS, [VECTORS[0], VECTORS[1].astype(np.float64), None, *wrong], 13, "float32")
    assert found.rows.tolist() == [0, 1]
    np.testing.assert_array_equal(found.vectors, VECTORS[:2])
    assert found.tokens.tolist() == [0, 0]
    assert found.damaged == 4
