"""vicinal.datasets and vicinal.readers: the classes that users know, beside sentence-transformers'."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

import vicinal
from vicinal import datasets, readers
from vicinal.errors import InvalidData
from vicinal.readers import InputExample

peer = pytest.importorskip("sentence_transformers.sentence_transformer.datasets")


def labelled(counts: dict[str, int]) -> list[InputExample]:
    return [InputExample(texts=[f"{label}{i}"], label=label) for label, count in counts.items() for i in range(count)]


def test_the_names() -> None:
    assert sorted(datasets.__all__) == sorted(peer.__all__)
    assert readers.InputExample is vicinal.InputExample is InputExample
    from sentence_transformers.sentence_transformer import readers as known

    assert set(known.__all__) <= set(readers.__all__)


def test_sentences() -> None:
    examples = labelled({"a": 3})
    found = datasets.SentencesDataset(examples, model=None)
    assert (len(found), found[1]) == (3, examples[1])
    batches = list(DataLoader(found, batch_size=2, collate_fn=list))
    assert [example for batch in batches for example in batch] == examples


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_by_label_as_the_peer_draws(samples: int, replacement: bool) -> None:
    examples = labelled({"a": 7, "b": 2, "c": 1, "d": 5, "e": 4})
    made = []
    for kind in (datasets.SentenceLabelDataset, peer.SentenceLabelDataset):
        np.random.seed(3)
        found: Any = kind(examples, samples_per_label=samples, with_replacement=replacement)
        made.append((len(found), list(found), list(found)))
    assert made[0] == made[1]


def test_by_label_needs_enough_of_one() -> None:
    with pytest.raises(InvalidData, match=r"no label of these 3 examples has 2 of them \(3 labels\)"):
        datasets.SentenceLabelDataset(labelled({"a": 1, "b": 1, "c": 1}))
    with pytest.raises(ValueError, match="samples_per_label must be at least 1, not 0"):
        datasets.SentenceLabelDataset(labelled({"a": 2}), 0)


def test_no_text_twice_in_a_batch() -> None:
    examples = [InputExample(texts=[f"q{i % 9}", f" D{i % 11} " if i % 2 else f"d{i % 11}"]) for i in range(60)]
    before = list(examples)
    random.seed(2)
    loader = datasets.NoDuplicatesDataLoader(examples, batch_size=5)
    theirs = peer.NoDuplicatesDataLoader(list(examples), batch_size=5)
    assert len(loader) == len(theirs) == len(list(loader)) == 12
    for batch in loader:
        texts = [text.strip().lower() for example in batch for text in example.texts]
        assert len(batch) == 5
        assert len(texts) == len(set(texts))
    assert examples == before
    loader.collate_fn = len  # type: ignore[assignment]
    assert list(loader) == [5] * 12


def test_every_example_is_used_where_none_are_alike() -> None:
    examples = labelled({"a": 12})
    seen = Counter(id(e) for batch in datasets.NoDuplicatesDataLoader(examples, 4) for e in batch)
    assert set(seen.values()) == {1}
    assert len(seen) == 12


def test_a_batch_that_cannot_be_filled() -> None:
    loader = datasets.NoDuplicatesDataLoader([InputExample(texts=["same", f"{i}"]) for i in range(4)], 2)
    with pytest.raises(InvalidData, match="no 2 of the 4 examples share no text"):
        list(loader)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        datasets.NoDuplicatesDataLoader([], 0)


def test_noise() -> None:
    texts = ["The quick, brown fox (jumps) over it's lazy dog.", "one", "", "  ", "red-hot iron at 3.5 degrees"]
    found = datasets.DenoisingAutoEncoderDataset(texts)
    np.random.seed(0)
    lengths = []
    for i, text in enumerate(texts):
        for _ in range(200):
            noisy, whole = found[i].texts
            assert whole == text
            if text.strip():
                assert noisy
                rest = iter(text)
                assert all(sign in rest for sign in noisy)  # letters of the text, in its order
            lengths += [len(noisy.split())] if i == 0 else []
    assert 0.3 < np.mean(lengths) / len(texts[0].split()) < 0.75
    assert (found[2].texts, found[3].texts) == (["", ""], ["  ", "  "])
    assert datasets.DenoisingAutoEncoderDataset.delete(texts[0], del_ratio=-1) == texts[0]
    assert datasets.DenoisingAutoEncoderDataset(["ab"], noise_fn=str.upper)[0].texts == ["AB", "ab"]
    assert len(found) == 5


class Teacher:
    """Counts what it encodes."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, texts: list[str], **options: Any) -> Any:
        assert options == {"batch_size": 8, "show_progress_bar": False, "convert_to_numpy": True}
        self.seen += texts
        return np.array([[len(text), ord(text[0])] for text in texts])


def drawn(kind: Any, lines: list[list[str]], path: Path) -> tuple[int, Counter[Any], list[str]]:
    random.seed(1)
    teacher = Teacher()
    found = kind(None, teacher)
    found.add_dataset(lines, weight=3, max_sentence_length=20)
    found.load_data(str(path), weight=2, max_sentences=2)
    examples = [found[i] for i in range(len(found) * 2)]
    return len(found), Counter((e.texts[0], *e.label.tolist()) for e in examples), teacher.seen


def test_parallel_as_the_peer(tmp_path: Path) -> None:
    lines = [["hello", "hallo", "hola"], ["x" * 30, "y"], ["world", "welt"], ["hello", "salut", "hallo"], ["solo"]]
    path = tmp_path / "lines.tsv.gz"
    path.write_bytes(gzip.compress(b"cat\tkatze\ndog\thund\tperro\ncow\tkuh\n"))
    ours, theirs = (
        drawn(kind, lines, path) for kind in (datasets.ParallelSentencesDataset, peer.ParallelSentencesDataset)
    )
    assert ours[0] == theirs[0] == 7 + 5
    assert set(ours[1]) == set(theirs[1])
    assert Counter(ours[2]) == Counter(theirs[2]) == Counter(["hello", "world", "solo", "cat", "dog"])
    assert ("hallo", 5, ord("h")) in ours[1]


def test_parallel_without_a_cache_or_data() -> None:
    teacher = Teacher()
    found = datasets.ParallelSentencesDataset(None, teacher, use_embedding_cache=False)
    with pytest.raises(InvalidData, match="there are no sentences yet"):
        found[0]
    found.add_dataset([["a", "b"]], weight=1)
    for i in range(4):
        assert found[i].label.tolist() == [1, ord("a")]
    assert teacher.seen == ["a", "a"]
