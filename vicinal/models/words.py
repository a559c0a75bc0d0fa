"""Models of whole words: a vector a word, a weight a word, a count a word."""

from __future__ import annotations

import gzip
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vicinal.errors import DamagedModel, DataNotFound, InvalidData, InvalidInput, UnsafeModel
from vicinal.loading import spec
from vicinal.models import tokenizer as tokenizers
from vicinal.models.inputs import TokenModule
from vicinal.models.module import Features, Module, kept, opened
from vicinal.models.tokenizer import TransformersTokenizerWrapper, WhitespaceTokenizer, WordTokenizer
from vicinal.text.pairs import longest_first
from vicinal.text.tokens import Cut, Text, Tokens

if TYPE_CHECKING:
    from typing_extensions import Self

_PADDING = "PADDING_TOKEN"
_COUNTS = 1 << 24
"""Numbers that a batch of word counts may have."""


class WordReader:
    """Texts to `Tokens` by a word tokenizer: what `TextTokenizer` is for others.

    Args:
        rows: words that have a number.
    """

    special = 0
    special_ids: frozenset[int] = frozenset()

    def __init__(self, tokenizer: WordTokenizer, rows: int) -> None:
        self.backend, self._rows = tokenizer, rows

    def __call__(
        self, texts: Sequence[Text], limit: int | None, cut: Cut = longest_first, tail: Sequence[int] = ()
    ) -> Tokens:
        """Tokenize; a text of more than `limit` words loses its end.

        Raises:
            InvalidInput: a pair of texts. DamagedModel: a word's number is beyond the table.
        """
        if texts and not isinstance(texts[0], str):
            raise InvalidInput("a model of words reads texts, not pairs: join them, or encode each")
        found = [self.backend.tokenize(str(text)) for text in texts]
        full = np.array([len(words) for words in found], np.int64)
        lengths = full if limit is None else np.minimum(full, limit)
        ids = np.array([i for words in found for i in words[:limit]], np.int32)
        if len(ids) and (ids.max() >= self._rows or ids.min() < 0):
            wrong = int(ids[(ids >= self._rows) | (ids < 0)][0])
            raise DamagedModel(
                f"the tokenizer gives a word the number {wrong}, but the model has {self._rows} words: they do not "
                "belong together"
            )
        return Tokens(ids, None, np.cumsum(lengths) - lengths, lengths, full)


@dataclass(frozen=True)
class WordFile:
    """What a fingerprint asks of a tokenizer."""

    tokenizer: WordTokenizer
    keep_end = False

    def canonical(self) -> str:
        """All that decides how texts are tokenized."""
        return self.tokenizer.describe()


class _WordModule(TokenModule):
    """A first module that reads words."""

    tokenizer: WordTokenizer

    def tokenizer_file(self) -> WordFile:
        """What the tokenizer is."""
        return WordFile(self.tokenizer)


class WordEmbeddings(_WordModule):
    """A vector a word: adds token_embeddings (B, T, width).

    Args:
        tokenizer: a word tokenizer, or one of `transformers`.
        embedding_weights: (words, width); row i is that of the tokenizer's word i. Row 0 also stands for padding.
        update_embeddings: whether training changes the vectors.
        max_seq_length: words that a text may have.

    Raises:
        ValueError: the tokenizer is none, or the weights are no table.

    >>> tokenizer = WhitespaceTokenizer(["red", "apple"])
    >>> module = WordEmbeddings(tokenizer, [[1.0, 0.0], [0.0, 1.0]])
    >>> module(module.preprocess(["A red apple."]))["token_embeddings"].tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """

    config_file_name: ClassVar[str] = "wordembedding_config.json"
    config_keys: ClassVar[Sequence[str]] = ("tokenizer_class", "update_embeddings", "max_seq_length")

    def __init__(
        self,
        tokenizer: Any,
        embedding_weights: Any,
        update_embeddings: bool = False,
        max_seq_length: int | None = 1000000,
    ) -> None:
        super().__init__()
        if hasattr(tokenizer, "save_pretrained"):
            tokenizer = TransformersTokenizerWrapper(tokenizer)
        if not isinstance(tokenizer, WordTokenizer):
            kind = type(tokenizer).__name__
            raise ValueError(f"tokenizer must be a WordTokenizer, or one of transformers, not {kind}")
        table = torch.as_tensor(np.asarray(embedding_weights) if isinstance(embedding_weights, list) else
                                embedding_weights)  # fmt: skip
        if table.ndim != 2 or 0 in table.shape:
            raise ValueError(f"embedding_weights must be a table (words, width), not of shape {tuple(table.shape)}")
        self.tokenizer, self.update_embeddings, self._limit = tokenizer, update_embeddings, max_seq_length
        self.emb_layer = nn.Embedding.from_pretrained(table.detach().float().clone(), freeze=not update_embeddings)

    @property
    def embeddings_dimension(self) -> int:
        """Width of a word's vector."""
        return int(self.emb_layer.embedding_dim)

    def get_embedding_dimension(self) -> int:
        """The same."""
        return self.embeddings_dimension

    @property
    def max_seq_length(self) -> int | None:
        """Words that a text may have; None is no limit."""
        return self._limit

    @max_seq_length.setter
    def max_seq_length(self, length: int | None) -> None:
        self._limit = length

    def text_tokenizer(self) -> WordReader:
        return WordReader(self.tokenizer, self.emb_layer.num_embeddings)

    def batch(self, tokens: Tokens, rows: NDArray[np.int64] | None = None) -> Features:
        """input_ids and attention_mask (B, T), T at least 1; sentence_lengths (B,)."""
        features = super().batch(tokens, rows)
        del features["token_type_ids"]
        if not features["input_ids"].shape[1]:  # not one word is known
            features = {name: value.new_zeros(len(value), 1) for name, value in features.items()}
        return kept(features, sentence_lengths=features["attention_mask"].sum(1))

    def forward(self, features: Features, **options: Any) -> Features:
        """Adds token_embeddings (B, T, width)."""
        return kept(features, token_embeddings=self.emb_layer(features["input_ids"]))

    @classmethod
    def from_text_file(
        cls,
        embeddings_file_path: str,
        update_embeddings: bool = False,
        item_separator: str = " ",
        tokenizer: WordTokenizer | None = None,
        max_vocab_size: int | None = None,
    ) -> Self:
        """Vectors from a text file, as GloVe and word2vec have them: a line a word, its numbers behind it.

        Word 0 is for padding, of zeros; of a word that stands there twice, the last vector counts.

        Args:
            embeddings_file_path: of the file, which may be compressed (".gz"). A first line of two numbers is skipped.
            item_separator: between the numbers.
            tokenizer: gets the vocabulary; a `WhitespaceTokenizer` where none is given.
            max_vocab_size: read so many words, the first ones.

        Raises:
            DataNotFound: there is no such file. InvalidData: a line is not as the first; its number is told.
        """
        path = Path(embeddings_file_path)
        if not path.is_file():
            raise DataNotFound(f"{path} is not there: fetch the word vectors first (GloVe's, fastText's .vec, ...)")
        numbers: dict[str, int] = {}
        vectors: list[NDArray[np.float32]] = []
        for word, vector in _lines(path, item_separator):
            if not vectors:
                numbers[_PADDING] = 0
                vectors.append(np.zeros_like(vector))
            if word in numbers:
                vectors[numbers[word]] = vector
                continue
            numbers[word] = len(vectors)
            vectors.append(vector)
            if max_vocab_size and len(vectors) > max_vocab_size:
                break
        if not vectors:
            raise InvalidData(f"{path} has no line with a word and its numbers")
        tokenizer = WhitespaceTokenizer() if tokenizer is None else tokenizer
        tokenizer.set_vocab(list(numbers))
        return cls(tokenizer, np.stack(vectors), update_embeddings)

    # ---- in a folder -------------------------------------------------------------------------------------------

    def get_config_dict(self) -> dict[str, Any]:
        kind = type(self.tokenizer)
        own = kind.__module__ == tokenizers.__name__
        home = "sentence_transformers.models.tokenizer" if own else kind.__module__
        return {"tokenizer_class": f"{home}.{kind.__qualname__}", "update_embeddings": self.update_embeddings,
                "max_seq_length": self.max_seq_length}  # fmt: skip

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write settings, vectors and tokenizer into a folder."""
        super().save(output_path, safe_serialization=safe_serialization)
        self.tokenizer.save(output_path)

    @classmethod
    def load(
        cls, model_name_or_path: str, subfolder: str = "", trust_remote_code: bool = False, **options: Any
    ) -> Self:
        """Read it from a folder, or from the hub.

        Raises:
            UnsafeModel: its tokenizer is code of another place, and it is not trusted.
        """
        folder = opened(model_name_or_path, **options)
        config = cls.load_config(str(folder.root), subfolder)
        where = folder.root / subfolder / cls.config_file_name
        kind = _tokenizer_class(str(config.pop("tokenizer_class", None)), where, trust_remote_code)
        state = cls.load_torch_weights(str(folder.root), subfolder)
        if "emb_layer.weight" not in state:
            raise DamagedModel(f"{where.parent} needs the tensor emb_layer.weight; it has {', '.join(sorted(state))}")
        return cls(kind.load(str(folder.root / subfolder)), state["emb_layer.weight"], **config)


def _lines(path: Path, separator: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The words of a file and their vectors. A word may hold the separator itself."""
    width = None
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(map(str.rstrip, file), 1):
            parts = line.split(separator)
            if width is None and len(parts) == 2:  # how many words, how many numbers
                continue
            width = len(parts) - 1 if width is None else width
            word = separator.join(parts[:-width]) if width else ""
            try:
                yield word, _vector(parts[-width:], word)
            except ValueError as error:
                raise InvalidData(
                    f"{path}, line {number}: a word and {width} numbers are expected, got {line[:60]!r} ({error})"
                ) from error


def _vector(numbers: Sequence[str], word: str) -> NDArray[np.float32]:
    if not word:
        raise ValueError("there is no word before the numbers")
    return np.array([float(number) for number in numbers], np.float32)


def _tokenizer_class(path: str, where: Path, trusted: bool) -> Any:
    """A word tokenizer's class by its name."""
    home, _, name = path.rpartition(".")
    if home.partition(".")[0] in ("sentence_transformers", "vicinal"):
        if name not in tokenizers.__all__:
            raise DamagedModel(f"{where}: {path!r} is no word tokenizer")
        return getattr(tokenizers, name)
    if not trusted:
        raise UnsafeModel(
            f"{where} asks for the tokenizer {path!r}, which is code of the model's own: trust_remote_code=True runs it"
        )
    return getattr(importlib.import_module(home), name)


def _weights(vocab: Sequence[str], word_weights: Mapping[str, float], unknown: float) -> list[float]:
    """A weight a word: its own, else that of its lower case."""
    return [float(word_weights.get(word, word_weights.get(word.lower(), unknown))) for word in vocab]


class WordWeights(Module):
    """Multiplies token states by a weight a word, such as its idf; pooling's mean becomes the weighted one.

    Args:
        vocab: words by number, as the tokenizer has them.
        word_weights: by word, or by its lower case.
        unknown_word_weight: of words that have none.
    """

    config_keys: ClassVar[Sequence[str]] = ("vocab", "word_weights", "unknown_word_weight")

    def __init__(self, vocab: Sequence[str], word_weights: Mapping[str, float], unknown_word_weight: float = 1) -> None:
        super().__init__()
        self.vocab, self.word_weights = list(vocab), dict(word_weights)
        self.unknown_word_weight = unknown_word_weight
        weights = _weights(self.vocab, word_weights, unknown_word_weight)
        self.emb_layer = nn.Embedding.from_pretrained(torch.tensor(weights).unsqueeze(1), freeze=False)
        self._form: spec.Module | None = None

    def forward(self, features: Features, **options: Any) -> Features:
        """Replaces token_embeddings (B, T, width), adds token_weights_sum (B,)."""
        states = features["token_embeddings"]
        weights = self.emb_layer(features["input_ids"]).squeeze(-1) * features["attention_mask"]
        return kept(features, token_embeddings=states * weights.unsqueeze(-1), token_weights_sum=weights.sum(1))

    def form(self) -> spec.Module:
        self._form = self._form or super().form()  # the vocabulary is long, and does not change
        return self._form


class BoW(_WordModule):
    """Counts of words: a text's vector has a dimension a word of the vocabulary.

    Args:
        vocab: the words; one that stands there twice counts once.
        word_weights: what a word counts for, by the word or its lower case: idf makes tf-idf.
        unknown_word_weight: what words without one count for.
        cumulative_term_frequency: whether a word that stands in a text twice counts twice.

    >>> module = BoW(["red", "apple", "law"])
    >>> module.preprocess(["a red red apple"])["sentence_embedding"].tolist()
    [[2.0, 1.0, 0.0]]
    """

    config_keys: ClassVar[Sequence[str]] = (
        "vocab", "word_weights", "unknown_word_weight", "cumulative_term_frequency",
    )  # fmt: skip
    save_in_root: bool = False

    def __init__(
        self,
        vocab: Sequence[str],
        word_weights: Mapping[str, float] | None = None,
        unknown_word_weight: float = 1,
        cumulative_term_frequency: bool = True,
    ) -> None:
        super().__init__()
        self.vocab, self.word_weights = list(dict.fromkeys(vocab)), dict(word_weights or {})
        self.unknown_word_weight, self.cumulative_term_frequency = unknown_word_weight, cumulative_term_frequency
        self.weights = _weights(self.vocab, self.word_weights, unknown_word_weight)
        self.tokenizer = WhitespaceTokenizer(self.vocab, (), False)
        self.most_rows = max(1, _COUNTS // max(1, len(self.vocab)))
        self._form: spec.Module | None = None

    @property
    def sentence_embedding_dimension(self) -> int:
        """Words of the vocabulary."""
        return len(self.vocab)

    def get_embedding_dimension(self) -> int:
        """The same."""
        return len(self.vocab)

    def text_tokenizer(self) -> WordReader:
        return WordReader(self.tokenizer, len(self.vocab))

    def batch(self, tokens: Tokens, rows: NDArray[np.int64] | None = None) -> Features:
        """sentence_embedding (B, words): the counts, weighted."""
        rows = np.arange(len(tokens.lengths)) if rows is None else rows
        found = np.zeros((len(rows), len(self.vocab)), np.float32)
        weights = np.array(self.weights, np.float32)
        for counts, row in zip(found, rows.tolist(), strict=True):
            ids = tokens.ids[tokens.starts[row] : tokens.starts[row] + tokens.lengths[row]]
            if self.cumulative_term_frequency:
                np.add.at(counts, ids, weights[ids])
            else:
                counts[ids] = weights[ids]
        return {"sentence_embedding": torch.from_numpy(found)}

    def get_sentence_features(self, tokenized_texts: Sequence[Sequence[int]], pad_seq_length: int = 0) -> Features:
        """The counts of texts whose words are numbers already."""
        lengths = np.array([len(words) for words in tokenized_texts], np.int64)
        ids = np.array([i for words in tokenized_texts for i in words], np.int32)
        return self.batch(Tokens(ids, None, np.cumsum(lengths) - lengths, lengths, lengths))

    def forward(self, features: Features, **options: Any) -> Features:
        """The features as they are."""
        return features

    def form(self) -> spec.Module:
        self._form = self._form or super().form()
        return self._form
