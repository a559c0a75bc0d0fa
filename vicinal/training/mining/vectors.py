"""Vectors of queries and documents, kept in files from one call to the next where that is wished."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import CacheError


@dataclass(frozen=True)
class Side:
    """How one side is encoded."""

    kind: str  # "query" or "document"
    texts: Sequence[str]
    prompt_name: str | None
    prompt: str | None


def embed(
    model: Any,
    sides: Sequence[Side],
    batch_size: int,
    processes: Sequence[str] | bool,
    folder: str | os.PathLike[str] | None,
    progress: bool,
) -> list[NDArray[np.float32]]:
    """Vectors of length 1 of each side's texts, (n, d).

    Args:
        model: what has `encode_query` and `encode_document`; with a folder, `fingerprint` too.
        processes: True for a pool of the model's own choice, or its devices.
        folder: where vectors are looked up and kept.

    Raises:
        ValueError: a folder, and a model that has no fingerprint. CacheError: a kept file is damaged.
    """
    files = [None if folder is None else _file(Path(folder), model, side) for side in sides]
    found = [None if file is None else _kept(file, len(side.texts)) for file, side in zip(files, sides, strict=True)]
    with _pool(model, processes if any(vectors is None for vectors in found) else False) as pool:
        for i, (side, file) in enumerate(zip(sides, files, strict=True)):
            if found[i] is not None:
                continue
            encode = model.encode_query if side.kind == "query" else model.encode_document
            vectors = encode(
                list(side.texts),
                prompt_name=side.prompt_name,
                prompt=side.prompt,
                batch_size=batch_size,
                show_progress_bar=progress,
                convert_to_numpy=True,
                normalize_embeddings=True,
                **({} if pool is None else {"pool": pool}),
            )
            found[i] = np.asarray(vectors)
            if file is not None:
                _keep(file, vectors)
    return [vectors for vectors in found if vectors is not None]


@contextmanager
def _pool(model: Any, processes: Sequence[str] | bool) -> Iterator[Any]:
    if not processes:
        yield None
        return
    pool = model.start_multi_process_pool(None if isinstance(processes, bool) else list(processes))
    try:
        yield pool
    finally:
        model.stop_multi_process_pool(pool)


def _file(folder: Path, model: Any, side: Side) -> Path:
    """Named after everything that decides what the vectors are."""
    space = getattr(model, "fingerprint", None)
    if space is None:
        raise ValueError(
            f"cache_folder needs to know which model made the vectors, and {type(model).__name__} has no fingerprint; "
            "leave cache_folder out, or load the model with vicinal.SentenceTransformer"
        )
    prompts = sorted(model.prompts.items()), model.default_prompt_name, side.prompt_name, side.prompt
    told = repr((space, str(model.dtype), model.get_embedding_dimension(), side.kind, prompts, list(side.texts)))
    digest = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
    return folder / f"{'query' if side.kind == 'query' else 'corpus'}_embeddings_{digest}.npy"


def _kept(file: Path, rows: int) -> NDArray[np.float32] | None:
    """The vectors of a file, read from it as they are needed; None where there is none."""
    if not file.exists():
        return None
    try:
        vectors: NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CacheError(f"{file} cannot be read ({error}); remove it, and the vectors are computed again") from error
    if vectors.ndim != 2 or len(vectors) != rows:
        raise CacheError(f"{file} holds an array of shape {vectors.shape}, not {rows} vectors; remove it")
    return vectors


def _keep(file: Path, vectors: NDArray[np.float32]) -> None:
    """Beside, then in its place: a file that is there is whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{uuid.uuid4().hex}.npy")
    try:
        np.save(new, vectors)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
