"""What a tokenizer makes of a column of texts, and rows of it: `{"input_ids": (n, t), "attention_mask": (n, t), ...}`.

Two layouts: padded, one row a text; and flat, as static models have them, `{"input_ids": (tokens,), "offsets": (n,)}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from vicinal.errors import InvalidData

Features: TypeAlias = dict[str, Any]


def count(features: Features) -> int:
    """How many texts there are."""
    for key in ("offsets", "attention_mask", "input_ids"):
        if key in features:
            return len(features[key])
    sizes = [len(value) for value in features.values() if isinstance(value, Tensor) and value.ndim]
    if not sizes:
        raise InvalidData(f"a column must be what the model's tokenize returns, with tensors; got {features!r}")
    return sizes[0]


def lengths(features: Features) -> list[int]:
    """The tokens of each text.

    Raises:
        InvalidData: the features do not say.
    """
    if "offsets" in features:
        ends = [*features["offsets"].tolist(), len(features["input_ids"])]
        return [end - start for start, end in pairwise(ends)]
    if "attention_mask" not in features:
        raise InvalidData(
            f"counting tokens takes an attention_mask, and the features have only {sorted(features)}: "
            "use mini_batch_size instead of mini_batch_num_tokens"
        )
    counts: list[int] = features["attention_mask"].sum(1).tolist()
    return counts


def tokens(features: Features) -> list[list[int]]:
    """The token ids of each text, without padding."""
    ids, mask = features["input_ids"], features.get("attention_mask")
    if "offsets" in features:
        return [row.tolist() for row in torch.tensor_split(ids, features["offsets"][1:].cpu())]
    return [(row if mask is None else row[mask[i].bool()]).tolist() for i, row in enumerate(ids)]


def part(features: Features, start: int, stop: int) -> Features:
    """Rows `start` to `stop`, padded no wider than the longest of them."""
    if "offsets" in features:
        return _flat(features, start, stop)
    rows = count(features)
    mask = features.get("attention_mask")
    before, after = (mask.shape[1], _width(mask[start:stop])) if mask is not None and mask.ndim == 2 else (-1, -1)
    out = {}
    for key, value in features.items():
        if not isinstance(value, Tensor) or value.ndim == 0:
            out[key] = value
        elif len(value) == rows:
            wide = value.ndim >= 2 and value.shape[1] == before
            out[key] = value[start:stop, :after] if wide else value[start:stop]
        elif value.numel() == 1:
            out[key] = value
        else:
            raise InvalidData(
                f"a batch of {rows} texts cannot be cut into mini-batches: {key!r} has shape {tuple(value.shape)}, "
                f"and only tensors of {rows} rows can be"
            )
    return out


def parts(features: Features, rows: int, tokens: int | None) -> list[tuple[int, int]]:
    """Where to cut a column.

    Args:
        rows: of a part.
        tokens: of a part, padding counted, instead of `rows`; a text that is longer has a part to itself.
    """
    total = count(features)
    if tokens is None:
        return [(start, min(start + rows, total)) for start in range(0, total, rows)]
    flat = "offsets" in features
    cuts, held, widest = [0], 0, 0
    for row, length in enumerate(lengths(features)):
        held, widest = held + length, max(widest, length)
        size = held if flat else widest * (row + 1 - cuts[-1])
        if size > tokens and row > cuts[-1]:
            cuts.append(row)
            held = widest = length
    return list(pairwise([*cuts, total]))


def joined(columns: Sequence[Features]) -> Features | None:
    """All columns as one, one under the other, padded at their ends; None where they are not alike or not padded."""
    first = columns[0]
    whole: Features = {}
    if "attention_mask" not in first or any(column.keys() != first.keys() for column in columns):
        return None
    width = max(column["attention_mask"].shape[1] for column in columns)
    for key, value in first.items():
        values = [column[key] for column in columns]
        if not isinstance(value, Tensor) or value.numel() == 1:
            if any(bool(other != value) for other in values):
                return None
            whole[key] = value
        elif all(each.shape == column["attention_mask"].shape for each, column in zip(values, columns, strict=True)):
            whole[key] = torch.cat([F.pad(each, (0, width - each.shape[1])) for each in values])
        else:
            return None
    return whole


def _width(mask: Tensor) -> int:
    """One past the last column that is not padding in every row; padding in front stays, since positions count it."""
    used = mask.bool().any(0).nonzero()
    return int(used[-1]) + 1 if len(used) else mask.shape[1]


def _flat(features: Features, start: int, stop: int) -> Features:
    ends = torch.cat([features["offsets"], features["offsets"].new_tensor([len(features["input_ids"])])])
    first, last = int(ends[start]), int(ends[stop])
    return {
        **features,
        "input_ids": features["input_ids"][first:last],
        "offsets": features["offsets"][start:stop] - first,
    }
