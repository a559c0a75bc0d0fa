"""Numbers by distance: one learned number a head and range of distances, added to the attention scores (T5, MPNet)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.base import Handle, Ops
from vicinal.loading.weights import Tensor


def distances(ops: Ops, index: Handle, reach: int) -> Handle:
    """(T, T) key's place minus query's place, cut to -reach..reach and counted from 0: rows of a table of distances.

    Args:
        index: (T,) 0, 1, ...
        reach: the distance from which nothing changes any more, so that no text is too long for the table.
    """
    end, start = ops.constant(np.int32(reach)), ops.constant(np.int32(-reach))
    d = ops.expand_dims(index, 0) - ops.expand_dims(index, 1)
    d = ops.where(ops.less_equal(d, end), d, end)
    return ops.where(ops.less_equal(start, d), d, start) - start


def buckets(count: int, far: int) -> NDArray[np.int32]:
    """The bucket of every distance -far..far, (2 far + 1,): Raffel et al. 2020 (arXiv:1910.10683), section 2.1.

    Half of the buckets are for keys behind the query. Of each half, the first half are single distances, the others
    grow with the logarithm of the distance; all distances from `far` on share the last.

    >>> buckets(8, 16).tolist()[::4]
    [3, 3, 3, 2, 0, 6, 7, 7, 7]
    """
    d = np.arange(-far, far + 1)
    n, half = np.abs(d), count // 2
    exact = half // 2
    log = np.log(np.maximum(n, 1).astype(np.float32) / np.float32(exact))
    large = exact + (log / np.float32(math.log(far / exact)) * np.float32(half - exact)).astype(np.int64)
    return ((d > 0) * half + np.where(n < exact, n, np.minimum(large, half - 1))).astype(np.int32)


def relative_bias(ops: Ops, index: Handle, table: Tensor, count: int, far: int) -> Handle:
    """(1, H, T, T) to be added to the scores.

    Args:
        table: (count, H), a number a bucket and head.
        count, far: as in `buckets`.
    """
    numbers = ops.embed(table, ops.constant(buckets(count, far)))
    return ops.expand_dims(ops.transpose(ops.embed(numbers, distances(ops, index, far)), (2, 0, 1)), 0)
