"""Reads labelled texts from files into examples."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from vicinal.errors import InvalidData
from vicinal.text.files import columns, parallel_lines, records


@dataclass(eq=False)
class InputExample:
    """Texts that belong together, and a label.

    Attributes:
        guid: a name of the example.
        texts: one, two or more, as a loss needs them.
        label: a class or a score.
    """

    guid: str = ""
    texts: Any = None
    label: Any = 0

    def __str__(self) -> str:
        return f"<InputExample> label: {self.label}, texts: {'; '.join(map(str, self.texts or ()))}"


class _FolderReader:
    """A reader of files in one folder."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)

    def _records(self, filename: str, delimiter: str, quoting: int) -> Iterator[tuple[str, list[str]]]:
        """Records with their places."""
        return records(os.path.join(self.folder, filename), delimiter, quoting)


class NLIDataReader(_FolderReader):
    """Reads pairs with their relation: s1.{split}, s2.{split} and labels.{split}, gzip files with a text a line."""

    def __init__(self, dataset_folder: str | os.PathLike[str]) -> None:
        super().__init__(dataset_folder)
        self.dataset_folder = self.folder

    def get_examples(self, filename: str, max_examples: int = 0) -> list[InputExample]:
        """Examples of one split.

        Args:
            filename: such as "train.gz".
            max_examples: so many at most; 0 for all.

        Raises:
            InvalidData: the files differ in length, or a label is unknown.
        """
        paths = [os.path.join(self.folder, f"{part}.{filename}") for part in ("s1", "s2", "labels")]
        examples: list[InputExample] = []
        for number, (first, second, label) in _first(parallel_lines(paths), max_examples):
            known = self.get_labels().get(label.strip().lower())
            if known is None:
                raise InvalidData(
                    f"{paths[2]}:{number + 1} has the label {label!r}, not one of {list(self.get_labels())}"
                )
            examples.append(InputExample(f"{filename}-{number}", [first, second], known))
        return examples

    @staticmethod
    def get_labels() -> dict[str, int]:
        """The number of each relation."""
        return {"contradiction": 0, "entailment": 1, "neutral": 2}

    def get_num_labels(self) -> int:
        """How many relations there are: 3."""
        return len(self.get_labels())

    def map_label(self, label: str) -> int:
        """The number of a relation."""
        return self.get_labels()[label.strip().lower()]


class STSDataReader(_FolderReader):
    """Reads pairs with a score from a table without a header.

    Args:
        dataset_folder: where the files are.
        s1_col_idx, s2_col_idx, score_col_idx: which columns, from 0.
        delimiter, quoting: as in `csv.reader`.
        normalize_scores: bring scores from min_score..max_score to 0..1.
    """

    def __init__(
        self,
        dataset_folder: str | os.PathLike[str],
        s1_col_idx: int = 0,
        s2_col_idx: int = 1,
        score_col_idx: int = 2,
        delimiter: str = "\t",
        quoting: int = csv.QUOTE_NONE,
        normalize_scores: bool = True,
        min_score: float = 0,
        max_score: float = 5,
    ) -> None:
        super().__init__(dataset_folder)
        self.dataset_folder = self.folder
        self.s1_col_idx, self.s2_col_idx, self.score_col_idx = s1_col_idx, s2_col_idx, score_col_idx
        self.delimiter, self.quoting = delimiter, quoting
        self.normalize_scores, self.min_score, self.max_score = normalize_scores, min_score, max_score

    def get_examples(self, filename: str, max_examples: int = 0) -> list[InputExample]:
        """Examples of one file, gzip if its name ends in .gz.

        Args:
            filename: such as "train.csv".
            max_examples: so many at most; 0 for all.

        Raises:
            InvalidData: a line lacks a column, or its score is no number.
        """
        examples: list[InputExample] = []
        for number, (place, row) in _first(self._records(filename, self.delimiter, self.quoting), max_examples):
            first, second, said = columns(row, (self.s1_col_idx, self.s2_col_idx, self.score_col_idx), place)
            try:
                score = float(said)
            except ValueError:
                raise InvalidData(
                    f"{place}: the score (column {self.score_col_idx}) is {said!r}, not a number; a header line must go"
                ) from None
            if self.normalize_scores:
                score = (score - self.min_score) / (self.max_score - self.min_score)
            examples.append(InputExample(f"{filename}{number}", [first, second], score))
        return examples


class STSBenchmarkDataReader(STSDataReader):
    """`STSDataReader` for the STS Benchmark's own files: texts in columns 5 and 6, the score in column 4."""

    def __init__(
        self,
        dataset_folder: str | os.PathLike[str],
        s1_col_idx: int = 5,
        s2_col_idx: int = 6,
        score_col_idx: int = 4,
        delimiter: str = "\t",
        quoting: int = csv.QUOTE_NONE,
        normalize_scores: bool = True,
        min_score: float = 0,
        max_score: float = 5,
    ) -> None:
        super().__init__(
            dataset_folder,
            s1_col_idx,
            s2_col_idx,
            score_col_idx,
            delimiter,
            quoting,
            normalize_scores,
            min_score,
            max_score,
        )


class TripletReader(_FolderReader):
    """Reads anchor, positive and negative from a table.

    Args:
        dataset_folder: where the files are.
        s1_col_idx, s2_col_idx, s3_col_idx: which columns, from 0.
        has_header: pass over the first line.
        delimiter, quoting: as in `csv.reader`.
    """

    def __init__(
        self,
        dataset_folder: str | os.PathLike[str],
        s1_col_idx: int = 0,
        s2_col_idx: int = 1,
        s3_col_idx: int = 2,
        has_header: bool = False,
        delimiter: str = "\t",
        quoting: int = csv.QUOTE_NONE,
    ) -> None:
        super().__init__(dataset_folder)
        self.dataset_folder = self.folder
        self.s1_col_idx, self.s2_col_idx, self.s3_col_idx = s1_col_idx, s2_col_idx, s3_col_idx
        self.has_header, self.delimiter, self.quoting = has_header, delimiter, quoting

    def get_examples(self, filename: str, max_examples: int = 0) -> list[InputExample]:
        """Examples of one file; `max_examples` at most, 0 for all.

        Raises:
            InvalidData: a line lacks a column.
        """
        rows = islice(self._records(filename, self.delimiter, self.quoting), int(self.has_header), None)
        wanted = (self.s1_col_idx, self.s2_col_idx, self.s3_col_idx)
        return [InputExample(texts=columns(row, wanted, place)) for _, (place, row) in _first(rows, max_examples)]


class PairedFilesReader:
    """Reads texts that stand on the same line of several files, gzip those whose name ends in .gz.

    Args:
        filepaths: the files.
    """

    def __init__(self, filepaths: Sequence[str | os.PathLike[str]]) -> None:
        self.filepaths = [os.fspath(path) for path in filepaths]

    def get_examples(self, max_examples: int = 0) -> list[InputExample]:
        """Examples of all lines, labelled 1; `max_examples` at most, 0 for all.

        Raises:
            InvalidData: the files differ in length.
        """
        rows = _first(parallel_lines(self.filepaths), max_examples)
        return [InputExample(str(number), list(texts), 1) for number, texts in rows]


class LabelSentenceReader(_FolderReader):
    """Reads a label and a text a line; labels become numbers from 0, in the order in which they are met.

    Args:
        folder: where the files are.
        label_col_idx, sentence_col_idx: which columns, from 0.
        separator: between columns.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        label_col_idx: int = 0,
        sentence_col_idx: int = 1,
        separator: str = "\t",
    ) -> None:
        super().__init__(folder)
        self.label_map: dict[str, int] = {}
        self.label_col_idx, self.sentence_col_idx, self.separator = label_col_idx, sentence_col_idx, separator

    def get_examples(self, filename: str, max_examples: int = 0) -> list[InputExample]:
        """Examples of one file; `max_examples` at most, 0 for all.

        Raises:
            InvalidData: a line lacks a column.
        """
        examples: list[InputExample] = []
        path = os.path.join(self.folder, filename)
        for number, (line,) in _first(parallel_lines([path]), max_examples):
            at = (self.label_col_idx, self.sentence_col_idx)
            label, text = columns(line.split(self.separator), at, f"{path}:{number + 1}")
            known = self.label_map.setdefault(label, len(self.label_map))
            examples.append(InputExample(f"{filename}-{number}", [text], known))
        return examples


def _first(rows: Iterable[Any], count: int) -> Iterator[tuple[int, Any]]:
    """Rows with their numbers, `count` at most, 0 for all."""
    return enumerate(islice(rows, count or None))
