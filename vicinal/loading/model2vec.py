"""model2vec's own files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vicinal.errors import DamagedModel
from vicinal.loading.weights import Tensor


def renamed(tensors: dict[str, Tensor], at: str, found: Mapping[str, Tensor]) -> Tensor:
    """Its names for a table: `embeddings`, the row of each token in `mapping`, its weight in `weights`.

    Args:
        tensors: of the model, where those in the folder `at` get the names that are used here.
        found: those of the folder.

    Returns:
        The table.
    """
    for name in ("embeddings", "mapping", "weights"):  # others stay, to be found unread
        tensors.pop(f"{at}/{name}", None)
    table = found["embeddings"]
    if (mapping := found.get("mapping")) is not None:
        rows = mapping.array
        if (
            rows.ndim != 1
            or table.array.ndim != 2
            or rows.dtype.kind not in "iu"
            or (rows.size and not 0 <= rows.min() <= rows.max() < len(table.array))
        ):
            raise DamagedModel(f"{mapping.file}: tensor mapping must give a row of embeddings for every token")
        table = replace(table, array=table.array[rows])
    if (weights := found.get("weights")) is not None:
        tensors[f"{at}/embedding.scale"] = replace(weights, array=weights.array.reshape(-1, 1))
    tensors[f"{at}/embedding.weight"] = table
    return table
