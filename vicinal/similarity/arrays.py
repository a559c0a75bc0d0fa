"""Vectors in whatever form they come, made ready: rows of numbers in a NumPy array or, if a tensor came in, a tensor.

Nothing here imports torch: a tensor is known by its type's name, and what is done to it lives in
`vicinal.backends.torch.tensors`, which is imported when the first tensor comes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DimensionMismatch

Vectors: TypeAlias = Any  # what a caller may give: an array, a tensor, a list of numbers or of vectors
Matrix: TypeAlias = Any  # what is computed with: a NumPy array or a dense tensor
Floats: TypeAlias = NDArray[Any]  # float32 or float64
Doubles: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]


def is_tensor(value: object) -> bool:
    """Whether `value` is a torch tensor, found out without importing torch."""
    return any(kind.__module__ == "torch" and kind.__name__ == "Tensor" for kind in type(value).__mro__)


def tensors() -> Any:
    """The module that knows torch; call it only when a tensor has been seen."""
    from vicinal.backends.torch import tensors as module

    return module


def as_matrix(vectors: Vectors, name: str, numbers: type[np.floating[Any]] = np.float32) -> Matrix:
    """The vectors as an array or a dense tensor of numbers, of whatever shape they have; arrays are not copied.

    Args:
        vectors: an array, a tensor, or a list of numbers, arrays, tensors or lists.
        name: what to call them in an error.
        numbers: what lists of Python numbers become.

    Raises:
        TypeError: they are not numbers.
        DimensionMismatch: they are vectors of different lengths.
    """
    if is_tensor(vectors):
        return tensors().dense(vectors)
    if isinstance(vectors, (list, tuple)) and len(vectors) and is_tensor(vectors[0]):
        return tensors().stack([tensors().dense(vector) for vector in vectors])
    array = _as_array(vectors, name, numbers)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be vectors of numbers, but the {_kind(vectors)} holds {_element(array)}")
    return array


def as_rows(vectors: Vectors, name: str) -> Matrix:
    """`as_matrix` with exactly two axes: one vector becomes one row, an empty list becomes (0, 0).

    Raises:
        ValueError: there are more than two axes, or none.
    """
    matrix = as_matrix(vectors, name)
    if matrix.ndim == 1:
        return matrix[None] if matrix.shape[0] else matrix.reshape(0, 0)
    if matrix.ndim != 2:
        raise ValueError(f"{name} must be one vector (d,) or rows of vectors (n, d), not shape {tuple(matrix.shape)}")
    return matrix


def as_corpus(vectors: Vectors, name: str) -> Matrix:
    """`as_rows`, but for what is on disk and says `reads_in_slices`: it stays there, and its slices are arrays."""
    return vectors if getattr(vectors, "reads_in_slices", False) else as_rows(vectors, name)


def check_dimensions(a: Matrix, b: Matrix, names: tuple[str, str]) -> None:
    """Raise DimensionMismatch, with both shapes, if the rows of `a` and `b` differ in length; (0, 0) fits anything."""
    if a.shape[1] != b.shape[1] and tuple(a.shape) != (0, 0) and tuple(b.shape) != (0, 0):
        raise DimensionMismatch(
            f"vectors of {a.shape[1]} and of {b.shape[1]} dimensions cannot be compared: "
            f"{names[0]} has shape {tuple(a.shape)}, {names[1]} has shape {tuple(b.shape)}"
        )


def check_positive(**numbers: int) -> None:
    """Raise ValueError for the first number below 1, by its name."""
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1, not {number}")


def name_rows(rows: Indices) -> str:
    """The first five rows, and how many more there are, for an error."""
    return ", ".join(str(row) for row in rows[:5]) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")


def as_float(matrix: Matrix) -> Matrix:
    """float64 and float32 as they are, every other type as float32; an array is not copied if it need not be."""
    if is_tensor(matrix):
        return tensors().as_float(matrix)
    return np.asarray(
        matrix, dtype=np.float64 if matrix.dtype.kind == "f" and matrix.dtype.itemsize >= 8 else np.float32
    )


def align(a: Matrix, b: Matrix) -> tuple[Matrix, Matrix]:
    """Both as float arrays of one type, or both as tensors of one, on one device, if either is a tensor."""
    if is_tensor(a) or is_tensor(b):
        aligned: tuple[Matrix, Matrix] = tensors().align(a, b)
        return aligned
    a, b = as_float(a), as_float(b)
    kind = np.result_type(a, b)
    return np.asarray(a, dtype=kind), np.asarray(b, dtype=kind)


def to_host(matrix: Matrix) -> NDArray[Any]:
    """As a NumPy array: an array or a CPU tensor without a copy, and without its gradient."""
    return tensors().to_numpy(matrix) if is_tensor(matrix) else np.asarray(matrix)


def on_host(matrix: Matrix) -> Matrix:
    """`to_host` for what lies in main memory; a tensor on an accelerator stays where it is."""
    return matrix if is_tensor(matrix) and not tensors().on_cpu(matrix) else to_host(matrix)


def beside(queries: Matrix, corpus: Matrix) -> Matrix:
    """The queries on the corpus's device; where neither is a tensor, as they are."""
    return tensors().beside(queries, corpus) if is_tensor(queries) or is_tensor(corpus) else queries


def take(matrix: Matrix, rows: Indices) -> Doubles:
    """Copies of some rows as float64 in main memory."""
    chosen = tensors().take(matrix, rows) if is_tensor(matrix) else matrix[rows]
    return np.asarray(chosen, dtype=np.float64)


def row_norms(rows: Floats) -> Doubles:
    """The length of every vector along the last axis, in float64, right also where the squares leave its range."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        norms: Doubles = np.sqrt(np.einsum("...i,...i->...", rows, rows, dtype=np.float64))
        extreme = ~((norms > 1e-140) & (norms < 1e140))
        if rows.dtype == np.float64 and extreme.any():
            wide = rows[extreme]
            top = np.abs(wide).max(axis=-1, initial=0.0)
            scale = np.where((top > 0) & np.isfinite(top), top, 1.0)
            norms[extreme] = scale * np.sqrt(np.square(wide / scale[..., None]).sum(axis=-1))
    return norms


def unit(rows: Matrix) -> Matrix:
    """Every vector along the last axis scaled to length 1; a zero vector stays zero. The type is kept."""
    if is_tensor(rows):
        return tensors().unit(rows)
    norms = row_norms(rows)[..., None]
    norms[norms == 0] = 1.0
    return np.divide(rows, norms, out=np.empty(rows.shape, rows.dtype), casting="same_kind")


def _as_array(vectors: Vectors, name: str, numbers: type[np.floating[Any]]) -> NDArray[Any]:
    if isinstance(vectors, (list, tuple)):
        array = _stacked(list(vectors), name)
        return array.astype(numbers) if _holds_python_numbers(vectors) and array.dtype.kind in "fiub" else array
    if not hasattr(vectors, "__array__"):
        raise TypeError(f"{name} must be an array, a tensor or a list of vectors, not {type(vectors).__name__}")
    array = np.asarray(vectors)
    return _stacked(list(array), name) if array.dtype == object and array.ndim == 1 else array


def _stacked(vectors: list[Any], name: str) -> NDArray[Any]:
    try:
        return np.asarray(vectors)
    except ValueError:
        lengths = [len(vector) if hasattr(vector, "__len__") else 0 for vector in vectors]
        odd = next((row for row, length in enumerate(lengths) if length != lengths[0]), None)
        if odd is None:
            raise
        raise DimensionMismatch(
            f"{name} must be vectors of one length: row 0 has {lengths[0]} numbers, row {odd} has {lengths[odd]}"
        ) from None


def _holds_python_numbers(vectors: Any) -> bool:
    while isinstance(vectors, (list, tuple)) and len(vectors):
        vectors = vectors[0]
    return isinstance(vectors, (int, float)) and not isinstance(vectors, np.generic)


def _kind(vectors: Vectors) -> str:
    return "array" if isinstance(vectors, np.ndarray) else type(vectors).__name__


def _element(array: NDArray[Any]) -> str:
    return "text; encode it first" if array.dtype.kind in "US" else f"dtype {array.dtype}"
