"""Writes the vectors of a stream of texts shard by shard, and goes on where a killed run was."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import InvalidInput, SourceChanged, SpaceMismatch
from vicinal.store.files import LOCK, atomic, leftovers, locked
from vicinal.store.vectors import checksums
from vicinal.store.vectors.checksums import Measured
from vicinal.store.vectors.formats import FORMATS, write_shard
from vicinal.store.vectors.manifest import (
    MANIFEST,
    SHARDS,
    Manifest,
    Settings,
    Shard,
    Table,
    read_manifest,
    shard_path,
)
from vicinal.text.tokens import Text

logger = logging.getLogger("vicinal")

_CHARACTERS = 1 << 26
"""Of the texts of a shard, which are held at once: one that has more ends early."""

Compute: TypeAlias = Callable[[list[Text], int], NDArray[np.float32]]
"""Texts, and the number of the first in the stream, to their (n, dims) vectors."""


def write_vectors(
    folder: Path,
    texts: Iterator[Text],
    settings: Settings,
    compute: Compute,
    source: Any = None,
    done: Callable[[int], object] = lambda texts: None,
    at_once: int = 1024,
) -> int:
    """Write the vectors of all texts into a folder; what is there already is compared and not computed again.

    Args:
        folder: new, empty, or begun with the same texts and settings.
        source: what the texts are, for whoever reads the manifest; anything that JSON can hold.
        done: is told how many texts more are done.
        at_once: texts that are computed at once, from the beginning of their shard.

    Returns:
        How many shards were computed.

    Raises:
        FolderBusy: another process writes into it.
        SourceChanged, SpaceMismatch: it was begun with other texts, settings or another model.
        DamagedVectors: its manifest is. FileExistsError: it holds something else.
    """
    _check_source(source)
    folder.mkdir(parents=True, exist_ok=True)
    if read_manifest(folder) is None:
        _check_free(folder)
    with locked(folder):
        for path in list(leftovers(folder)):
            path.unlink()
        manifest = _manifest(folder, settings, source)
        table = Table(folder)
        rows = computed = number = 0
        while shard := _drawn(texts, settings.shard_rows):
            if settings.format == "parquet" and not isinstance(shard[0], str):
                raise InvalidInput('shards in Parquet hold single texts, not pairs: say format="npy"')
            if not _finished(folder, manifest, table, number, shard, rows):
                if manifest.complete:  # readers must not take it for whole while it grows or is mended
                    manifest = manifest.begun()
                    manifest.write(folder)
                _write(
                    folder,
                    manifest,
                    table,
                    number,
                    shard,
                    _computed(shard, rows, settings.dims, compute, done, at_once),
                )
                computed += 1
            else:
                done(len(shard))
            rows, number = rows + len(shard), number + 1
        if number < len(table.shards):
            raise SourceChanged(
                f"{folder} has vectors of {table.rows} texts, but there are only {rows} now. Give the "
                "texts that it was begun with, or take another folder"
            )
        _remove_strangers(folder, settings, number)
        if not manifest.complete or manifest.table != table.checksum:
            manifest.finished(rows, number, table.checksum).write(folder)
    return computed


def _check_source(source: Any) -> None:
    try:
        json.dumps(source)
    except (TypeError, ValueError) as error:
        raise TypeError(f"source must be something that JSON can hold: {error}") from None


def _check_free(folder: Path) -> None:
    ours = {LOCK, *(path.name for path in leftovers(folder))}
    others = sorted(path.name for path in folder.iterdir() if path.name not in ours)
    if others:
        raise FileExistsError(
            errno.EEXIST, f"the folder holds {others[0]!r} and no {MANIFEST}: take an empty or a new one", str(folder)
        )


def _manifest(folder: Path, settings: Settings, source: Any) -> Manifest:
    """The folder's own, which must fit; else a new one."""
    found = read_manifest(folder)
    if found is None:
        found = Manifest(settings, source)
        found.write(folder)
        return found
    theirs = found.settings
    if theirs.fingerprint != settings.fingerprint:
        raise SpaceMismatch(
            f"{folder} was begun with {described(theirs)}; this model is {described(settings)}. "
            "Go on with the model that it was begun with, or take another folder"
        )
    if differences := theirs.differences(settings):
        raise SourceChanged(
            f"{folder} was begun with other settings; these have {'; '.join(differences)}. "
            "Go on as it was begun, or take another folder"
        )
    return found


def described(settings: Settings) -> str:
    """A model and its space, for an error."""
    return f"{settings.model} (space {settings.fingerprint[:12]}, {settings.dims} dims)"


def _drawn(texts: Iterator[Text], most: int) -> list[Text]:
    """The texts of the next shard; it depends on nothing but the texts where it ends."""
    shard: list[Text] = []
    characters = 0
    for text in texts:
        shard.append(text)
        characters += len(text) if isinstance(text, str) else len(text[0]) + len(text[1])
        if len(shard) == most or characters >= _CHARACTERS:
            break
    return shard


def _finished(folder: Path, manifest: Manifest, table: Table, number: int, texts: Sequence[Text], start: int) -> bool:
    """Whether a shard is there as it must be.

    Raises:
        SourceChanged: it was made from other texts.
    """
    if number == len(table.shards):
        return False
    shard, last = table.shards[number], number == len(table.shards) - 1
    if checksums.of_texts(texts[: shard.rows]) != shard.texts or (len(texts) > shard.rows and not last):
        raise SourceChanged(
            f"rows {start} to {start + len(texts) - 1} are not the texts that {folder} was begun with "
            f"(shard {number}). Give the same texts in the same order, or take another folder"
        )
    if len(texts) > shard.rows:  # texts were added behind the last
        return False
    path = shard_path(folder, number, manifest.settings.format)
    what = "gone" if not path.exists() else "damaged" if checksums.of_file(path) != shard.file else ""
    if what:
        logger.warning("%s is %s, and computed again", path, what)
    return not what


def _computed(
    texts: list[Text], start: int, dims: int, compute: Compute, done: Callable[[int], object], at_once: int
) -> NDArray[np.float32]:
    vectors = np.empty((len(texts), dims), np.float32)
    for at in range(0, len(texts), at_once):
        piece = texts[at : at + at_once]
        vectors[at : at + len(piece)] = compute(piece, start + at)
        done(len(piece))
    return vectors


def _write(
    folder: Path, manifest: Manifest, table: Table, number: int, texts: list[Text], vectors: NDArray[np.float32]
) -> None:
    """A shard's file, then its line in the table."""
    settings = manifest.settings
    facts = {"vicinal.model": settings.model, "vicinal.fingerprint": settings.fingerprint}
    with atomic(shard_path(folder, number, settings.format)) as file:
        measured = Measured(file)
        write_shard(measured, settings.format, texts, vectors, facts)  # type: ignore[arg-type]
    table.keep(number, Shard(len(texts), checksums.of_texts(texts), measured.bytes, measured.checksum))


def _remove_strangers(folder: Path, settings: Settings, shards: int) -> None:
    """Shards of an earlier run that had got further, and was not noted."""
    known = {shard_path(folder, number, settings.format).name for number in range(shards)}
    known |= {MANIFEST, SHARDS, LOCK}
    for format in FORMATS:
        for path in folder.glob(f"[0-9]*.{format}"):
            if path.name not in known and path.stem.isdigit():
                path.unlink()
