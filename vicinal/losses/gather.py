"""Embeddings of all processes, with gradients that find their way back."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gathered(columns: list[Tensor]) -> tuple[list[Tensor], range]:
    """The columns of all processes, one under the other, and which of their rows are this process's.

    Args:
        columns: (n, d) each; n may differ from process to process. Those that want gradients get, in the backward pass,
            the sum of what all processes' losses pass to them, as a batch on one process would.

    Returns:
        The columns themselves where there is one process.
    """
    rows = len(columns[0])
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return columns, range(rows)
    counts = _counts(columns[0])
    start = sum(counts[: dist.get_rank()])
    return [_Gather.apply(column, counts) for column in columns], range(start, start + rows)


def _counts(column: Tensor) -> list[int]:
    """How many rows each process has."""
    counts = [torch.zeros(1, dtype=torch.int64, device=column.device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([len(column)], device=column.device))
    return [int(count) for count in counts]


class _Gather(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, column: Tensor, counts: list[int]) -> Tensor:
        start = sum(counts[: dist.get_rank()])
        ctx.rows = slice(start, start + len(column))
        padded = column.new_zeros(max(counts), *column.shape[1:])  # a collective takes equal shapes alone
        padded[: len(column)] = column
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[ctx.rows], None
