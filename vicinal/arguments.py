"""Reads the arguments of constructors and calls: each is honoured, or refused by name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DimensionMismatch, Unavailable, UnsupportedModel
from vicinal.refused import hints
from vicinal.similarity import quantize_embeddings

OutputValue = Literal["sentence_embedding", "token_embeddings"] | None
Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
Truncation = Literal["warn", "error", "ignore"]
TRUNCATIONS = ("warn", "error", "ignore")
_DTYPES = ("dtype", "torch_dtype")
_SETTINGS = ("provider", "provider_options", "ov_config", "attn_implementation", "device_map")
_FILES = ("file_name", "subfolder", "export")
"""Keys of `model_kwargs`: the dtype's names; what goes on to the backend, which knows which of them it takes;
which file computes the network."""
_TOKENIZING: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "padding_side": (("left", "right"), "it is left or right, and makes no difference to vectors here"),
    "truncation_side": (("right",), "long texts lose their end"),
    "use_fast": ((True,), "every tokenizer here is a fast one"),
}
"""Keys of `processor_kwargs` beside the limit: values that are taken, and why no others."""
_HINTS = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
"""OpenVINO's names of dtypes."""
NOTHING: Any = object()
"""Stands for an argument that was not given, where None is a value."""


def same_device(wished: Any, device: Any) -> None:
    """A call runs where the model is.

    Raises:
        Unavailable: another device is asked for.
    """
    if str(wished).removesuffix(":0") != str(device).removesuffix(":0"):
        raise Unavailable(
            f"device={str(wished)!r}, but this model is on {device}: load it with device={str(wished)!r}, or model.to()"
        )


def no_modules(modules: Any) -> None:
    """Models are loaded, not built.

    Raises:
        UnsupportedModel: modules are given.
    """
    if modules is not None:
        raise UnsupportedModel("building a model from modules is not in this version of vicinal; give a model's folder")


def all_of_one_type(modules: Any) -> None:
    """A network is computed in one dtype.

    Raises:
        UnsupportedModel: some of its modules are to be in another.
    """
    if modules:
        raise UnsupportedModel(
            f'keep_in_fp32_modules={list(modules)}: a network has one dtype here; say dtype="float32"'
        )


def model_settings(kwargs: Mapping[str, Any], dtype: Any) -> tuple[Any, dict[str, Any]]:
    """The dtype that `model_kwargs` or the `dtype` argument asks for, and what else is asked of the backend.

    Raises:
        ValueError: a key that no backend here understands, or two dtypes.
    """
    if unknown := sorted(set(kwargs) - {*_DTYPES, *_SETTINGS, *_FILES}):
        raise ValueError(
            f"model_kwargs: {', '.join(unknown)} mean nothing to the backends here; "
            f"{', '.join((_DTYPES[0], *_SETTINGS, *_FILES))} are understood{hints(unknown)}"
        )
    settings = {name: kwargs[name] for name in _SETTINGS if kwargs.get(name) is not None}
    if settings.get("device_map") in ("cpu", {"": "cpu"}):  # where every backend computes
        del settings["device_map"]
    wished = [kwargs[name] for name in _DTYPES if kwargs.get(name) is not None]
    if "ov_config" in settings:
        settings["ov_config"], hint = openvino_settings(settings["ov_config"])
        wished += [] if hint is None else [hint]
    if len(wished) > 1 or (wished and str(dtype) != "auto"):
        raise ValueError("dtype is given more than once (dtype=, model_kwargs)")
    return wished[0] if wished else dtype, settings


def openvino_settings(given: Any) -> tuple[dict[str, Any], str | None]:
    """OpenVINO's own settings, from a mapping or a JSON file of one; and the dtype, which is one of them there.

    Raises:
        ValueError: it is neither, or states what `threads` or `dtype` say here.
    """
    if isinstance(given, (str, os.PathLike)):
        try:
            given = json.loads(Path(given).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"ov_config: {given} is no readable JSON file ({error})") from error
    if not isinstance(given, Mapping):
        raise ValueError(f"ov_config must be a mapping, or the path of a JSON file, not {given!r}")
    settings = {str(name): value for name, value in given.items()}
    for name, own in (("INFERENCE_NUM_THREADS", "threads="), ("DYNAMIC_QUANTIZATION_GROUP_SIZE", 'dtype="int8"')):
        if name in settings:
            raise ValueError(f"ov_config: {name} is what {own} says here; leave it out")
    hint = settings.pop("INFERENCE_PRECISION_HINT", None)
    return settings, None if hint is None else _HINTS.get(str(hint), str(hint))


def no_file(kwargs: Mapping[str, Any]) -> None:
    """A cross-encoder is computed from its weights.

    Raises:
        UnsupportedModel: `model_kwargs` names a file.
    """
    if names := [name for name in _FILES if kwargs.get(name) and name != "export"]:
        raise UnsupportedModel(f"model_kwargs: {', '.join(names)} are for a SentenceTransformer; leave them out")
    if kwargs.get("export") is False:
        raise UnsupportedModel("model_kwargs: a cross-encoder is computed from its weights; leave export=False out")


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
    """The limit that `processor_kwargs` states. Keys that say what is so anyway are taken, others are refused.

    Raises:
        ValueError: a key that is not understood, or a value that is not to be had.
    """
    if unknown := sorted(set(kwargs) - {"model_max_length", *_TOKENIZING}):
        understood = ", ".join(("model_max_length", *_TOKENIZING))
        raise ValueError(f"processor_kwargs: {', '.join(unknown)} is not understood; {understood} are")
    for name, (allowed, why) in _TOKENIZING.items():
        if kwargs.get(name) not in (None, *allowed):
            raise ValueError(f"processor_kwargs: {name}={kwargs[name]!r} is not to be had: {why}")
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
