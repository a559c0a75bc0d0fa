"""Reads kept vectors again: memory-mapped, compared with the model that is to use them, damage named."""

from __future__ import annotations

import bisect
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DamagedVectors, SpaceMismatch, VectorsNotFound
from vicinal.store.vectors import checksums
from vicinal.store.vectors.formats import read_shard
from vicinal.store.vectors.manifest import MANIFEST, Manifest, Shard, read_manifest, read_shards, shard_path
from vicinal.store.vectors.saving import read_saved

if TYPE_CHECKING:
    from vicinal.model import Model

_OPEN = {"npy": 64, "parquet": 2}
"""Shards that are held open at once: a memory map is a file handle, a Parquet shard lies in memory."""
_AGAIN = "Encode the same texts into it again: what is whole stays, the rest is computed"


def load_vectors(
    path: str | os.PathLike[str], model: Model | None = None, verify: bool = True
) -> NDArray[Any] | ShardedVectors:
    """Vectors that `encode_to` or `save_vectors` wrote.

    Args:
        path: a folder of shards, or a .npy file.
        model: what will be compared with them: its embedding space must be theirs.
        verify: compare checksums: of a .npy file now, of a shard when it is first read. False looks at sizes alone.

    Returns:
        Of a file, a read-only memory map (n, dims). Of a folder, a `ShardedVectors`, which is indexed like an array and
        holds no more than some shards open.

    Raises:
        VectorsNotFound: there are none, not all of them yet, or, with a model, nothing says what made them.
        DamagedVectors: a file is not as it was written. SpaceMismatch: another model made them; both are named.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path, model, verify)
    if not path.exists():
        raise VectorsNotFound(f"{path} is not there")
    saved = read_saved(path, verify)
    if saved is not None and model is not None:
        check_space(path, saved.model, saved.fingerprint, saved.dims, model)
    elif model is not None:
        raise VectorsNotFound(
            f"nothing beside {path} says which model made it, so it cannot be compared with {model.name}: "
            "read it with numpy.load, or write it with save_vectors"
        )
    mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def check_space(path: Path, name: str, fingerprint: str, dims: int, model: Model) -> None:
    """Raise SpaceMismatch unless a model's vectors may be compared with these."""
    if fingerprint == model.fingerprint:
        return
    has = model.get_embedding_dimension()
    raise SpaceMismatch(
        f"{path} holds vectors of {name} (space {fingerprint[:12]}, {dims} dims); this model is {model.name} "
        f"(space {model.fingerprint[:12]}, {has} dims). Load the model that made them"
        + (f", with truncate_dim={dims} where that was set," if dims < has else "")
        + " or encode the texts again"
    )


def _folder(folder: Path, model: Model | None, verify: bool) -> ShardedVectors:
    manifest = read_manifest(folder)
    if manifest is None:
        raise VectorsNotFound(f"{folder} holds no vectors: it has no {MANIFEST}")
    if not manifest.complete:
        raise VectorsNotFound(
            f"{folder} does not have all its vectors yet: the run that writes them goes on, or was stopped. {_AGAIN}"
        )
    settings = manifest.settings
    if model is not None:
        check_space(folder, settings.model, settings.fingerprint, settings.dims, model)
    shards = read_shards(folder, manifest)
    for number, shard in enumerate(shards):
        path = shard_path(folder, number, settings.format)
        size = path.stat().st_size if path.exists() else None
        if size != shard.size:
            is_ = "is gone" if size is None else f"has {size} bytes, not {shard.size}"
            raise DamagedVectors(f"{path} {is_}. {_AGAIN}")
    return ShardedVectors(folder, manifest, shards, verify)


class ShardedVectors:
    """The vectors of a folder, read as they are asked for; indexed and sliced like a read-only (n, dims) array.

    Rows of one shard that follow each other come without a copy. `numpy.asarray` reads everything.

    Attributes:
        folder: where they are.
        manifest: how they were made.
        shape, dtype, ndim, size: as of an array.
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(self, folder: Path, manifest: Manifest, shards: Sequence[Shard], verify: bool) -> None:
        self.folder, self.manifest = folder, manifest
        self.shape = (manifest.rows, manifest.settings.dims)
        self._shards = shards
        self._starts = [0, *accumulate(shard.rows for shard in shards)]
        self._trusted = set(() if verify else range(len(shards)))
        self._open: OrderedDict[int, NDArray[np.float32]] = OrderedDict()

    @property
    def reads_in_slices(self) -> bool:
        """Whether rows anywhere are reached at little cost, so that a search may leave all others where they are."""
        return self.manifest.settings.format == "npy"

    @property
    def size(self) -> int:
        """Numbers in all."""
        return self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        """Rows by number, slice, list of numbers or mask; after a comma, dimensions."""
        if isinstance(key, tuple):
            rows, *dims = key
            found: NDArray[np.float32] = self[rows][(..., *dims)]
            return found
        if isinstance(key, (int, np.integer)):
            row = range(len(self))[key]
            number = bisect.bisect_right(self._starts, row) - 1
            vector: NDArray[np.float32] = self._shard(number)[row - self._starts[number]]
            return vector
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self._between(start, max(start, stop))
            key = np.arange(start, stop, step)
        return self._chosen(np.asarray(key))

    def shards(self) -> Iterator[NDArray[np.float32]]:
        """The (rows, dims) matrix of each shard, in order."""
        return (self._shard(number) for number in range(len(self._shards)))

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for matrix in self.shards():
            yield from matrix

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("the vectors lie in several files: an array of them is a copy")
        return self._between(0, len(self), always=True).astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        settings = self.manifest.settings
        return f"ShardedVectors({str(self.folder)!r}, shape={self.shape}, model={settings.model!r})"

    def verify(self) -> None:
        """Read every shard and compare its checksum.

        Raises:
            DamagedVectors: one is not as it was written; it is named.
        """
        for number in range(len(self._shards)):
            self._check(number)

    def _check(self, number: int) -> None:
        path = self._path(number)
        try:
            right = checksums.of_file(path) == self._shards[number].file
        except OSError as error:
            raise DamagedVectors(f"{path} cannot be read ({error}). {_AGAIN}") from error
        if not right:
            raise DamagedVectors(f"{path} is not as it was written: its checksum is another. {_AGAIN}")
        self._trusted.add(number)

    def _path(self, number: int) -> Path:
        return shard_path(self.folder, number, self.manifest.settings.format)

    def _shard(self, number: int) -> NDArray[np.float32]:
        found = self._open.get(number)
        if found is None:
            if number not in self._trusted:
                self._check(number)
            found = read_shard(self._path(number), self.manifest.settings.format)
            if found.shape != (self._shards[number].rows, self.shape[1]):
                raise DamagedVectors(f"{self._path(number)} has shape {found.shape}, which is not its own. {_AGAIN}")
            self._open[number] = found
            while len(self._open) > _OPEN[self.manifest.settings.format]:
                self._open.popitem(last=False)
        return found

    def _between(self, start: int, stop: int, always: bool = False) -> NDArray[np.float32]:
        """Rows that follow each other; a copy if it must be, or `always`."""
        first = bisect.bisect_right(self._starts, start) - 1
        if not always and first < len(self._shards) and stop <= self._starts[first + 1]:
            return self._shard(first)[start - self._starts[first] : stop - self._starts[first]]
        rows = np.empty((stop - start, self.shape[1]), np.float32)
        at = start
        while at < stop:
            base, end = self._starts[first], min(stop, self._starts[first + 1])
            rows[at - start : end - start] = self._shard(first)[at - base : end - base]
            at, first = end, first + 1
        return rows

    def _chosen(self, key: NDArray[Any]) -> NDArray[np.float32]:
        """Rows by numbers or a mask, each shard read once."""
        if key.dtype == np.bool_:
            if key.shape != (len(self),):
                raise IndexError(f"a mask of shape {key.shape} does not fit {len(self)} rows")
            key = np.flatnonzero(key)
        if key.ndim != 1 or (key.size and key.dtype.kind not in "iu"):
            raise IndexError(f"rows are chosen by a number, a slice, or a list of them, not by {key!r}")
        wanted = np.where(key < 0, key + len(self), key).astype(np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"there are {len(self)} rows; row {key[(wanted < 0) | (wanted >= len(self))][0]} is none")
        numbers = np.searchsorted(self._starts, wanted, side="right") - 1
        rows = np.empty((len(wanted), self.shape[1]), np.float32)
        for number in np.unique(numbers).tolist():
            here = numbers == number
            rows[here] = self._shard(number)[wanted[here] - self._starts[number]]
        return rows
