"""One matrix of vectors in a .npy file, and beside it what made them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.errors import DamagedVectors, DimensionMismatch
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
        size, file: bytes and checksum of the .npy file.
    """

    model: str
    fingerprint: str
    dims: int
    prompt: str | None
    dtype: str
    size: int
    file: str


def save_vectors(path: str | os.PathLike[str], vectors: Any, model: Model, prompt: str | None = None) -> None:
    """Write vectors to a .npy file, and beside it (NAME.npy.json) what made them, which `load_vectors` compares.

    Args:
        path: must end in .npy; what is there is replaced.
        vectors: (n, dims) array of `model`'s; or quantized ones, (n, dims) integers or (n, dims / 8) bytes of bits.
        model: what made them.
        prompt: that stood before every text, for whoever reads the file.

    Raises:
        DimensionMismatch: they are not of the model's dimensions. ValueError: the path ends otherwise.
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
    beside = _beside(path)
    if beside.exists():  # it must not speak for another matrix, whenever this stops
        beside.unlink()
        sync_folder(beside.parent)
    with atomic(path) as file:
        measured = Measured(file)
        np.lib.format.write_array(measured, array, allow_pickle=False)
    saved = Saved(model.name, model.fingerprint, dims, prompt, model.dtype, measured.bytes, measured.checksum)
    write_json(beside, {"vicinal vectors": VERSION, **asdict(saved)})


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
