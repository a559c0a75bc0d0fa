"""The same text in several languages, with a teacher's vector of it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from typing import Any

from torch.utils.data import Dataset

from vicinal.errors import InvalidData
from vicinal.text.files import parallel_lines
from vicinal.training.readers import InputExample


class ParallelSentencesDataset(Dataset):  # type: ignore[misc]  # torch is not typed here
    """Examples of one text, labelled with the teacher's vector of its source, for `MSELoss`.

    A line is a source text and its translations; the source itself is one of the texts that are learned. The number
    of an item plays no part: examples come in random order, some hundreds of lines at a time.

    Args:
        student_model: not used; older programs give it.
        teacher_model: what has `encode`.
        batch_size: at most so many texts in a batch of the teacher's.
        use_embedding_cache: keep the teacher's vectors.

    Source: Reimers and Gurevych 2020, arXiv:2004.09813.
    """

    def __init__(
        self, student_model: Any, teacher_model: Any, batch_size: int = 8, use_embedding_cache: bool = True
    ) -> None:
        self.student_model, self.teacher_model = student_model, teacher_model
        self.batch_size = batch_size
        self.use_embedding_cache = use_embedding_cache
        self.embedding_cache: dict[str, Any] = {}
        self.datasets: list[list[tuple[str, list[str]]]] = []
        self.datasets_iterator: list[int] = []
        self.dataset_indices: list[int] = []
        self.cache: list[InputExample] = []
        self.num_sentences = 0

    def load_data(
        self,
        filepath: str | os.PathLike[str],
        weight: int = 100,
        max_sentences: int | None = None,
        max_sentence_length: int | None = 128,
    ) -> None:
        """Add the lines of a file, tab between the texts; gzip if its name ends in .gz.

        Args:
            weight, max_sentences, max_sentence_length: as in `add_dataset`.
        """
        lines = (line.strip().split("\t") for (line,) in parallel_lines([os.fspath(filepath)]))
        self.add_dataset(lines, weight, max_sentences, max_sentence_length)

    def add_dataset(
        self,
        parallel_sentences: Iterable[Sequence[str]],
        weight: int = 100,
        max_sentences: int | None = None,
        max_sentence_length: int | None = 128,
    ) -> None:
        """Add lines: a source and its translations each. Lines of one source are put together.

        Args:
            weight: how many lines of this set are drawn to `weight` of another.
            max_sentences: different sources, at most; None or 0 is all.
            max_sentence_length: leave out a line with a text of more characters; None or 0 is none.
        """
        found: dict[str, dict[str, None]] = {}
        for texts in parallel_sentences:
            if max_sentence_length and max(map(len, texts)) > max_sentence_length:
                continue
            found.setdefault(texts[0], {}).update(dict.fromkeys(texts))
            if max_sentences and len(found) >= max_sentences:
                break
        if found:
            self.num_sentences += sum(map(len, found.values()))
            self.dataset_indices += [len(self.datasets)] * weight
            self.datasets.append([(source, list(texts)) for source, texts in found.items()])
            self.datasets_iterator.append(0)

    def generate_data(self) -> None:
        """Draw the next lines of every set, and put their examples where `[]` takes them from."""
        lines = [self.next_entry(number) for number in self.dataset_indices]
        vectors = self.get_embeddings([source for source, _ in lines])
        for vector, (_, texts) in zip(vectors, lines, strict=True):
            self.cache += [InputExample(texts=[text], label=vector) for text in texts]
        random.shuffle(self.cache)

    def next_entry(self, data_idx: int) -> tuple[str, list[str]]:
        """The next source of a set, and all its texts; at the end the set is shuffled and begins again."""
        entries = self.datasets[data_idx]
        entry = entries[self.datasets_iterator[data_idx]]
        self.datasets_iterator[data_idx] = (self.datasets_iterator[data_idx] + 1) % len(entries)
        if self.datasets_iterator[data_idx] == 0:
            random.shuffle(entries)
        return entry

    def get_embeddings(self, sentences: Sequence[str]) -> list[Any]:
        """The teacher's vectors, each computed once."""
        known = self.embedding_cache if self.use_embedding_cache else {}
        new = [text for text in dict.fromkeys(sentences) if text not in known]
        if new:
            vectors = self.teacher_model.encode(
                new, batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True
            )
            known.update(zip(new, vectors, strict=True))
        return [known[text] for text in sentences]

    def __len__(self) -> int:
        return self.num_sentences

    def __getitem__(self, idx: int) -> InputExample:
        if not self.dataset_indices:
            raise InvalidData("there are no sentences yet: load_data() or add_dataset() first")
        if not self.cache:
            self.generate_data()
        return self.cache.pop()
