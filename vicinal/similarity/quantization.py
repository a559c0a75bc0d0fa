"""Vectors in fewer bits: 8-bit integers in buckets of each dimension's range, or one bit a dimension."""

from __future__ import annotations

import warnings
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DimensionMismatch, NonFiniteEmbedding, VicinalWarning
from vicinal.similarity.arrays import Vectors, as_matrix, name_rows, to_host

Precision: TypeAlias = Literal["float32", "int8", "uint8", "binary", "ubinary"]
_DTYPES = {"float32": np.float32, "int8": np.int8, "uint8": np.uint8, "binary": np.int8, "ubinary": np.uint8}
_STABLE = 100  # calibration rows under which the ranges are shaky


def quantize_embeddings(
    embeddings: Vectors,
    precision: Precision,
    ranges: Vectors | None = None,
    calibration_embeddings: Vectors | None = None,
) -> NDArray[Any] | list[NDArray[Any]]:
    """Vectors in a smaller type.

    int8 and uint8 divide the range of each dimension into 255 steps; what lies outside is clipped to the nearest end.
    binary and ubinary keep the sign of each dimension, eight dimensions a byte, the first in the highest bit; binary is
    ubinary less 128, as a signed byte.

    Args:
        embeddings: (n, d) or (d,) array, tensor or list of vectors of any float type; or a list of (tokens, d)
            matrices, which share their ranges.
        precision: "float32", "int8", "uint8", "binary" or "ubinary".
        ranges: (2, d), the least and greatest value of each dimension, for int8 and uint8.
        calibration_embeddings: (m, d) vectors to take the ranges from, if `ranges` is None; if both are, they are taken
            from `embeddings`, which should then be many.

    Returns:
        A NumPy array: (n, d), or (n, ceil(d / 8)) for binary and ubinary; a list of them for a list of matrices.

    Raises:
        ValueError: an unknown precision, ranges that fall, or int8 and uint8 ranges from a single vector.
        TypeError: `embeddings` hold 8-bit integers already.
        DimensionMismatch: ranges of other dimensions.
        NonFiniteEmbedding: a vector holds nan or infinity; its row is named.

    Warns:
        VicinalWarning: int8 or uint8 ranges are taken from fewer than 100 vectors.
    """
    if precision not in _DTYPES:
        raise ValueError(f"{precision!r} is not a precision: use one of {list(_DTYPES)}")
    bytewise = precision in ("int8", "uint8")
    if _holds_matrices(embeddings):
        matrices = [_floats(matrix, "embeddings") for matrix in embeddings]
        limits = _limits(np.concatenate(matrices), precision, ranges, calibration_embeddings) if bytewise else None
        return [_quantized(matrix, precision, limits) for matrix in matrices]
    array = _floats(embeddings, "embeddings")
    if array.shape == (0,):
        return np.empty(0, _DTYPES[precision])
    return _quantized(array, precision, _limits(array, precision, ranges, calibration_embeddings) if bytewise else None)


def quantization_ranges(calibration_embeddings: Vectors) -> NDArray[np.float32]:
    """The least and greatest value of each dimension: the `ranges` by which corpus and queries are quantized alike.

    Args:
        calibration_embeddings: (m, d) vectors like those that will be quantized; many, some thousands are enough.

    Returns:
        (2, d), to be kept beside the quantized vectors (`save_vectors(..., ranges=...)`).

    Raises:
        ValueError: there is not one vector, or not (m, d). NonFiniteEmbedding: a vector holds nan or infinity.

    >>> quantization_ranges([[1.0, -2.0], [3.0, 0.0]]).tolist()
    [[1.0, -2.0], [3.0, 0.0]]
    """
    limits = _ranges_of(calibration_embeddings)
    if not np.size(calibration_embeddings):
        raise ValueError("ranges cannot be taken from no vectors")
    return limits


def dequantize(quantized: NDArray[Any], ranges: Vectors) -> NDArray[np.float64]:
    """int8 or uint8 vectors as the lower ends of their steps, float64."""
    levels = quantized.astype(np.float64) + (128 if quantized.dtype == np.int8 else 0)
    limits = _checked_ranges(ranges)
    return np.asarray(levels * _steps(limits) + limits[0])


def step_sizes(ranges: Vectors) -> NDArray[np.float32]:
    """How far apart two neighbouring int8 or uint8 values of each dimension are, (d,)."""
    return _steps(_checked_ranges(ranges))


def _steps(limits: NDArray[np.float32]) -> NDArray[np.float32]:
    steps = (limits[1] - limits[0]) / 255
    return np.where(steps == 0, np.float32(1), steps)  # a dimension that is constant: its value becomes 0


def _quantized(array: NDArray[Any], precision: Precision, limits: NDArray[np.float32] | None) -> NDArray[Any]:
    if precision == "float32":
        return array.astype(np.float32)
    check_finite(array, "embeddings")
    if limits is None:
        bits = np.packbits(array > 0, axis=-1)
        return bits if precision == "ubinary" else np.asarray(bits ^ 0x80).view(np.int8)
    if array.shape[-1] != limits.shape[1]:
        raise DimensionMismatch(f"ranges of shape {limits.shape} do not fit embeddings of shape {array.shape}")
    with np.errstate(over="ignore"):
        buckets: NDArray[Any] = np.clip(np.floor((array - limits[0]) / _steps(limits)), 0, 255)
    return buckets.astype(np.uint8) if precision == "uint8" else (buckets - 128).astype(np.int8)


def _limits(
    array: NDArray[Any], precision: Precision, ranges: Vectors | None, calibration: Vectors | None
) -> NDArray[np.float32]:
    """The least and greatest value of each dimension, (2, d)."""
    if ranges is not None:
        return _checked_ranges(ranges)
    if calibration is None:
        if array.ndim == 1 or len(array) == 1:
            raise ValueError(
                f"{precision} ranges cannot be taken from a single vector: give ranges or calibration_embeddings"
            )
        if 0 < len(array) < _STABLE:
            warnings.warn(
                f"{precision} ranges are taken from only {len(array)} vectors; they are steadier from {_STABLE} or "
                "more: give ranges or calibration_embeddings",
                VicinalWarning,
                stacklevel=3,
            )
        calibration = array
    return _ranges_of(calibration)


def _checked_ranges(ranges: Vectors) -> NDArray[np.float32]:
    limits = to_host(as_matrix(ranges, "ranges")).astype(np.float32)
    if limits.ndim != 2 or limits.shape[0] != 2:
        raise ValueError(f"ranges must be (2, d), least and greatest values, not shape {limits.shape}")
    if (limits[0] > limits[1]).any() or not np.isfinite(limits).all():
        raise ValueError("ranges must be finite, the first row nowhere above the second")
    return limits


def _ranges_of(calibration: Vectors) -> NDArray[np.float32]:
    sample = _floats(calibration, "calibration_embeddings")
    if sample.ndim != 2:
        raise ValueError(f"calibration_embeddings must be (m, d), not shape {sample.shape}")
    if len(sample) == 0:
        return np.zeros((2, sample.shape[1]), np.float32)
    check_finite(sample, "calibration_embeddings")
    return np.stack([sample.min(axis=0), sample.max(axis=0)]).astype(np.float32)


def _floats(vectors: Vectors, name: str) -> NDArray[Any]:
    array = to_host(as_matrix(vectors, name, np.float64))
    if array.dtype in (np.int8, np.uint8):
        raise TypeError(f"{name} must be floats to be quantized, but they are {array.dtype} already")
    return array


def _holds_matrices(vectors: Vectors) -> bool:
    return isinstance(vectors, (list, tuple)) and len(vectors) > 0 and getattr(vectors[0], "ndim", 1) == 2


def check_finite(array: NDArray[Any], name: str) -> None:
    """Raise NonFiniteEmbedding, with the rows, where a vector holds nan or infinity."""
    finite = np.isfinite(array)
    if not finite.all():
        rows = name_rows(np.flatnonzero(~np.atleast_2d(finite).all(axis=-1)))
        raise NonFiniteEmbedding(f"{name} hold nan or infinity in row {rows}")
