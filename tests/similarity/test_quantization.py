from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.similarity.brute import untimed
from vicinal.errors import DimensionMismatch, NonFiniteEmbedding, VicinalWarning
from vicinal.util import quantize_embeddings

KINDS = ["float16", "float32", "float64"]
FORMS: dict[str, Any] = {"array": lambda x: x, "list of arrays": list, "fortran": np.asfortranarray}


def same(found: Any, expected: np.ndarray) -> None:
    assert isinstance(found, np.ndarray)
    assert found.dtype == expected.dtype
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["own", "calibrated", "ranges"])
@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_bytes_are_the_peers(precision: Any, way: str, kind: str, form: str, peer: dict[str, np.ndarray]) -> None:
    sample = peer["calibration"].astype(kind)
    settings = {
        "own": {},
        "calibrated": {"calibration_embeddings": FORMS[form](sample)},
        "ranges": {"ranges": FORMS[form](np.stack([sample.min(axis=0), sample.max(axis=0)]))},
    }[way]
    found = quantize_embeddings(FORMS[form](peer["unquantized"].astype(kind)), precision, **settings)
    same(found, peer[f"quantized_{kind}_{precision}_{way}"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_bits_are_the_peers(precision: Any, kind: str, peer: dict[str, np.ndarray]) -> None:
    expected = peer[f"quantized_{kind}_{precision}_own"]
    embeddings = peer["unquantized"].astype(kind)
    same(quantize_embeddings(embeddings, precision), expected)
    same(quantize_embeddings(embeddings.tolist(), precision), expected)
    same(quantize_embeddings(embeddings[5], precision), expected[5])


def test_lists_of_numbers_are_float64(peer: dict[str, np.ndarray]) -> None:
    found = quantize_embeddings(peer["unquantized"].tolist(), "int8")
    same(found, peer["quantized_float64_int8_own"])


def test_one_vector_with_ranges(peer: dict[str, np.ndarray]) -> None:
    found = quantize_embeddings(
        peer["unquantized"][7].astype(np.float32),
        "uint8",
        calibration_embeddings=peer["calibration"].astype(np.float32),
    )
    same(found, peer["quantized_float32_uint8_calibrated"][7])


def test_float32() -> None:
    embeddings = np.array([[1.5, np.nan]])
    found = quantize_embeddings(embeddings, "float32")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, embeddings)


def test_by_hand() -> None:
    ranges = [[0.0, -51.0], [255.0, 0.0]]  # steps of 1 and of 0.2
    assert quantize_embeddings([[0.0, -51.0], [254.5, 9.0], [7.9, -25.5]], "uint8", ranges).tolist() == [
        [0, 0],
        [254, 255],
        [7, 127],
    ]
    assert quantize_embeddings([[1.0, -1.0, 0.0, 2.0, -3.0, 1.0, 1.0, 0.5, 9.0]], "ubinary").tolist() == [
        [0b10010111, 128]
    ]
    assert quantize_embeddings([[1.0, -1.0, 0.0, 2.0, -3.0, 1.0, 1.0, 0.5, 9.0]], "binary").tolist() == [[23, 0]]


@untimed
@given(
    embeddings=arrays(np.float32, (4, 3), elements=st.floats(-(2.0**120), 2.0**120, width=32)),
    ranges=arrays(np.float32, (2, 3), elements=st.floats(-(2.0**100), 2.0**100, width=32)).map(
        lambda x: np.sort(x, axis=0)
    ),
)
def test_outside_the_ranges_is_clipped(embeddings: np.ndarray, ranges: np.ndarray) -> None:
    found = quantize_embeddings(embeddings, "uint8", ranges)
    assert (found[np.broadcast_to(embeddings <= ranges[0], found.shape)] == 0).all()
    spread = ranges[1] - ranges[0] > 1e-30
    above = (embeddings > ranges[0] + 1.001 * (ranges[1] - ranges[0])) & spread
    assert (found[above] == 255).all()
    order = np.argsort(embeddings, axis=0)
    assert (np.diff(np.take_along_axis(found.astype(int), order, 0), axis=0) >= 0).all(), "order is kept"
    np.testing.assert_array_equal(quantize_embeddings(embeddings, "int8", ranges), found.astype(int) - 128)


@untimed
@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 20)), elements=st.floats(-1, 1, width=32)))
def test_bits_are_signs(embeddings: np.ndarray) -> None:
    bits = np.unpackbits(quantize_embeddings(embeddings, "ubinary"), axis=1)[:, : embeddings.shape[1]]
    np.testing.assert_array_equal(bits, embeddings > 0)
    signed = quantize_embeddings(embeddings, "binary")
    np.testing.assert_array_equal(signed.astype(int) + 128, quantize_embeddings(embeddings, "ubinary"))


@pytest.mark.parametrize("value", [-3.0, 0.0, 0.1])
def test_constant_dimension(value: float) -> None:
    embeddings = np.random.default_rng(1).standard_normal((100, 2)).astype(np.float32)
    embeddings[:, 1] = value
    assert (quantize_embeddings(embeddings, "uint8")[:, 1] == 0).all()
    assert (quantize_embeddings(embeddings, "int8")[:, 1] == -128).all()


def test_matrices_share_their_ranges() -> None:
    embeddings = np.random.default_rng(2).standard_normal((120, 5)).astype(np.float32)
    whole = quantize_embeddings(embeddings, "int8")
    parts = quantize_embeddings([embeddings[:50], embeddings[50:50], embeddings[50:51], embeddings[51:]], "int8")
    assert [part.shape for part in parts] == [(50, 5), (0, 5), (1, 5), (69, 5)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    bits = quantize_embeddings([embeddings[:50], embeddings[50:]], "binary")
    np.testing.assert_array_equal(np.concatenate(bits), quantize_embeddings(embeddings, "binary"))


@pytest.mark.parametrize("embeddings", [[], np.empty(0)])
@pytest.mark.parametrize(("precision", "dtype"), [("int8", "i1"), ("uint8", "u1"), ("binary", "i1"), ("float32", "f4")])
def test_nothing(embeddings: Any, precision: Any, dtype: str) -> None:
    same(quantize_embeddings(embeddings, precision), np.empty(0, dtype))


@pytest.mark.parametrize(("precision", "width"), [("int8", 11), ("uint8", 11), ("binary", 2), ("ubinary", 2)])
def test_no_rows(precision: Any, width: int) -> None:
    assert quantize_embeddings(np.empty((0, 11)), precision).shape == (0, width)


@pytest.mark.parametrize("embeddings", [np.ones(4), np.ones((1, 4)), [1.0, 2.0]])
@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_ranges_of_a_single_vector(embeddings: Any, precision: Any) -> None:
    expected = f"{precision} ranges cannot be taken from a single vector: give ranges or calibration_embeddings"
    with pytest.raises(ValueError, match=expected):
        quantize_embeddings(embeddings, precision)


def test_few_calibration_rows() -> None:
    embeddings = np.random.default_rng(3).standard_normal((99, 4))
    with pytest.warns(VicinalWarning, match="int8 ranges are taken from only 99 vectors") as warned:
        quantize_embeddings(embeddings, "int8")
    assert warned[0].filename == __file__
    quantize_embeddings(embeddings, "int8", calibration_embeddings=embeddings)
    quantize_embeddings(embeddings, "binary")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((2, 3)), "int4"), ValueError, "'int4' is not a precision: use one of ['float32', 'int8',"),
        (
            (np.ones((2, 3), np.int8), "binary"),
            TypeError,
            "embeddings must be floats to be quantized, but they are int8",
        ),
        (
            (np.ones((2, 3)), "int8", np.ones((2, 4))),
            DimensionMismatch,
            "ranges of shape (2, 4) do not fit embeddings of shape (2, 3)",
        ),
        (
            (np.ones((2, 3)), "int8", np.ones((3, 3))),
            ValueError,
            "ranges must be (2, d), least and greatest values, not shape (3, 3)",
        ),
        (
            (np.ones((2, 3)), "int8", [[1.0] * 3, [0.0] * 3]),
            ValueError,
            "ranges must be finite, the first row nowhere above the second",
        ),
        ((np.ones((2, 3)), "int8", [[1.0] * 3, [np.nan] * 3]), ValueError, "ranges must be finite"),
        (
            (np.ones((2, 3)), "int8", None, np.ones(3)),
            ValueError,
            "calibration_embeddings must be (m, d), not shape (3,)",
        ),
        ((["a"], "binary"), TypeError, "embeddings must be vectors of numbers, but the list holds text"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        quantize_embeddings(*arguments)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_rows_that_are_not_finite(precision: Any, value: float) -> None:
    embeddings = np.random.default_rng(4).standard_normal((120, 4))
    bad = embeddings.copy()
    bad[[7, 9], 2] = value
    message = re.escape("embeddings hold nan or infinity in row 7, 9")
    with pytest.raises(NonFiniteEmbedding, match=message):
        quantize_embeddings(bad, precision)
    if "int" in precision:
        with pytest.raises(NonFiniteEmbedding, match="calibration_" + message):
            quantize_embeddings(embeddings, precision, calibration_embeddings=bad)
