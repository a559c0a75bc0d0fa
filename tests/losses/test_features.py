"""Columns cut into parts: every row is in one part, no part wider than it must be, none larger than allowed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vicinal.errors import InvalidData
from vicinal.losses.features import count, lengths, part, parts, tokens

ROWS = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def padded(widths: list[int], left: bool = False) -> dict[str, Any]:
    longest = max(widths)
    mask = torch.zeros(len(widths), longest, dtype=torch.int64)
    for row, width in enumerate(widths):
        mask[row, longest - width :] = 1 if left else mask[row, longest - width :]
        if not left:
            mask[row, :width] = 1
    ids = (torch.arange(mask.numel()).reshape(mask.shape) + 1) * mask
    return {"input_ids": ids, "attention_mask": mask, "prompt_length": 3, "modality": "text"}


def flat(widths: list[int]) -> dict[str, Any]:
    ends = torch.tensor([0, *widths]).cumsum(0)
    return {"input_ids": torch.arange(int(ends[-1])), "offsets": ends[:-1]}


@pytest.mark.parametrize("layout", [padded, flat, lambda widths: padded(widths, left=True)])
@given(ROWS, st.integers(1, 14), st.one_of(st.none(), st.integers(1, 30)))
def test_parts_are_the_whole(layout: Any, widths: list[int], rows: int, budget: int | None) -> None:
    features = layout(widths)
    assert count(features) == len(widths)
    assert lengths(features) == widths
    cuts = parts(features, rows, budget)
    assert [start for start, _ in cuts] == [0, *(stop for _, stop in cuts[:-1])]
    assert cuts[-1][1] == len(widths)
    pieces = [part(features, *cut) for cut in cuts]
    assert [row for piece in pieces for row in tokens(piece)] == tokens(features)
    for (start, stop), piece in zip(cuts, pieces, strict=True):
        assert stop - start > 0
        if budget is None:
            assert stop - start <= rows
        elif layout is not flat and "offsets" not in features and layout is padded:
            assert stop - start == 1 or piece["input_ids"].numel() <= budget
            assert piece["input_ids"].shape[1] == max(widths[start:stop])
        elif "offsets" in features:
            assert stop - start == 1 or len(piece["input_ids"]) <= budget


@given(ROWS, st.integers(1, 30))
def test_parts_by_tokens_take_as_many_rows_as_fit(widths: list[int], budget: int) -> None:
    cuts = parts(padded(widths), 1, budget)
    for (start, stop), _ in itertools.pairwise(cuts):
        assert max(widths[start : stop + 1]) * (stop + 1 - start) > budget


def test_what_belongs_to_the_batch_is_kept_and_wider_tensors_are_cut_alike() -> None:
    features = padded([3, 5, 2]) | {
        "token_type_ids": torch.ones(3, 5),
        "weights": torch.rand(3),
        "states": torch.rand(3, 5, 7),
        "scale": torch.tensor(2.0),
        "one": torch.tensor([4]),
    }
    piece = part(features, 2, 3)
    assert {key: tuple(value.shape) for key, value in piece.items() if isinstance(value, torch.Tensor)} == {
        "input_ids": (1, 2),
        "attention_mask": (1, 2),
        "token_type_ids": (1, 2),
        "weights": (1,),
        "states": (1, 2, 7),
        "scale": (),
        "one": (1,),
    }
    assert piece["prompt_length"] == 3
    assert features["input_ids"].shape == (3, 5)


def test_what_cannot_be_cut() -> None:
    with pytest.raises(InvalidData, match=r"a batch of 3 texts cannot be cut .* 'patches' has shape \(8, 2\)"):
        part(padded([3, 5, 2]) | {"patches": torch.rand(8, 2)}, 0, 1)
    with pytest.raises(InvalidData, match=r"counting tokens takes an attention_mask, .* use mini_batch_size instead"):
        parts({"input_ids": torch.ones(2, 3)}, 1, 10)
    with pytest.raises(InvalidData, match="must be what the model's tokenize returns"):
        count({"text": ["a"]})


def test_a_row_without_tokens_keeps_a_column() -> None:
    features = {"input_ids": torch.zeros(2, 3), "attention_mask": torch.zeros(2, 3)}
    assert part(features, 0, 1)["input_ids"].shape == (1, 3)
