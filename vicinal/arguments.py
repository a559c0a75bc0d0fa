"""Reads the arguments of constructors and calls: each is honoured, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DimensionMismatch, Unavailable, UnsupportedModel
from vicinal.similarity import quantize_embeddings

OutputValue = Literal["sentence_embedding", "token_embeddings"] | None
Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
Truncation = Literal["warn", "error", "ignore"]
TRUNCATIONS = ("warn", "error", "ignore")
NOTHING: Any = object()
"""Stands for an argument that was not given, where None is a value."""


def only_cpu(device: Any) -> None:
    """There is one device.

    Raises:
        Unavailable: another one is asked for.
    """
    if device is not None and str(device) not in ("cpu", "cpu:0"):
        raise Unavailable(f"device={str(device)!r} is not to be had: this version of vicinal computes on the cpu")


def no_modules(modules: Any) -> None:
    """Models are loaded, not built.

    Raises:
        UnsupportedModel: modules are given.
    """
    if modules is not None:
        raise UnsupportedModel("building a model from modules is not in this version of vicinal; give a model's folder")


def model_dtype(kwargs: Mapping[str, Any], dtype: Any) -> Any:
    """The dtype that `model_kwargs` or the `dtype` argument asks for; other keys are refused.

    Raises:
        ValueError: a key that no backend here understands, or two dtypes.
    """
    known = {"dtype", "torch_dtype"}
    if unknown := sorted(set(kwargs) - known):
        raise ValueError(f"model_kwargs: {', '.join(unknown)} mean nothing to the backends here; dtype is understood")
    wished = [value for value in kwargs.values() if value is not None]
    if len(wished) > 1 or (wished and str(dtype) != "auto"):
        raise ValueError("dtype is given more than once (dtype=, model_kwargs)")
    return wished[0] if wished else dtype


def batching(batch_size: Any, batch_tokens: Any, truncation: Any) -> None:
    """How texts are batched and cut.

    Raises:
        ValueError: a bound is no positive number, or `truncation` none of its values.
    """
    for name, value in (("batch_size", batch_size), ("batch_tokens", batch_tokens)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1):
            raise ValueError(f"{name} must be a positive integer, not {value!r}")
    if truncation not in TRUNCATIONS:
        raise ValueError(f"truncation must be one of {', '.join(map(repr, TRUNCATIONS))}, not {truncation!r}")


def dims(wished: Any) -> int | None:
    """A number of leading dimensions to keep, None all.

    Raises:
        ValueError: it is no positive number.
    """
    if wished is not None and (type(wished) is not int or wished < 1):
        raise ValueError(f"truncate_dim must be a positive integer or None, not {wished!r}")
    return wished


def max_length(kwargs: Mapping[str, Any]) -> int | None:
    """The limit that `processor_kwargs` states; other keys are refused.

    Raises:
        ValueError: a key that is not understood.
    """
    if unknown := sorted(set(kwargs) - {"model_max_length"}):
        raise ValueError(f"processor_kwargs: {', '.join(unknown)} is not understood; model_max_length is")
    return kwargs.get("model_max_length")


def chunks(chunk_size: Any) -> None:
    """How many texts a process is given at a time.

    Raises:
        ValueError: it is no positive number.
    """
    if chunk_size is not None and (type(chunk_size) is not int or chunk_size < 1):
        raise ValueError(f"chunk_size must be a positive integer or None, not {chunk_size!r}")


def states_only(out: Any, precision: Any, tensor: bool, normalize: bool, pool: Any) -> None:
    """What has no meaning for token vectors.

    Raises:
        ValueError: one of these is given.
    """
    given = {"out": out is not None, "precision": precision != "float32", "convert_to_tensor": tensor,
             "normalize_embeddings": normalize, "pool": pool is not None}  # fmt: skip
    if names := [name for name, there in given.items() if there]:
        raise ValueError(f"{', '.join(names)}: only for output_value='sentence_embedding'")


def fillable(out: Any, shape: tuple[int, int], precision: str) -> NDArray[np.float32]:
    """An array that results can be written into.

    Raises:
        TypeError: it is no float32 array. DimensionMismatch: it has another shape. ValueError: it is read-only, or
            another precision is asked for.
    """
    if precision != "float32":
        raise ValueError(f"out takes float32 vectors; with precision={precision!r} leave it out")
    if not isinstance(out, np.ndarray) or out.dtype != np.float32:
        raise TypeError(f"out must be a float32 array, not {getattr(out, 'dtype', type(out).__name__)}")
    if out.shape != shape:
        raise DimensionMismatch(f"out has shape {out.shape}, but the vectors of these texts have {shape}")
    if not out.flags.writeable:
        raise ValueError("out is read-only: open the memory map with mode='r+' or 'w+'")
    return out


def quantized(vectors: NDArray[np.float32], precision: str, single: bool) -> NDArray[Any]:
    """The vectors in another precision; (n, dims), packed bits have an eighth of the dims.

    Raises:
        ValueError: no such precision, or int8 of a text alone, which gives no range to scale by.
    """
    if precision in ("int8", "uint8") and len(vectors) == 1:
        raise ValueError(
            f"precision={precision!r} scales by the range of the vectors, and one text has none: encode at float32, "
            "then quantize_embeddings(vectors, precision, ranges=... or calibration_embeddings=...)"
        )
    return np.asarray(quantize_embeddings(vectors, precision=precision))  # type: ignore[arg-type]


def places(unique: Sequence[Any], texts: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For every text the number of its unique one, and for every unique one the row where it first stands."""
    number = {text: i for i, text in enumerate(unique)}
    inverse = np.fromiter(map(number.__getitem__, texts), np.int64, len(texts))
    firsts = np.full(len(unique), -1, np.int64)
    firsts[inverse[::-1]] = np.arange(len(texts))[::-1]  # of equal targets the last write stays: the first row
    return inverse, firsts
