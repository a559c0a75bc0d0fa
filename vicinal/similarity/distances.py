"""Euclidean and Manhattan distances between rows, exact where vectors are near, in bounded memory."""

from __future__ import annotations

import numpy as np

from vicinal.similarity.arrays import Floats, Matrix, is_tensor, tensors

_BLOCK = 512  # rows of either side at a time: temporaries of a few MB, which stay in cache
_PAIRS = 4096  # pairs of rows that are subtracted at a time
_NEAR = {4: 1e-6, 8: 1e-2}  # share of |a|^2 + |b|^2 under which the matrix product is not to be trusted, by item size


def euclidean(a: Matrix, b: Matrix) -> Matrix:
    """sqrt(sum((a_i - b_j)^2)) for all i, j: a matrix product in float64, then near pairs anew from their differences.

    Args:
        a: (n, d) float32 or float64 array, or a tensor.
        b: (m, d), of the same kind and type.

    Returns:
        (n, m), of the same kind and type.
    """
    if is_tensor(a):
        return tensors().distances(a, b, 2)
    out = np.empty((len(a), len(b)), a.dtype)
    for i in range(0, len(a), _BLOCK):
        for j in range(0, len(b), _BLOCK):
            out[i : i + _BLOCK, j : j + _BLOCK] = _euclidean_block(a[i : i + _BLOCK], b[j : j + _BLOCK])
    return out


def _euclidean_block(a: Floats, b: Floats) -> Floats:
    near = _NEAR[a.dtype.itemsize]
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)
    squares: Floats = lengths - 2.0 * (a @ b.T)
    rows, columns = np.nonzero(~(squares > near * lengths))
    for start in range(0, len(rows), _PAIRS):
        i, j = rows[start : start + _PAIRS], columns[start : start + _PAIRS]
        squares[i, j] = np.square(a[i] - b[j]).sum(axis=1)
    return np.sqrt(squares)


def manhattan(a: Matrix, b: Matrix) -> Matrix:
    """sum(|a_i - b_j|) for all i, j.

    Args:
        a: (n, d) float32 or float64 array, or a tensor.
        b: (m, d), of the same kind and type.

    Returns:
        (n, m), of the same kind and type.
    """
    if is_tensor(a):
        return tensors().distances(a, b, 1)
    out = np.empty((len(a), len(b)), a.dtype)
    for j in range(0, len(b), _BLOCK):
        block = b[j : j + _BLOCK]
        difference = np.empty(block.shape, np.result_type(a, b))
        for i, row in enumerate(a):
            np.subtract(block, row, out=difference)
            np.abs(difference, out=difference)
            difference.sum(axis=1, out=out[i, j : j + _BLOCK])
    return out
