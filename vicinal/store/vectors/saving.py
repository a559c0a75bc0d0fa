"""One matrix of vectors in a .npy file, and beside it what made them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DamagedVectors, DimensionMismatch, VectorsNotFound
from vicinal.store.files import atomic, sync_folder, write_json
from vicinal.store.vectors import checksums
from vicinal.store.vectors.checksums import Measured

if TYPE_CHECKING:
    from vicinal.model import Model

VERSION = 1


@dataclass(frozen=True)
class Saved:
    """What stands beside a .npy file, as NAME.npy.json.

    Attributes:
        model, fingerprint, dims: of the model that made the vectors.
        prompt: that stood before every text, None where that was not said.
        dtype: of the computation.
        ranges: the least and greatest value of each dimension, by which integers were made, None where none are.
        size, file: bytes and checksum of the .npy file.
    """

    model: str
    fingerprint: str
    dims: int
    prompt: str | None
    dtype: str
    ranges: list[list[float]] | None
    size: int
    file: str


def save_vectors(
    path: str | os.PathLike[str], vectors: Any, model: Model, prompt: str | None = None, ranges: Any = None
) -> None:
    """Write vectors to a .npy file, and beside it (NAME.npy.json) what made them, which `load_vectors` compares.

    Args:
        path: must end in .npy; what is there is replaced.
        vectors: (n, dims) array of `model`'s; or quantized ones, (n, dims) integers or (n, dims / 8) bytes of bits.
        model: what made them.
        prompt: that stood before every text, for whoever reads the file.
        ranges: (2, dims) that int8 or uint8 vectors were quantized with; `load_ranges` gives them back.

    Raises:
        DimensionMismatch: they, or the ranges, are not of the model's dimensions. ValueError: the path ends otherwise.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"{path} must end in .npy")
    array = np.asarray(vectors)
    dims = model.get_embedding_dimension()
    widths = {dims, -(-dims // 8)} if array.dtype in (np.int8, np.uint8) else {dims}
    if array.ndim != 2 or array.shape[1] not in widths or array.dtype.kind not in "fiu":
        raise DimensionMismatch(
            f"vectors must be rows of {dims} numbers, as {model.name} makes them, not {array.dtype} of shape "
            f"{array.shape}"
        )
    limits = None if ranges is None else np.asarray(ranges, np.float32)
    if limits is not None and limits.shape != (2, dims):
        raise DimensionMismatch(f"ranges must be (2, {dims}), least and greatest values, not of shape {limits.shape}")
    beside = _beside(path)
    if beside.exists():  # it must not speak for another matrix, whenever this stops
        beside.unlink()
        sync_folder(beside.parent)
    with atomic(path) as file:
        measured = Measured(file)
        np.lib.format.write_array(measured, array, allow_pickle=False)
    kept = None if limits is None else limits.tolist()
    saved = Saved(model.name, model.fingerprint, dims, prompt, model.dtype, kept, measured.bytes, measured.checksum)
    write_json(beside, {"vicinal vectors": VERSION, **asdict(saved)})


def load_ranges(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """The (2, dims) ranges that `save_vectors` kept beside a .npy file of int8 or uint8 vectors.

    Raises:
        VectorsNotFound: none were kept. DamagedVectors: what stands beside the file is not as it was written.
    """
    saved = read_saved(Path(path), verify=False)
    if saved is None or saved.ranges is None:
        raise VectorsNotFound(f"no ranges were kept beside {path}: save_vectors(..., ranges=...) keeps them")
    return np.array(saved.ranges, np.float32)


def read_saved(path: Path, verify: bool) -> Saved | None:
    """What stands beside a .npy file, None where nothing does.

    Args:
        verify: compare the file's checksum, not only its size.

    Raises:
        DamagedVectors: the file, or what stands beside it, is not as it was written.
    """
    beside = _beside(path)
    if not beside.exists():
        return None
    try:
        found = json.loads(beside.read_bytes())
        if found.pop("vicinal vectors") != VERSION:
            raise ValueError("it has another layout")
        saved = Saved(**found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedVectors(f"{beside} does not describe vectors, or is damaged ({error})") from error
    if (size := path.stat().st_size) != saved.size:
        raise DamagedVectors(f"{path} has {size} bytes, not {saved.size}: it is not as it was written")
    if verify and checksums.of_file(path) != saved.file:
        raise DamagedVectors(f"{path} is not as it was written: its checksum is another")
    return saved


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
