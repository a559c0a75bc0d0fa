"""Vectors of rows into a folder of shards, by a run that may be interrupted and started again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicinal.cli import terminal
from vicinal.cli.options import Role
from vicinal.cli.rows import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vicinal.sentence_transformer import SentenceTransformer
    from vicinal.store.vectors.encoding import Encoding
    from vicinal.store.vectors.reading import ShardedVectors


class ShardFormat(str, Enum):
    """Of the files in the folder."""

    npy = "npy"
    parquet = "parquet"


def encoding(
    model: SentenceTransformer,
    role: Role | None,
    format: ShardFormat,
    *,
    prompt_name: str | None,
    prompt: str | None,
    **wishes: Any,
) -> Encoding:
    """How the shards are computed, as the model's `encode`, `encode_query` or `encode_document` would."""
    from vicinal.store.vectors.encoding import SHARD_ROWS, Encoding

    if role is not None and prompt_name is None and prompt is None:
        prompt_name = model._prompt_for(role.value)
    return Encoding(
        model, prompt_name, prompt, role and role.value, truncate_dim=None, batch_size=None, format=format.value,
        shard_rows=SHARD_ROWS, **wishes,
    )  # fmt: skip


def write(
    folder: Path, rows: Iterable[Row], total: Callable[[], int | None], encoding: Encoding, source: Any
) -> ShardedVectors:
    """Fill a folder; messages name the rows' places, and a terminal sees progress.

    Args:
        total: how many rows there are, for the progress.
        source: what they are, for the manifest.
    """
    from vicinal.store.vectors.reading import load_vectors
    from vicinal.store.vectors.writing import write_vectors

    places: deque[str] = deque(maxlen=encoding.settings.shard_rows)  # of the shard that is computed
    drawn = 0

    def texts() -> Iterator[str]:
        nonlocal drawn
        for row in rows:
            places.append(row.place)
            drawn += 1
            yield row.text

    def compute(piece: list[Any], before: int) -> NDArray[np.float32]:
        first = before - (drawn - len(places))
        with terminal.naming([places[first + i] for i in range(len(piece))]):
            return encoding(piece, 0)

    with terminal.progress(total) as done:
        write_vectors(folder, texts(), encoding.settings, compute, source, done)
    return load_vectors(folder)  # type: ignore[return-value]  # a folder
