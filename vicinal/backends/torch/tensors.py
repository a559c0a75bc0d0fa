"""Tensors in and out: what `vicinal.similarity` does when it is given tensors instead of arrays.

The only module of the similarity functions that imports torch; it is imported when the first tensor comes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Tensor: TypeAlias = Any  # torch.Tensor; torch is not there where types are checked


def to_tensor(array: NDArray[Any], device: Any = None) -> Tensor:
    """A tensor over the array's own memory, or a copy where the array may not be written to or has gaps.

    Args:
        array: any numeric array.
        device: where to put it; None keeps it in main memory.
    """
    shared = array if array.flags.writeable and array.flags.c_contiguous and array.dtype.isnative else None
    tensor = torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")) if shared is None else shared)
    return tensor if device is None else tensor.to(device)


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """The tensor's numbers as an array, without a copy if it lies in main memory; types NumPy lacks become float32."""
    tensor = tensor.detach()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.to(torch.float32)
    array: NDArray[Any] = tensor.resolve_neg().cpu().numpy()
    return array


def on_cpu(tensor: Tensor) -> bool:
    """Whether NumPy can work on the tensor's memory."""
    return bool(tensor.device.type == "cpu")


def dense(tensor: Tensor) -> Tensor:
    """A sparse tensor made dense, any other as it is.

    Raises:
        TypeError: the tensor holds complex numbers.
    """
    if tensor.is_complex():
        raise TypeError(f"vectors must hold real numbers, not {tensor.dtype}")
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def stack(vectors: list[Tensor]) -> Tensor:
    """One tensor from a list of them, one a row."""
    return torch.stack(vectors)


def as_float(tensor: Tensor) -> Tensor:
    """float64 and float32 as they are, every other type as float32."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.to(torch.float32)


def align(a: Tensor | NDArray[Any], b: Tensor | NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Both as tensors of one float type on one device: that of `b`, or of `a` if `b` is an array."""
    device = b.device if isinstance(b, torch.Tensor) else a.device
    a, b = (as_float(x if isinstance(x, torch.Tensor) else to_tensor(x)).to(device) for x in (a, b))
    kind = torch.promote_types(a.dtype, b.dtype)
    return a.to(kind), b.to(kind)


def beside(queries: Tensor | NDArray[Any], corpus: Tensor | NDArray[Any]) -> Tensor:
    """The queries as a tensor where the corpus lies: on its device, or in main memory if it is an array."""
    device = corpus.device if isinstance(corpus, torch.Tensor) else torch.device("cpu")
    return queries.to(device) if isinstance(queries, torch.Tensor) else to_tensor(queries, device)


def take(tensor: Tensor, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Copies of some rows, in main memory."""
    return to_numpy(tensor[torch.from_numpy(rows).to(tensor.device)])


def norms(tensor: Tensor) -> Tensor:
    """The length of every vector along the last axis; its gradient at a zero vector is zero, not nan."""
    return torch.linalg.vector_norm(tensor, dim=-1)


def unit(tensor: Tensor) -> Tensor:
    """Every vector along the last axis scaled to length 1; a zero vector stays zero. Gradients flow through."""
    lengths = norms(tensor).unsqueeze(-1)
    return tensor / torch.where(lengths > 0, lengths, torch.ones_like(lengths))


def distances(a: Tensor, b: Tensor, order: int) -> Tensor:
    """Euclidean (order 2) or Manhattan (order 1) distance of every row of `a` from every row of `b`.

    Taken from the differences, not from a matrix product, so that near vectors do not cancel.
    """
    return torch.cdist(a, b, p=float(order), compute_mode="donot_use_mm_for_euclid_dist")


def product(a: Tensor, b: Tensor) -> tuple[NDArray[Any], float]:
    """`a @ b.T` in main memory, and how far an entry may be off, relative to the lengths of its two vectors.

    An accelerator may round float32 matrices on their way in: to 11 bits (TF32) on CUDA, to 8 (bfloat16) elsewhere.
    Whether it does is a global setting with two interfaces that refuse each other, so it is taken for granted.
    """
    kind = torch.promote_types(a.dtype, b.dtype)
    rounding = 0.0 if kind == torch.float64 else 2.0**-9 if a.device.type == "cuda" else 2.0**-6
    return to_numpy(a.to(kind) @ b.to(kind).T), rounding
