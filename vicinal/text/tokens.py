"""Texts to token ids. One tokenizer serves all threads and settings: its own truncation and padding are never used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from vicinal.errors import DamagedModel, InvalidInput
from vicinal.text.pairs import PairTemplate, Spans, longest_first, ranges

Text = str | tuple[str, str]

Ids = tuple[NDArray[np.int32], NDArray[np.int64]]
"""Ids of some texts, one after the other, and how many each has."""

Cut = Callable[[NDArray[np.int64], NDArray[np.int64], int], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Lengths of the two texts of each pair and the room that they have, to the lengths that are kept."""

CHARACTERS = 1 << 19
"""Of text that is tokenized at once: the library's own records take a hundred times the ids' memory."""
_PROBES = 1000
"""Words of a vocabulary that are tried to learn the frame, where the letter "a" is none."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids of some texts, special tokens in place, cut to the limit.

    Attributes:
        ids: of all texts, one after the other.
        types: which text of a pair each token is of, None where all are 0.
        starts: text i's ids begin here.
        lengths: tokens of each text.
        full: tokens that each text has before cutting.
        uncounted: the token that has no place among a text's positions, None where each has one.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int32] | None
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    full: NDArray[np.int64]
    uncounted: int | None = None


class TextTokenizer:
    """Tokenizes texts and pairs as the model was trained to have them.

    Args:
        tokenizer: without truncation and padding; it is not changed.
        rows: tokens that the network has an embedding for.
        types: segments of a pair that it has one for; 0 where it reads none.
        special: whether the network is given the special tokens.
        keep_end: whether a text that is too long loses its beginning instead of its end.
        splits: as in `plain`.
        ids: a faster way to what `plain` gives.
        uncounted: as in `Tokens`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        rows: int,
        types: int = 0,
        special: bool = True,
        keep_end: bool = False,
        splits: bool = False,
        ids: Callable[[Sequence[str]], Ids] | None = None,
        uncounted: int | None = None,
    ) -> None:
        self.backend, self._rows, self._types, self._keep_end = tokenizer, rows, types, keep_end
        self._uncounted = uncounted
        self._ids = ids or partial(plain, tokenizer, splits=splits)
        single, pair = probe(tokenizer, special)
        self._within([*pair.ids, *single.ids])
        inside = [i for i, part in enumerate(single.sequence_ids) if part is not None]
        self._before, self._after = single.ids[: inside[0]], single.ids[inside[-1] + 1 :]
        kinds = single.type_ids  # almost always all 0, which needs no array
        self._kinds = (kinds[: inside[0]], kinds[inside[0]], kinds[inside[-1] + 1 :]) if any(kinds) else None
        self._pair = PairTemplate.of(pair.ids, pair.type_ids, pair.sequence_ids)
        self.special = len(self._before) + len(self._after)

    def __call__(
        self, texts: Sequence[Text], limit: int | None, cut: Cut = longest_first, tail: Sequence[int] = ()
    ) -> Tokens:
        """Tokenize; a text of more than `limit` tokens, special ones counted, loses its end (or its beginning).

        Args:
            cut: which text of a pair loses how much.
            tail: the tokens that a text ends in which has lost its end, of a model without special tokens.

        Raises:
            HalfCharacter: a text is no Unicode.
        """
        if texts and not isinstance(texts[0], str):
            return self._pairs(texts, limit, cut)
        ids, counts = self._ids(texts)  # type: ignore[arg-type]  # a call has texts or pairs, never both
        if len(ids) and ids.max() >= self._rows:
            self._within(ids.tolist())
        full = counts + self.special
        kept = counts if limit is None else np.minimum(counts, max(limit - self.special, 0))
        lengths = kept + self.special
        starts = np.cumsum(lengths) - lengths
        types = self._types_of(starts, lengths) if self._kinds else None
        if not self.special and kept is counts:
            return Tokens(ids, types, starts, lengths, full, self._uncounted)
        if (kept < counts).any():
            ends = np.cumsum(counts)
            ids = ids[ranges(ends - (kept if self._keep_end else counts), kept)]
            if (size := min(len(tail), limit or 0)) and not self._keep_end:
                shortened = np.cumsum(kept)[kept < counts]
                ids[shortened[:, None] + np.arange(-size, 0)] = tail[-size:]
        framed = np.empty(int(lengths.sum()), np.int32)
        content = np.ones(len(framed), bool)
        frame = (*zip(self._before, count()), *zip(self._after, count(-len(self._after))))
        for token, i in frame:
            at = starts + i if i >= 0 else starts + lengths + i
            framed[at], content[at] = token, False
        framed[content] = ids
        return Tokens(framed, types, starts, lengths, full, self._uncounted)

    def offsets(self, text: str) -> NDArray[np.int64]:
        """Where each token of a text stands in it, (tokens, 2) characters; the model's own tokens stand nowhere: 0, 0.

        Raises:
            HalfCharacter: the text is no Unicode.
        """
        try:
            found = self.backend.encode(text, add_special_tokens=False).offsets
        except (UnicodeEncodeError, TypeError) as error:
            raise _half([text]) from error
        spans = np.zeros((len(found) + self.special, 2), np.int64)
        spans[len(self._before) : len(self._before) + len(found)] = np.asarray(found, np.int64).reshape(-1, 2)
        return spans

    def _types_of(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int32]:
        """Segments of single texts, of a model that does not call them 0."""
        before, content, after = self._kinds or ([], 0, [])
        self._marked(max([*before, content, *after]) + 1)
        types = np.full(int(lengths.sum()), content, np.int32)
        for i, kind in enumerate(before):
            types[starts + i] = kind
        for i, kind in enumerate(after, -len(after)):
            types[starts + lengths + i] = kind
        return types

    def _marked(self, segments: int) -> None:
        if segments > max(self._types, 1):
            raise DamagedModel(
                f"the tokenizer marks {segments} segments of a text, but the network has embeddings for {self._types}"
            )

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of the tokens that stand for no text."""
        added = self.backend.get_added_tokens_decoder()
        return frozenset(i for i, token in added.items() if token.special)

    def _within(self, ids: Sequence[int]) -> None:
        """Every token must have an embedding.

        Raises:
            DamagedModel: names one that has none.
        """
        beyond = next((token for token in ids if token >= self._rows), None)
        if beyond is not None:
            raise DamagedModel(
                f"the tokenizer's token {self.backend.id_to_token(beyond)!r} has number {beyond}, but the network has "
                f"{self._rows} embeddings: tokenizer and weights do not belong together"
            )

    def _pairs(self, pairs: Sequence[Text], limit: int | None, cut: Cut) -> Tokens:
        """Every text of the pairs is tokenized once, however many pairs it stands in."""
        self._marked(self._pair.types)
        number: dict[str, int] = {}
        texts = [number.setdefault(text, len(number)) for pair in pairs for text in pair]
        ids, counts = self._ids(list(number))
        self._within(ids.tolist())
        starts = np.cumsum(counts) - counts
        which = np.array(texts, np.int64).reshape(-1, 2)
        a, b = (Spans(starts[column], counts[column]) for column in which.T)
        full = a.counts + b.counts + self._pair.special
        if limit is not None:
            keep_a, keep_b = cut(a.counts, b.counts, max(limit - self._pair.special, 0))
            a, b = a.kept(keep_a, self._keep_end), b.kept(keep_b, self._keep_end)
        joined, types, lengths = self._pair.join(ids, a, b)
        return Tokens(joined, types, np.cumsum(lengths) - lengths, lengths, full, self._uncounted)


def probe(tokenizer: Tokenizer, special: bool = True) -> tuple[Encoding, Encoding]:
    """A text and a pair, tokenized with special tokens: what stands around the text is the model's frame.

    Raises:
        DamagedModel: no word gives a token, or the tokenizer fails.
    """
    own = (token.replace("##", "").strip("▁Ġ") for token in islice(tokenizer.get_vocab(False), _PROBES))
    try:
        for text in chain("a", own):
            if text and tokenizer.encode(text, add_special_tokens=False).ids:
                pair = tokenizer.encode(text, text, add_special_tokens=special)
                return tokenizer.encode(text, add_special_tokens=special), pair
    except Exception as error:
        raise DamagedModel(f"the model's tokenizer fails on a text of one word: {error}") from error
    raise DamagedModel("the model's tokenizer makes no token of any word of its own vocabulary")


def plain(tokenizer: Tokenizer, texts: Sequence[str], splits: bool = False) -> Ids:
    """Ids of texts without special tokens, as the tokenizer itself has them.

    Args:
        splits: whether the ids of "a b" are those of "a" and then those of "b" (see `words.WordCache.fits`): then a
            huge text is tokenized piece by piece.

    Raises:
        HalfCharacter: a text is no Unicode. DamagedModel: the tokenizer fails.
    """
    whole = sum(map(len, texts)) <= CHARACTERS
    if splits and not whole and max(map(len, texts)) > CHARACTERS:
        pieces = [list(_pieces(text)) for text in texts]
        ids, lengths = plain(tokenizer, [piece for parts in pieces for piece in parts])
        return ids, np.add.reduceat(lengths, np.cumsum([0, *map(len, pieces[:-1])]))
    rows: list[NDArray[np.int32]] = []
    counts: list[int] = []
    for portion in (texts,) if whole else portions(texts):
        try:
            found = [e.ids for e in tokenizer.encode_batch_fast(portion, add_special_tokens=False)]
        except (UnicodeEncodeError, TypeError) as error:
            raise _half(texts) from error
        except Exception as error:
            raise DamagedModel(f"the model's tokenizer fails: {error}") from error
        sizes = list(map(len, found))
        counts += sizes
        try:
            rows.append(np.fromiter(chain.from_iterable(found), np.int32, sum(sizes)))
        except OverflowError:
            raise DamagedModel("the model's tokenizer has tokens of larger numbers than any network has") from None
    return rows[0] if whole else np.concatenate(rows), np.array(counts, np.int64)


def _pieces(text: str) -> Iterator[str]:
    """The text, cut at spaces into bounded pieces; a longer run without a space stays whole."""
    first = 0
    while len(text) - first > CHARACTERS:
        last = text.rfind(" ", first, first + CHARACTERS)
        last = last if last >= 0 else text.find(" ", first + CHARACTERS)
        if last < 0:
            break
        yield text[first:last]
        first = last + 1
    yield text[first:]


def portions(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Texts in order, a bounded number of characters at a time."""
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    first = 0
    while first < len(texts):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + CHARACTERS, "right")))
        yield texts[first:last]
        first = last


class HalfCharacter(InvalidInput):
    """A text that cannot be tokenized since it holds half of a surrogate pair."""

    def __init__(self, text: str) -> None:
        super().__init__(f"a text holds half of a surrogate pair, which is no character: {text[:40]!r}")
        self.text = text


def _half(texts: Sequence[str]) -> HalfCharacter:
    """The first such text, found the slow way once tokenizing has failed."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            return HalfCharacter(text)
    raise AssertionError("every text is valid Unicode, yet the tokenizer refused one")


def everything(tokens: Tokens, row: int, i: int, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What a network was given for a text and what it made of it, padding cut.

    Args:
        row: the text's, among the tokens.
        i: its row in the arrays.
    """
    start, length = int(tokens.starts[row]), int(tokens.lengths[row])
    ids = tokens.ids[start : start + length].astype(np.int64)
    types = np.zeros_like(ids) if tokens.types is None else tokens.types[start : start + length].astype(np.int64)
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": types,
        "token_embeddings": arrays["token_embeddings"][i, :length],
        "sentence_embedding": arrays["sentence_embedding"][i],
    }


def padded(tokens: Tokens) -> dict[str, NDArray[np.int64]]:
    """Tokens as rows of equal length: input_ids, attention_mask and token_type_ids (texts, longest)."""
    width = int(tokens.lengths.max(initial=0))
    mask = np.arange(width) < tokens.lengths[:, None]
    where = ranges(tokens.starts, tokens.lengths)
    ids, types = np.zeros((2, *mask.shape), np.int64)
    ids[mask] = tokens.ids[where]
    if tokens.types is not None:
        types[mask] = tokens.types[where]
    return {"input_ids": ids, "attention_mask": mask.astype(np.int64), "token_type_ids": types}
