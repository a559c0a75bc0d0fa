"""Examples as they are, and grouped by label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset, IterableDataset

from vicinal.errors import InvalidData
from vicinal.training.readers import InputExample


class SentencesDataset(Dataset):  # type: ignore[misc]  # torch is not typed here
    """A list of examples as a torch data set; a `DataLoader` takes the list itself too.

    Args:
        examples: `InputExample`s.
        model: not used; older programs give it.
    """

    def __init__(self, examples: Sequence[InputExample], model: Any = None) -> None:
        self.examples = examples

    def __getitem__(self, item: int) -> InputExample:
        return self.examples[item]

    def __len__(self) -> int:
        return len(self.examples)


class SentenceLabelDataset(IterableDataset):  # type: ignore[misc]
    """Examples in runs of one label, for losses that find their triplets in the batch.

    Labels take turns in random order, each with `samples_per_label` different examples drawn at random, until as many
    examples were given as there are. `numpy.random.seed` decides the order.

    Args:
        examples: `InputExample`s with a label. A label of fewer than `samples_per_label` examples is left out.
        samples_per_label: in a run; the batch size should be a multiple of it.
        with_replacement: accepted; one draw never holds an example twice, and each starts from all of them.

    Raises:
        InvalidData: no label has enough examples.
    """

    def __init__(
        self, examples: Sequence[InputExample], samples_per_label: int = 2, with_replacement: bool = False
    ) -> None:
        super().__init__()
        if samples_per_label < 1:
            raise ValueError(f"samples_per_label must be at least 1, not {samples_per_label}")
        self.samples_per_label = samples_per_label
        self.with_replacement = with_replacement
        by_label: dict[Any, list[InputExample]] = {}
        for example in examples:
            by_label.setdefault(example.label, []).append(example)
        self.groups = [group for group in by_label.values() if len(group) >= samples_per_label]
        if not self.groups:
            raise InvalidData(
                f"no label of these {len(examples)} examples has {samples_per_label} of them "
                f"({len(by_label)} labels); SentenceLabelDataset needs that many of a label"
            )
        self.label_range = np.arange(len(self.groups))
        np.random.shuffle(self.label_range)

    def __iter__(self) -> Iterator[InputExample]:
        given = turn = 0
        while given < len(self):
            group = self.groups[self.label_range[turn]]
            for place in np.random.choice(np.arange(len(group)), self.samples_per_label, replace=False):
                yield group[place]
            given += self.samples_per_label
            turn = (turn + 1) % len(self.groups)
            if turn == 0:
                np.random.shuffle(self.label_range)

    def __len__(self) -> int:
        return sum(map(len, self.groups))
