"""Batch samplers: what must hold of every epoch, and the reference's batches for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.errors import InvalidData

torch = pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")
peer = pytest.importorskip("sentence_transformers.base.sampler")
ours = pytest.importorskip("vicinal.training.samplers")


def seeded(seed: int = 0) -> Any:
    return torch.Generator().manual_seed(seed)


def table(**columns: list[Any]) -> Any:
    return datasets.Dataset.from_dict(columns)


def pairs(n: int, kinds: int) -> Any:
    """Anchors that differ, positives of so many kinds."""
    return table(anchor=[f"a{i}" for i in range(n)], positive=[f"p{i * 13 % kinds}" for i in range(n)])


# ---- rows in random order ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop_last", [False, True])
def test_default_gives_every_row_once(drop_last: bool) -> None:
    sampler = ours.DefaultBatchSampler(range(23), batch_size=5, drop_last=drop_last, seed=3)
    batches = list(sampler)
    assert len(batches) == len(sampler) == (4 if drop_last else 5)
    rows = [row for batch in batches for row in batch]
    assert len(set(rows)) == len(rows) == (20 if drop_last else 23)
    assert rows != sorted(rows)
    assert list(sampler) == batches
    sampler.set_epoch(1)
    assert list(sampler) != batches
    sampler.set_epoch(0)
    assert list(sampler) == batches


def test_default_is_the_references_for_the_same_seed() -> None:
    """The reference's trainer gives its sampler an order, ours can have the data."""
    order = torch.utils.data.RandomSampler(range(23), generator=seeded(11))
    expected = list(peer.DefaultBatchSampler(order, batch_size=5, drop_last=False))
    assert list(ours.DefaultBatchSampler(range(23), batch_size=5, drop_last=False, seed=11)) == expected
    order = torch.utils.data.RandomSampler(range(23), generator=seeded(11))
    assert list(ours.DefaultBatchSampler(order, batch_size=5, drop_last=False, seed=11)) == expected
    generator = seeded(99)
    sampler = ours.DefaultBatchSampler(range(23), 5, False, generator=generator, seed=11)
    assert list(sampler) == expected


def test_without_a_seed_the_generator_goes_on() -> None:
    generator = seeded(5)
    for sampler in (
        ours.DefaultBatchSampler(range(40), 4, False, generator=generator, seed=None),
        ours.NoDuplicatesBatchSampler(pairs(40, 30), 4, False, generator=generator, seed=None),
    ):
        first = list(sampler)
        assert list(sampler) != first
    generator.manual_seed(5)
    again = list(ours.DefaultBatchSampler(range(40), 4, False, generator=generator, seed=None))
    generator.manual_seed(5)
    assert list(ours.DefaultBatchSampler(range(40), 4, False, generator=generator, seed=None)) == again


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    list(ours.DefaultBatchSampler(range(40), 4, False))
    list(ours.NoDuplicatesBatchSampler(pairs(40, 30), 4, False))
    assert torch.rand(1) == expected


# ---- no duplicates -------------------------------------------------------------------------------------------------

duplicated = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=40)


@given(duplicated, st.integers(1, 6), st.booleans(), st.integers(0, 3))
def test_no_value_twice_in_a_batch(rows: list[tuple[int, int]], size: int, drop_last: bool, epoch: int) -> None:
    data = table(a=[f"t{a}" for a, _ in rows], b=[f"t{b}" for _, b in rows], label=[0] * len(rows))
    sampler = ours.NoDuplicatesBatchSampler(data, size, drop_last, ["label"], precompute_batch_size=7)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    seen = Counter(row for batch in batches for row in batch)
    assert max(seen.values(), default=1) == 1
    if not drop_last:
        assert len(seen) == len(rows)
    for batch in batches:
        assert len(batch) == size or not drop_last
        values = [value for row in batch for value in {data[row]["a"], data[row]["b"]}]
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("n", "kinds", "size"), [(200, 200, 16), (200, 40, 8), (300, 31, 4), (64, 64, 64)])
def test_no_duplicates_is_the_references_for_the_same_seed(
    n: int, kinds: int, size: int, drop_last: bool, hashed: bool
) -> None:
    data = pairs(n, kinds).add_column("label", [i % 2 for i in range(n)])
    for epoch in (0, 3):
        made = []
        for module in (ours, peer):
            sampler = module.NoDuplicatesBatchSampler(
                data, size, drop_last, ["label"], generator=seeded(), seed=7, precompute_hashes=hashed
            )
            sampler.set_epoch(epoch)
            made.append(list(sampler))
        assert made[0] == made[1][: len(made[0])]  # where batches cannot be filled, the reference goes on with repeats
        assert len(made[0]) == len(made[1]) or drop_last


def test_lists_count_as_a_whole_and_columns_of_names_not_at_all() -> None:
    data = table(texts=[["a", "b"], ["a", "c"], ["a", "b"], ["d"]], dataset_name=["x"] * 4)
    batches = list(ours.NoDuplicatesBatchSampler(data, 4, False))
    assert sorted(map(len, batches)) == [1, 3]
    only_labels = ours.NoDuplicatesBatchSampler(table(label=[1, 1, 1]), 2, False, ["label"])
    assert sorted(map(len, only_labels)) == [1, 2]
    assert list(ours.NoDuplicatesBatchSampler(table(a=[]), 2, False)) == []


def test_hashing_in_several_processes(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pairs(60, 20)
    alone = list(ours.NoDuplicatesBatchSampler(data, 8, False))
    sampler = ours.NoDuplicatesBatchSampler(data, 8, False, precompute_num_proc=2, precompute_batch_size=9)
    assert list(sampler) == alone


def test_where_the_reference_repeats_rows_ours_says_how_many_batches_there_are() -> None:
    data = table(a=[f"a{i}" for i in range(40)], b=["same"] * 30 + [f"b{i}" for i in range(10)])
    sampler = ours.NoDuplicatesBatchSampler(data, 4, True)
    assert len(sampler) == len(list(sampler)) < 10
    assert len(ours.NoDuplicatesBatchSampler(data, 4, False)) == 30


@given(duplicated, st.integers(1, 6), st.booleans())
def test_steady_epochs_have_as_many_batches_as_the_first(rows: list[tuple[int, int]], size: int, drop: bool) -> None:
    """What a longer one has beyond is left out; a shorter one begins again."""
    data = table(a=[f"t{a}" for a, _ in rows], b=[f"t{b}" for _, b in rows])
    inner = ours.NoDuplicatesBatchSampler(data, size, drop)
    steady = ours.SteadyBatchSampler(inner, data, size, drop)
    steady.set_epoch(3)
    count = len(steady)
    assert inner.epoch == 3
    for epoch in range(4):
        steady.set_epoch(epoch)
        found = list(steady)
        assert len(found) == len(steady) == count
        own = list(inner)
        assert found[: len(own)] == own[:count]
        assert found[len(own) :] == (own * (count // max(1, len(own)) + 1))[len(own) : count][: count - len(own)]
    assert [len(batch) for batch in steady] == [len(batch) for batch in steady]


# ---- groups of labels ----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5), min_size=8, max_size=60), st.sampled_from([4, 6, 10]), st.booleans())
def test_group_by_label(labels: list[int], size: int, drop_last: bool) -> None:
    counts = Counter(labels)
    data = table(text=[str(i) for i in range(len(labels))], label=labels)
    if sum(count >= 2 for count in counts.values()) < 2:
        with pytest.raises(InvalidData, match="two labels with two rows or more each"):
            ours.GroupByLabelBatchSampler(data, size, drop_last, ["label"])
        return
    made = []
    for module in (ours, peer):
        sampler = module.GroupByLabelBatchSampler(data, size, drop_last, ["score", "label"], seeded(), seed=5)
        sampler.set_epoch(2)
        made.append(list(sampler))
        assert len(sampler) >= len(made[-1])
    assert made[0] == made[1]
    for batch in made[0]:
        of_label = Counter(labels[row] for row in batch)
        assert len(of_label) >= 2
        assert min(of_label.values()) >= 2


def test_group_by_label_refuses() -> None:
    data = table(text=["a", "b"], label=[0, 1])
    for size in (2, 5):
        with pytest.raises(ValueError, match=f"even batch size of 4 or more, not {size}"):
            ours.GroupByLabelBatchSampler(data, size, True, ["label"])
    with pytest.raises(InvalidData, match=r"one of \['score'\]; the data set has text, label"):
        ours.GroupByLabelBatchSampler(data, 4, True, ["score"])


# ---- several data sets ---------------------------------------------------------------------------------------------


def several(module: Any, kind: str, generator: Any, child: str) -> Any:
    parts = [pairs(n, n) for n in (30, 7, 50)]
    size = 4
    if child == "NoDuplicatesBatchSampler":
        samplers = [module.NoDuplicatesBatchSampler(part, size, False, generator=generator, seed=9) for part in parts]
    else:
        samplers = [torch.utils.data.BatchSampler(range(len(part)), size, False) for part in parts]
    whole = torch.utils.data.ConcatDataset(parts)
    return getattr(module, kind)(whole, samplers, generator=generator, seed=9)


@pytest.mark.parametrize("child", ["BatchSampler", "NoDuplicatesBatchSampler"])
@pytest.mark.parametrize("kind", ["RoundRobinBatchSampler", "ProportionalBatchSampler"])
def test_several_data_sets_are_the_references_for_the_same_seed(kind: str, child: str) -> None:
    for epoch in (0, 2):
        made = []
        for module in (ours, peer):
            sampler = several(module, kind, seeded(), child)
            sampler.set_epoch(epoch)
            made.append(list(sampler))
            assert len(sampler) == len(made[-1])
        assert made[0] == made[1]


def test_round_robin_takes_turns() -> None:
    batches = list(several(ours, "RoundRobinBatchSampler", None, "BatchSampler"))
    assert [sum(batch[0] >= start for start in (30, 37)) for batch in batches] == [0, 1, 2] * 2


def test_proportional_gives_every_row_once_and_no_batch_of_two_data_sets() -> None:
    batches = list(several(ours, "ProportionalBatchSampler", None, "NoDuplicatesBatchSampler"))
    assert sorted(row for batch in batches for row in batch) == list(range(87))
    for batch in batches:
        assert len({sum(row >= start for start in (30, 37)) for row in batch}) == 1


def test_a_sampler_that_promises_too_much_ends_early() -> None:
    class Short(torch.utils.data.BatchSampler):  # type: ignore[misc]
        def __iter__(self) -> Iterator[list[int]]:
            yield [0, 1]

    whole = torch.utils.data.ConcatDataset([range(8), range(4)])
    samplers = [Short(range(8), 2, False), torch.utils.data.BatchSampler(range(4), 2, False)]
    assert sorted(ours.ProportionalBatchSampler(whole, samplers)) == [[0, 1], [8, 9], [10, 11]]


def test_every_data_set_needs_a_sampler() -> None:
    whole = torch.utils.data.ConcatDataset([range(8), range(4)])
    with pytest.raises(ValueError, match="2 data sets need a sampler each; there are 1"):
        ours.RoundRobinBatchSampler(whole, [torch.utils.data.BatchSampler(range(8), 2, False)])
    with pytest.raises(TypeError, match="abstract"):
        ours.MultiDatasetDefaultBatchSampler(whole, [])


def test_names() -> None:
    assert [member.value for member in ours.BatchSamplers] == [member.value for member in peer.BatchSamplers]
    both = (ours.MultiDatasetBatchSamplers, peer.MultiDatasetBatchSamplers)
    assert [member.value for member in both[0]] == [member.value for member in both[1]]
    assert ours.BatchSamplers("no_duplicates") is ours.BatchSamplers.NO_DUPLICATES == "no_duplicates"
    with pytest.raises(ValueError, match=r"'nope' is none of \['round_robin', 'proportional'\]"):
        ours.MultiDatasetBatchSamplers("nope")


def test_a_sampler_of_the_users_own() -> None:
    class Backwards(ours.DefaultBatchSampler):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[list[int]]:
            for start in range(len(self.dataset), 0, -self.batch_size):
                yield list(range(start - 1, max(-1, start - 1 - self.batch_size), -1))

    sampler = Backwards(range(5), batch_size=2, drop_last=False, valid_label_columns=["label"], generator=None, seed=1)
    assert list(sampler) == [[4, 3], [2, 1], [0]]
    assert len(sampler) == 3


# ---- by temperature ------------------------------------------------------------------------------------------------


def of_temperature(sizes: list[int], temperature: float, **options: Any) -> Any:
    sets = [table(text=[f"{i}.{row}" for row in range(size)]) for i, size in enumerate(sizes)]
    samplers = [ours.DefaultBatchSampler(one, 2, False) for one in sets]
    return ours.TemperatureBatchSampler(
        torch.utils.data.ConcatDataset(sets), samplers, temperature=temperature, **options
    )


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.floats(0.3, 1e6))
def test_shares_are_of_the_size_to_the_power(sizes: list[int], temperature: float) -> None:
    sampler = of_temperature(sizes, temperature)
    batches = [(size + 1) // 2 for size in sizes]
    weights = [(count / max(batches)) ** (1 / temperature) for count in batches]
    shares = sampler.shares()
    assert sum(shares) == len(sampler) == sum(batches)
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - sum(batches) * weight / sum(weights)) < 1 + 1e-6


def test_a_large_set_is_seen_in_part_and_a_small_one_again() -> None:
    sampler = of_temperature([40, 4], 1e9)
    assert sampler.shares() == [11, 11]
    first = list(sampler)
    assert len(first) == len(sampler) == 22
    drawn = [[row for batch in first for row in batch if (row >= 40) == small] for small in (False, True)]
    assert len(set(drawn[0])) == len(drawn[0]) == 22  # a part, no row twice
    assert set(Counter(drawn[1]).values()) <= {5, 6}  # all of it again and again
    assert list(sampler) == first
    sampler.set_epoch(1)
    again = list(sampler)
    assert {row for batch in again for row in batch if row < 40} != set(drawn[0])  # another part


def test_temperature_1_is_proportional() -> None:
    sampler = of_temperature([30, 10], 1)
    assert sampler.shares() == [15, 5]
    assert sorted(row for batch in sampler for row in batch) == list(range(40))
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="temperature must be above 0"):
            of_temperature([2], wrong)
