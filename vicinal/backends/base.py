"""The primitives that networks are written in, and what a backend does with them.

A network is a plain function over these; it never reads a handle's shape. B texts, T tokens, D width, H heads,
G key-value heads, d head width. `numpy.py` is the definition; the other backends are tested against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vicinal.loading.weights import Tensor

if TYPE_CHECKING:
    from vicinal.text.tokens import Tokens

Handle = Any
"""A value inside a graph: an array, a node, a tensor, by backend. Handles take + - * / with one another."""

Value = Any
"""A handle, or a `Tensor` straight from the checkpoint."""

Arrays = dict[str, NDArray[Any]]

Unary = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh", "sigmoid", "sqrt"]


class Ops(Protocol):
    """About twenty primitives. Masks are boolean, indices integer, all else float32."""

    def constant(self, value: NDArray[Any] | np.generic | Tensor) -> Handle:
        """A fixed array or number, or a tensor of the checkpoint (half precision is widened to float32)."""

    def embed(self, table: Value, ids: Handle) -> Handle:
        """Rows of `table` (n, ...) at `ids` (any shape): ids.shape + table.shape[1:]."""

    def gather_last(self, x: Value, index: Handle) -> Handle:
        """x[..., index]: `index` picks along the last axis, the leading axes broadcast."""

    def gather_token(self, x: Handle, index: Handle) -> Handle:
        """Of each text (B, T, D) the token at `index` (B,): (B, D)."""

    def linear(self, x: Handle, weight: Tensor, bias: Tensor | None = None, spared: bool = False) -> Handle:
        """x @ weight.T + bias; weight is (out, in).

        `spared`: a backend that computes linear layers at int8 may leave this one out, whose rounding moves the
        network's output more than that of others.
        """

    def matmul(self, a: Value, b: Value, transpose_b: bool = False) -> Handle:
        """a @ b over the last two axes, or a @ b.T."""

    def attention(self, q: Handle, k: Handle, v: Handle, bias: Handle | None, scale: float, groups: int = 1) -> Handle:
        """softmax(q k^T * scale + bias) v; q (B, H, T, d); k, v (B, H / groups, T, d); bias to (B, H, T, T)."""

    def layer_norm(self, x: Handle, weight: Tensor, bias: Tensor | None, eps: float) -> Handle:
        """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis."""

    def rms_norm(self, x: Handle, weight: Tensor, eps: float) -> Handle:
        """x / sqrt(mean(x^2) + eps) * weight over the last axis."""

    def normalize(self, x: Handle, eps: float = 1e-12) -> Handle:
        """x / max(|x|, eps) over the last axis."""

    def unary(self, kind: Unary, x: Handle) -> Handle:
        """A pointwise function by name."""

    def where(self, condition: Handle, a: Handle, b: Handle) -> Handle:
        """a where the condition holds, else b; all broadcast."""

    def less_equal(self, a: Handle, b: Handle) -> Handle:
        """a <= b, as a condition."""

    def split_heads(self, x: Handle, heads: int) -> Handle:
        """(B, T, H * d) to (B, H, T, d)."""

    def merge_heads(self, x: Handle) -> Handle:
        """(B, H, T, d) to (B, T, H * d)."""

    def transpose(self, x: Value, axes: Sequence[int]) -> Handle:
        """Axes in a new order, as NumPy has it."""

    def expand_dims(self, x: Value, *axes: int) -> Handle:
        """New axes of length one at these places of the result, as NumPy's expand_dims with a tuple."""

    def squeeze(self, x: Handle, axis: int) -> Handle:
        """Without this axis of length one."""

    def slice(self, x: Value, axis: int, start: int, stop: int) -> Handle:
        """x[start:stop] along one axis."""

    def concat(self, xs: Sequence[Handle], axis: int) -> Handle:
        """Joined along an axis."""

    def reduce(self, kind: Literal["sum", "mean", "max"], x: Handle, axis: int) -> Handle:
        """Over one axis, which stays with length one."""


Build = Callable[[Ops, Mapping[str, Handle]], dict[str, Handle]]
"""Builds a graph: (ops, inputs by name) to outputs by name. Inputs that are not read are not asked for."""


Batches = Callable[["Tokens", "Bounds", frozenset[str]], Iterator[tuple[NDArray[np.int64], Arrays]]]
"""Tokens of a window, bounds and the names of inputs, to batches: rows of the window, and the inputs for them."""


@dataclass(frozen=True)
class Bounds:
    """Of a batch.

    Attributes:
        tokens: padded, at most; a text that exceeds it alone has a batch of its own.
        rows: at most, None for no bound.
        limit: tokens of a text that the model allows, which padding does not pass.
        prompt: leading tokens that pooling leaves out.
    """

    tokens: int
    rows: int | None = None
    limit: int | None = None
    prompt: int = 0


class Pending(Protocol):
    """A batch on its way."""

    def result(self) -> Arrays:
        """Wait for it; outputs by name, the caller's own. To be called exactly once."""

    def abandon(self) -> None:
        """Instead: wait for it and drop what it gives, an error too."""


class Program(Protocol):
    """A compiled graph; safe to use from many threads."""

    inputs: frozenset[str]

    @property
    def batches(self) -> Batches:
        """How it wants its texts: padded together, or one after the other."""

    def start(self, feeds: Arrays, wait: bool) -> Pending | None:
        """Begin a batch. None when all of the backend's places are taken and `wait` is false.

        A caller that holds a `Pending` must not wait: it collects its own first, so that callers cannot block
        one another.
        """


INPUTS: dict[str, tuple[type[Any], int]] = {
    "ids": (np.int32, 2),
    "mask": (np.bool_, 2),
    "pool": (np.bool_, 2),
    "types": (np.int32, 2),
    "positions": (np.int32, 2),
    "index": (np.int32, 1),
    "first": (np.int32, 1),
    "last": (np.int32, 1),
}
"""Inputs of every graph: (type, axes). ids, mask, types (B, T); positions (B, T): 1, 2, ... over a text's tokens, 0 for
padding and for a token in the text that stands for padding (RoBERTa and its kin do not count it); pool (B, T): tokens
that pooling counts; index (T,): 0, 1, ...; first, last (B,): of the tokens that pooling counts."""
