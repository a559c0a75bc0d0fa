"""The primitives in NumPy: the definition that other backends are tested against, and the runner of static models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.base import Arrays, Bounds, Build, Pending, Unary
from vicinal.loading.weights import Tensor
from vicinal.text.batches import padded
from vicinal.text.tokens import Tokens

_erf = np.frompyfunc(math.erf, 1, 1)


def _array(value: Any) -> NDArray[Any]:
    return value.numeric() if isinstance(value, Tensor) else value


class NumpyOps:
    """See `base.Ops`."""

    def constant(self, value: NDArray[Any] | np.generic | Tensor) -> NDArray[Any]:
        return np.asarray(_array(value))

    def embed(self, table: Any, ids: NDArray[Any]) -> NDArray[Any]:
        if isinstance(table, Tensor):  # widen the rows that are read, not the table
            return table.rows(ids)
        return np.asarray(table[ids])

    def gather_last(self, x: Any, index: NDArray[Any]) -> NDArray[Any]:
        x = _array(x)
        lead = np.broadcast_shapes(x.shape[:-1], index.shape[:-1])
        x = np.broadcast_to(x, lead + x.shape[-1:])
        return np.take_along_axis(x, np.broadcast_to(index, lead + index.shape[-1:]), -1)

    def gather_token(self, x: NDArray[Any], index: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(x[np.arange(len(x)), index])

    def linear(self, x: NDArray[Any], weight: Tensor, bias: Tensor | None = None, spared: bool = False) -> NDArray[Any]:
        y = x @ _array(weight).T
        return np.asarray(y if bias is None else y + _array(bias))

    def matmul(self, a: Any, b: Any, transpose_b: bool = False) -> NDArray[Any]:
        a, b = _array(a), _array(b)
        return np.asarray(a @ (np.swapaxes(b, -1, -2) if transpose_b else b))

    def attention(
        self, q: NDArray[Any], k: NDArray[Any], v: NDArray[Any], bias: Any, scale: float, groups: int = 1
    ) -> NDArray[Any]:
        k, v = np.repeat(k, groups, 1), np.repeat(v, groups, 1)
        scores = q @ np.swapaxes(k, -1, -2) * np.float32(scale)
        if bias is not None:
            scores = scores + bias
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(scores / scores.sum(-1, keepdims=True) @ v)

    def layer_norm(self, x: NDArray[Any], weight: Tensor, bias: Tensor | None, eps: float) -> NDArray[Any]:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * _array(weight)
        return np.asarray(x if bias is None else x + _array(bias))

    def rms_norm(self, x: NDArray[Any], weight: Tensor, eps: float) -> NDArray[Any]:
        return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * _array(weight))

    def normalize(self, x: NDArray[Any], eps: float = 1e-12) -> NDArray[Any]:
        return np.asarray(x / np.maximum(np.sqrt((x * x).sum(-1, keepdims=True)), np.float32(eps)))

    def unary(self, kind: Unary, x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(_UNARY[kind](x), dtype=x.dtype)

    def where(self, condition: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.where(condition, a, b)

    def less_equal(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(a <= b)

    def split_heads(self, x: NDArray[Any], heads: int) -> NDArray[Any]:
        return x.reshape(*x.shape[:-1], heads, -1).swapaxes(1, 2)

    def merge_heads(self, x: NDArray[Any]) -> NDArray[Any]:
        return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)

    def transpose(self, x: Any, axes: Sequence[int]) -> NDArray[Any]:
        return np.transpose(_array(x), axes)

    def expand_dims(self, x: Any, *axes: int) -> NDArray[Any]:
        return np.expand_dims(_array(x), axes)

    def squeeze(self, x: NDArray[Any], axis: int) -> NDArray[Any]:
        return np.squeeze(x, axis)

    def slice(self, x: Any, axis: int, start: int, stop: int) -> NDArray[Any]:
        x = _array(x)
        return np.asarray(x[(slice(None),) * (axis % x.ndim) + (slice(start, stop),)])

    def concat(self, xs: Sequence[NDArray[Any]], axis: int) -> NDArray[Any]:
        return np.concatenate(list(xs), axis)

    def reduce(self, kind: Literal["sum", "mean", "max"], x: NDArray[Any], axis: int) -> NDArray[Any]:
        return np.asarray(getattr(x, kind)(axis=axis, keepdims=True))


_UNARY: Mapping[str, Any] = {
    "gelu": lambda x: x * 0.5 * (1 + _erf(x / math.sqrt(2)).astype(x.dtype)),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * 0.5 * (1 + np.tanh(x / 2)),
    "tanh": np.tanh,
    "sigmoid": lambda x: 0.5 * (1 + np.tanh(x / 2)),
    "sqrt": np.sqrt,
}


class _Recorder(dict[str, Any]):
    """Feeds by name; remembers which were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)


@dataclass(eq=False)
class Done:
    """A batch that was computed when it was started."""

    arrays: Arrays

    def abandon(self) -> None:
        """There is nothing to wait for."""

    def result(self) -> Arrays:
        """See `base.Pending`."""
        return self.arrays


class NumpyProgram:
    """Runs the graph's own function on arrays at each call."""

    batches = staticmethod(padded)

    def __init__(self, build: Build, inputs: frozenset[str]) -> None:
        self._build, self._ops, self.inputs = build, NumpyOps(), inputs

    def start(self, feeds: Arrays, wait: bool) -> Pending:
        return Done(self._build(self._ops, feeds))


_AT_ONCE = 4096
"""Tokens of a text whose vectors are held at a time."""


class StaticProgram:
    """A static model: the mean of its tokens' vectors, by one small product a text. Padding has no place in it.

    Args:
        table: (tokens, width), of any type.
        scale: (tokens, 1), a factor for each row; None is 1.
        normalize: whether the mean is scaled to length 1.
    """

    inputs = frozenset({"ids"})

    def __init__(self, table: Tensor, scale: Tensor | None, normalize: bool) -> None:
        self._table, self._normalize = table, normalize
        scales = np.ones(len(table.array)) if scale is None else scale.numeric().reshape(-1)
        self._scale = scales.astype(np.float32)

    @staticmethod
    def batches(tokens: Tokens, bounds: Bounds, needs: frozenset[str]) -> Iterator[tuple[NDArray[np.int64], Arrays]]:
        """The whole window as it is."""
        yield (
            np.arange(len(tokens.lengths)),
            {"ids": tokens.ids, "starts": tokens.starts, "lengths": tokens.lengths},
        )

    def start(self, feeds: Arrays, wait: bool) -> Pending:
        lengths, ids, table, scale = feeds["lengths"], feeds["ids"], self._table, self._scale
        half = table.dtype in ("BF16", "F16")
        vectors = np.zeros((len(lengths), table.array.shape[1]), np.float32)
        for i, (first, length) in enumerate(zip(feeds["starts"].tolist(), lengths.tolist(), strict=True)):
            for begin in range(first, first + length, _AT_ONCE):
                rows = ids[begin : min(begin + _AT_ONCE, first + length)]
                vectors[i] += scale[rows] @ (table.rows(rows) if half else table.array[rows].astype(np.float32))
        vectors /= np.maximum(lengths, 1).astype(np.float32)[:, None]
        if self._normalize:
            norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
            vectors /= np.maximum(norms, np.float32(1e-12))[:, None]
        return Done({"sentence_embedding": vectors})


def compile_graph(build: Build) -> NumpyProgram:
    """The program of a graph; one dry run on a one-token text tells which inputs it reads."""
    return NumpyProgram(build, inputs_read(build))


def inputs_read(build: Build, **others: NDArray[Any]) -> frozenset[str]:
    """Which inputs a graph reads, by a dry run on a one-token text.

    Args:
        others: inputs beside those of every graph.
    """
    one = np.zeros((1, 1), np.int32)
    feeds = _Recorder()
    feeds.update(ids=one, types=one, positions=one, mask=one == 0, pool=one == 0)
    feeds.update(index=one[0], first=one[0], last=one[0], **others)
    build(NumpyOps(), feeds)
    return frozenset(feeds.read)
