"""Batch samplers: which rows of a data set, or of several, make each batch of an epoch.

Seed and epoch decide everything: the same two give the same batches, wherever training was interrupted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import accumulate, count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, ConcatDataset, Sampler

from vicinal.errors import InvalidData
from vicinal.training.batching import digest, distinct_batches, paired_rows, paired_stream

_NO_TEXTS = ("dataset_name",)
"""Columns that are the same in every row."""


class _Named(str, Enum):
    @classmethod
    def _missing_(cls, value: object) -> Any:
        raise ValueError(f"{value!r} is none of {[member.value for member in cls]}")


class BatchSamplers(_Named):
    """How the rows of one data set are put into batches."""

    BATCH_SAMPLER = "batch_sampler"
    """In random order: `DefaultBatchSampler`."""
    NO_DUPLICATES = "no_duplicates"
    """No text twice in a batch, for losses with in-batch negatives: `NoDuplicatesBatchSampler`."""
    NO_DUPLICATES_HASHED = "no_duplicates_hashed"
    """The same, hashed ahead."""
    GROUP_BY_LABEL = "group_by_label"
    """Two rows or more of each label in a batch, for losses that make triplets: `GroupByLabelBatchSampler`."""


class MultiDatasetBatchSamplers(_Named):
    """How the batches of several data sets follow each other."""

    ROUND_ROBIN = "round_robin"
    """In turn, until one is through: `RoundRobinBatchSampler`."""
    PROPORTIONAL = "proportional"
    """At random, by size, until all are through: `ProportionalBatchSampler`."""


class SetEpochMixin:
    """Remembers the epoch, which a trainer tells."""

    epoch: int = 0
    generator: torch.Generator | None
    seed: int | None

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of this epoch."""
        self.epoch = epoch

    def _seeded(self) -> torch.Generator | None:
        """The generator as it begins an epoch: the caller's, else one of our own; without a seed as it is."""
        if self.seed is None:
            return self.generator
        return (self.generator or torch.Generator()).manual_seed(self.seed + self.epoch)

    def _shuffled(self, n: int, generator: torch.Generator | None) -> list[int]:
        order: list[int] = torch.randperm(n, generator=generator).tolist()
        return order


class DefaultBatchSampler(SetEpochMixin, BatchSampler):  # type: ignore[misc]  # torch is not typed here
    """Rows in random order. Derive from it for a sampler of your own.

    Args:
        dataset: what has a length; or a torch `Sampler`, whose order is taken.
        batch_size: rows in a batch.
        drop_last: leave out a last batch that is not full.
        valid_label_columns: names that a column of labels may have; the first that is there counts.
        generator: to draw from; None for one of its own.
        seed: of an epoch, to which the epoch's number is added. None leaves the generator as it is.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = 0,
    ) -> None:
        super().__init__(dataset, batch_size=batch_size, drop_last=drop_last)
        self.dataset = dataset
        self.valid_label_columns = list(valid_label_columns or ())
        self.generator = generator
        self.seed = seed

    def __iter__(self) -> Iterator[list[int]]:
        generator = self._seeded()
        if isinstance(self.dataset, Sampler):
            yield from super().__iter__()
            return
        rows = self._shuffled(len(self.dataset), generator)
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch


class GroupByLabelBatchSampler(DefaultBatchSampler):
    """Batches with two or more labels, and two rows or more of each.

    Labels take turns with two rows each, so that a batch has as many labels as it can. A label of one row is left out,
    and of the largest one what goes beyond the second largest. Arguments as in `DefaultBatchSampler`; `batch_size` must
    be even and 4 or more.

    Raises:
        ValueError: another batch size. InvalidData: no column of labels, or fewer than two labels with two rows.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = 0,
    ) -> None:
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        if batch_size < 4 or batch_size % 2:
            raise ValueError(f"group_by_label needs an even batch size of 4 or more, not {batch_size}")
        column = next((name for name in self.valid_label_columns if name in dataset.column_names), None)
        if column is None:
            raise InvalidData(
                f"group_by_label needs a column of labels, one of {self.valid_label_columns}; "
                f"the data set has {', '.join(dataset.column_names)}"
            )
        rows: dict[Any, list[int]] = {}
        for row, label in enumerate(dataset[column]):
            rows.setdefault(label, []).append(row)
        self.groups = {label: members for label, members in rows.items() if len(members) >= 2}
        if len(self.groups) < 2:
            raise InvalidData(
                f"group_by_label needs two labels with two rows or more each; of {len(rows)} labels in the column "
                f"{column!r} only {len(self.groups)} has so many"
            )

    def __iter__(self) -> Iterator[list[int]]:
        generator = self._seeded()
        for batch in paired_stream(self.groups, self.batch_size, lambda n: self._shuffled(n, generator)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        full, rest = divmod(paired_rows(self.groups), self.batch_size)
        return int(full + (rest >= 4 and not self.drop_last))


class NoDuplicatesBatchSampler(DefaultBatchSampler):
    """Batches in which no value comes twice, in whatever columns it stands.

    Rows come in random order; one that has a value of its batch waits for a later batch. Every row comes once an epoch;
    with `drop_last` batches that cannot be filled are left out, and `len` says exactly how many are left. Values are
    compared by 64 bits of their text, which are computed once.

    Args:
        dataset: a `datasets.Dataset`. Columns of labels (`valid_label_columns`) may repeat.
        precompute_hashes: accepted; values are hashed ahead in any case.
        precompute_num_proc: processes that hash; None for this one.
        precompute_batch_size: rows to read at a time.
        batch_size, drop_last, generator, seed: as in `DefaultBatchSampler`.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = 0,
        precompute_hashes: bool = False,
        precompute_num_proc: int | None = None,
        precompute_batch_size: int = 1000,
    ) -> None:
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.precompute_hashes = precompute_hashes
        self.precompute_num_proc, self.precompute_batch_size = precompute_num_proc, precompute_batch_size
        self._hashes: NDArray[np.int64] | None = None
        self._planned: tuple[int, array[int], array[int]] | None = None

    def __iter__(self) -> Iterator[list[int]]:
        rows, ends = self._plan()
        if self.seed is None:
            self._planned = None  # the generator goes on: no iteration is like the one before
        for start, end in zip([0, *ends], ends, strict=False):
            yield rows[start:end].tolist()

    def __len__(self) -> int:
        return len(self._plan()[1])

    def _plan(self) -> tuple[array[int], array[int]]:
        """The rows of all batches of this epoch, and where each batch ends."""
        if self._planned is None or self._planned[0] != self.epoch:
            hashes = self._hashed()
            rows, ends = array("q"), array("q")
            order = self._shuffled(len(hashes), self._seeded())
            for batch in distinct_batches(order, lambda row: set(hashes[row].tolist()), self.batch_size):
                if len(batch) == self.batch_size or not self.drop_last:
                    rows.extend(batch)
                    ends.append(len(rows))
            self._planned = (self.epoch, rows, ends)
        return self._planned[1:]

    def _hashed(self) -> NDArray[np.int64]:
        """Of every row the hashes of its values, (rows, columns)."""
        if self._hashes is None:
            omitted = {*self.valid_label_columns, *_NO_TEXTS}
            options = {"batch_size": self.precompute_batch_size}
            data = self.dataset
            if self.precompute_num_proc is not None and self.precompute_num_proc > 1:
                data = data.map(
                    hash_rows, batched=True, num_proc=self.precompute_num_proc, remove_columns=data.column_names,
                    fn_kwargs={"omitted": omitted}, desc="hashing values", **options,
                )  # fmt: skip
                parts = [batch["hashes"] for batch in data.with_format("numpy").iter(**options)]
            else:
                parts = [hash_rows(batch, omitted)["hashes"] for batch in data.iter(**options)]
            found = [np.asarray(part, np.int64) for part in parts]
            self._hashes = np.concatenate(found) if found else np.empty((0, 0), np.int64)
        return self._hashes


def hash_rows(batch: Any, omitted: set[str]) -> dict[str, list[list[int]]]:
    """The hashes of each row's values, but for the omitted columns."""
    columns = [[digest(value) for value in column] for name, column in batch.items() if name not in omitted]
    if not columns:  # nothing can come twice
        return {"hashes": [[] for _ in next(iter(batch.values()))]}
    return {"hashes": [list(row) for row in zip(*columns, strict=True)]}


class SteadyBatchSampler(SetEpochMixin, BatchSampler):  # type: ignore[misc]
    """As many batches in every epoch as in the first: a `transformers.Trainer` counts them once, and finds the place
    where a killed run stopped by that count. Of a longer epoch the last batches are left out, for a shorter one its
    first come again.

    Args:
        sampler: whose batches they are.
        dataset: of rows, told the epoch too where it takes it.
        batch_size, drop_last: what the sampler was made with.
    """

    def __init__(self, sampler: Any, dataset: Any, batch_size: int, drop_last: bool) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.dataset = dataset
        self._count: int | None = None

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of this epoch, for sampler and data."""
        super().set_epoch(epoch)
        for told in (self.sampler, self.dataset):
            if hasattr(told, "set_epoch"):
                told.set_epoch(epoch)

    def __len__(self) -> int:
        if self._count is None:
            now = self.epoch
            self.set_epoch(0)
            self._count = len(self.sampler)
            self.set_epoch(now)
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        left = len(self)
        while left:
            empty = True
            for batch in self.sampler:
                empty = False
                yield batch
                left -= 1
                if not left:
                    break
            if empty:
                return


def batches_of(kind: Any, dataset: Any, batch_size: int, drop_last: bool, **options: Any) -> Any:
    """The sampler that a `BatchSamplers`, or a class or function, stands for; options as in `DefaultBatchSampler`."""
    if not isinstance(kind, BatchSamplers):
        return kind(dataset, batch_size=batch_size, drop_last=drop_last, **options)
    if kind is BatchSamplers.NO_DUPLICATES_HASHED:
        return NoDuplicatesBatchSampler(dataset, batch_size, drop_last, precompute_hashes=True, **options)
    known = {
        BatchSamplers.BATCH_SAMPLER: DefaultBatchSampler,
        BatchSamplers.NO_DUPLICATES: NoDuplicatesBatchSampler,
        BatchSamplers.GROUP_BY_LABEL: GroupByLabelBatchSampler,
    }
    return known[kind](dataset, batch_size, drop_last, **options)


class MultiDatasetDefaultBatchSampler(SetEpochMixin, BatchSampler, ABC):  # type: ignore[misc]
    """Batches of several data sets, each by a sampler of its own. Derive from it for an order of your own.

    Args:
        dataset: the data sets, as one `ConcatDataset`, whose row numbers the batches have.
        batch_samplers: one for each of its data sets.
        generator, seed: as in `DefaultBatchSampler`.

    Raises:
        ValueError: there are not as many samplers as data sets.
    """

    def __init__(
        self,
        dataset: ConcatDataset[Any],
        batch_samplers: Sequence[BatchSampler],
        generator: torch.Generator | None = None,
        seed: int | None = 0,
    ) -> None:
        if len(dataset.datasets) != len(batch_samplers) or not batch_samplers:
            raise ValueError(f"{len(dataset.datasets)} data sets need a sampler each; there are {len(batch_samplers)}")
        super().__init__(dataset, batch_size=batch_samplers[0].batch_size, drop_last=batch_samplers[0].drop_last)
        self.dataset = dataset
        self.batch_samplers = list(batch_samplers)
        self.generator = generator
        self.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of this epoch, for every sampler."""
        super().set_epoch(epoch)
        for sampler in self.batch_samplers:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)

    def _offsets(self) -> list[int]:
        """The number that the first row of each data set has in the whole."""
        return [0, *accumulate(len(dataset) for dataset in self.dataset.datasets)][:-1]

    @abstractmethod
    def __iter__(self) -> Iterator[list[int]]:
        """Batches of row numbers of the whole."""

    @abstractmethod
    def __len__(self) -> int:
        """How many batches there are."""


class RoundRobinBatchSampler(MultiDatasetDefaultBatchSampler):
    """One batch of each data set in turn, until one of them has no more; of the others what is left is not used."""

    def __iter__(self) -> Iterator[list[int]]:
        offsets = self._offsets()
        for batches in zip(*self.batch_samplers):  # noqa: B905  # the shortest ends it
            for offset, batch in zip(offsets, batches, strict=True):
                yield [row + offset for row in batch]

    def __len__(self) -> int:
        return min(map(len, self.batch_samplers)) * len(self.batch_samplers)


class ProportionalBatchSampler(MultiDatasetDefaultBatchSampler):
    """All batches of all data sets, mixed at random: larger data sets come more often."""

    def __iter__(self) -> Iterator[list[int]]:
        offsets = self._offsets()
        turns = [i for i, sampler in enumerate(self.batch_samplers) for _ in range(len(sampler))]
        order = self._shuffled(len(turns), self._seeded())
        running = [iter(sampler) for sampler in self.batch_samplers]
        for turn in order:
            i = turns[turn]
            batch = next(running[i], None)
            if batch is not None:  # a user's sampler may have promised more than it gives
                yield [row + offsets[i] for row in batch]

    def __len__(self) -> int:
        return sum(map(len, self.batch_samplers))


class TemperatureBatchSampler(MultiDatasetDefaultBatchSampler):
    """As many batches as all data sets have, mixed at random, shared out by size to the power of 1 / temperature.

    1 is proportional; the higher, the more even. Of a data set that gets fewer batches than it has, an epoch sees a
    part, another part in the next epoch; one that gets more begins again, in another order.

    Args:
        dataset, batch_samplers, generator, seed: as in `MultiDatasetDefaultBatchSampler`.
        temperature: above 0.

    Source: Arivazhagan et al. 2019, "Massively multilingual neural machine translation in the wild", arXiv:1907.05019.
    """

    def __init__(self, *args: Any, temperature: float = 1.0, **options: Any) -> None:
        super().__init__(*args, **options)
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, not {temperature!r}")
        self.temperature = temperature

    def shares(self) -> list[int]:
        """Batches of each data set in an epoch: together as many as all have, the largest remainders rounded up."""
        sizes = np.array([len(sampler) for sampler in self.batch_samplers], np.float64)
        if not sizes.any():
            return [0] * len(sizes)
        weights = (sizes / sizes.max()) ** (1 / self.temperature)  # 0 stays 0
        exact = sizes.sum() * weights / weights.sum()
        found = np.floor(exact).astype(int)
        missing = int(sizes.sum()) - int(found.sum())
        found[np.argsort(found - exact, kind="stable")[:missing]] += 1
        return [int(share) for share in found]

    def __iter__(self) -> Iterator[list[int]]:
        self.set_epoch(self.epoch)  # an iteration that was left may have set others
        offsets = self._offsets()
        turns = [i for i, share in enumerate(self.shares()) for _ in range(share)]
        order = self._shuffled(len(turns), self._seeded())
        running = [self._endless(sampler) for sampler in self.batch_samplers]
        for turn in order:
            i = turns[turn]
            batch = next(running[i], None)
            if batch is not None:
                yield [row + offsets[i] for row in batch]
        self.set_epoch(self.epoch)  # as `len` counts

    def _endless(self, sampler: BatchSampler) -> Iterator[list[int]]:
        """The batches of a data set again and again; where it can be told an epoch, each time in another order."""
        for again in count():
            if again and hasattr(sampler, "set_epoch"):
                sampler.set_epoch(self.epoch + 1_000_003 * again)  # no two alike
            empty = True
            for batch in sampler:
                empty = False
                yield batch
            if empty:
                return

    def __len__(self) -> int:
        return sum(map(len, self.batch_samplers))
