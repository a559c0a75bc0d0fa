"""Divides a long text into chunks that a model can read whole, at headings, paragraphs and sentences.

A chunk is a span of the text, so that what is found can be shown in place. Headings above it are its context, which is
read with it but is no part of the span.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vicinal.text.markdown import Block, blocks, sentences

Count = Callable[[Sequence[str]], NDArray[np.int64]]
"""Tokens of each of some texts, with all that the model puts around them."""

_FILLED = 4
"""A section of its own begins a new chunk once the last one holds this part of the limit."""
_CONTEXT = 4
"""The headings above may take this part of the limit."""


@dataclass(frozen=True)
class Chunk:
    """A span of a text.

    Attributes:
        start, stop: the text's characters from `start` up to `stop`.
        context: the headings above, outermost first, "" where there are none.
    """

    start: int
    stop: int
    context: str = ""

    def read(self, text: str) -> str:
        """What a model is given: the context, a blank line, and the span of `text`."""
        part = text[self.start : self.stop]
        return f"{self.context}\n\n{part}" if self.context else part


@dataclass(frozen=True)
class _Piece:
    """A sentence, a line, a heading or whole code: what is not divided without need."""

    start: int
    stop: int
    tokens: int
    opens: bool = False  # it begins a paragraph or code
    heading: bool = False
    path: tuple[str, ...] = ()  # the headings above; of a heading, those above it


def chunk(text: str, count: Count, limit: int, overlap: int = 0) -> list[Chunk]:
    """The chunks of a text.

    A text within the limit is one chunk. Otherwise paragraphs and code stay whole where they fit, then sentences and
    lines, then words. A heading stays with the paragraph that follows, or where that is too long with its beginning.

    Args:
        count: tells the tokens of texts.
        limit: tokens that a chunk may have, its context and what `count` adds included.
        overlap: about so many tokens of whole sentences at the end of a chunk are repeated by the next one of the same
            section.

    Returns:
        At least one; their spans cover all but whitespace. None has more than `limit` tokens.

    Raises:
        ValueError: `overlap` is no number from 0 to half of what `limit` leaves for a text, or `limit` leaves no room
            for a character.
    """
    around, whole = (int(n) for n in count(["", text]))
    room = limit - around
    if not 0 <= overlap <= max(room, 0) // 2:
        room = max(room, 0)
        raise ValueError(f"chunk_overlap must be from 0 to half of the {room} tokens of a chunk, not {overlap!r}")
    if whole <= limit or not text.strip():
        return [Chunk(0, len(text))]
    found = list(blocks(text))
    paths = _contexts(found, count, around, room)
    runs = _pack(_pieces(text, found, count, around, room), paths, room, overlap)
    chunks = [Chunk(run[0].start, run[-1].stop, paths.get(run[0].path, ("", 0))[0]) for run in runs]
    return list(_fitting(text, chunks, count, limit))


def _pieces(text: str, found: Sequence[Block], count: Count, around: int, room: int) -> list[_Piece]:
    """The pieces of all blocks, with their tokens."""
    spans, owners = [], []
    for number, block in enumerate(found):
        for span in sentences(text, block):
            spans.append(span)
            owners.append(number)
    stops = [start for start, _ in spans[1:]] + [len(text)]  # the whitespace between counts
    tokens = count([text[start:stop] for (start, _), stop in zip(spans, stops, strict=True)]) - around
    pieces: list[_Piece] = []
    path: tuple[tuple[int, str], ...] = ()
    first = 0
    while first < len(spans):
        block, last = found[owners[first]], first
        while last < len(spans) and owners[last] == owners[first]:
            last += 1
        if block.level:
            path = tuple(above for above in path if above[0] < block.level)
        above = tuple(title for _, title in path)
        size = int(tokens[first:last].sum())
        if (block.code or block.level) and size <= room:
            pieces.append(_Piece(spans[first][0], spans[last - 1][1], size, True, bool(block.level), above))
        else:
            for i in range(first, last):
                piece = _Piece(*spans[i], int(tokens[i]), i == first, False, above)
                pieces += [piece] if piece.tokens <= room else _words(text, piece, count, around, room)
        if block.level:
            path = (*path, (block.level, block.title))
        first = last
    return pieces


def _words(text: str, piece: _Piece, count: Count, around: int, room: int) -> Iterator[_Piece]:
    """A piece that is too long, by its words; a word that is too long, in parts of equal length."""
    words = list(re.compile(r"(\S+)\s*").finditer(text, piece.start, piece.stop))
    tokens = (count([word[0] for word in words]) - around).tolist()
    opens = piece.opens
    for word, size in zip(words, tokens, strict=True):
        start, stop = word.span(1)
        step = max(1, (stop - start) * room // (size + 1)) if size > room else stop - start
        for first in range(start, stop, step):
            last = min(first + step, stop)
            share = max(1, size * (last - first) // (stop - start))
            yield replace(piece, start=first, stop=last, tokens=share, opens=opens)
            opens = False


def _contexts(found: Sequence[Block], count: Count, around: int, room: int) -> dict[tuple[str, ...], tuple[str, int]]:
    """What stands for each path of headings, and its tokens; the outermost headings go where they take too much."""
    paths: dict[tuple[str, ...], tuple[str, int]] = {}
    path: tuple[tuple[int, str], ...] = ()
    for block in found:
        if block.level:
            path = (*(above for above in path if above[0] < block.level), (block.level, block.title))
            paths[tuple(title for _, title in path)] = ("", 0)
    for titles in paths:
        wanted = [" > ".join(titles[i:]) for i in range(len(titles))]
        sizes = count([f"{context}\n\n" for context in wanted]) - around
        for context, size in zip(wanted, sizes.tolist(), strict=True):
            if size <= room // _CONTEXT:
                paths[titles] = (context, size)
                break
    return paths


def _pack(
    pieces: Sequence[_Piece], paths: dict[tuple[str, ...], tuple[str, int]], room: int, overlap: int
) -> list[list[_Piece]]:
    """Consecutive pieces in runs that fit, divided where it hurts least."""
    runs: list[list[_Piece]] = []
    run: list[_Piece] = []
    filled = 0

    def free(first: _Piece) -> int:
        return room - paths.get(first.path, ("", 0))[1]

    for unit in _units(pieces, free):
        size = sum(piece.tokens for piece in unit)
        begins = unit[0].heading and filled * _FILLED >= room
        if run and (begins or filled + size > free(run[0])):
            runs.append(run)
            same = not unit[0].heading and run[-1].path == unit[0].path
            run = _repeated(run, min(overlap, free(unit[0]) - size)) if same else []
            filled = sum(piece.tokens for piece in run)
        run = [*run, *unit]
        filled += size
    return [*runs, run] if run else runs


def _units(pieces: Sequence[_Piece], free: Callable[[_Piece], int]) -> Iterator[list[_Piece]]:
    """What should not be divided: a paragraph that fits, a heading with what follows it."""
    i = 0
    while i < len(pieces):
        unit = [pieces[i]]
        while unit[-1].heading and i + len(unit) < len(pieces):
            unit.append(pieces[i + len(unit)])
        most = free(unit[0]) - sum(piece.tokens for piece in unit)
        last = i + len(unit)
        while unit[-1].opens and most >= 0 and last < len(pieces) and not pieces[last].opens:
            most -= pieces[last].tokens
            last += 1
        if most >= 0:  # all of the paragraph
            unit = list(pieces[i:last])
        elif len(unit) > 1 and sum(piece.tokens for piece in unit) > free(unit[0]):
            unit = unit[:1]
        yield unit
        i += len(unit)


def _repeated(run: Sequence[_Piece], tokens: int) -> list[_Piece]:
    """The last pieces of a run, of its last section, that have no more than so many tokens: never all of them."""
    first = len(run)
    while first > 1 and run[first - 1].path == run[-1].path and not run[first - 1].heading:
        tokens -= run[first - 1].tokens
        if tokens < 0:
            break
        first -= 1
    return list(run[first:])


def _fitting(text: str, chunks: list[Chunk], count: Count, limit: int) -> Iterator[Chunk]:
    """The chunks; one that has more tokens together than its parts have gives up what it repeats, then is halved.

    Halves end and begin where no piece does, so the chunk after them may repeat more than the last half: it gives that
    up too, and begins where the one before it stops.
    """
    begun, reached = -1, 0
    for part, size in zip(chunks, count([part.read(text) for part in chunks]).tolist(), strict=True):
        if part.start < reached and (size > limit or part.start <= begun):
            part = _trimmed(text, replace(part, start=reached))
            size = int(count([part.read(text)])[0])
        for fit in [part] if size <= limit else _fitting(text, _halves(text, part, limit), count, limit):
            begun, reached = fit.start, fit.stop
            yield fit


def _halves(text: str, part: Chunk, limit: int) -> list[Chunk]:
    """Two chunks of one, divided at a space near the middle; or one without the context."""
    if part.stop - part.start < 2:
        if part.context:
            return [replace(part, context="")]
        raise ValueError(f"a limit of {limit} tokens leaves no room for the character {text[part.start : part.stop]!r}")
    middle = (part.start + part.stop) // 2
    spaces = [m.start() for m in re.compile(r"\s").finditer(text, part.start + 1, part.stop - 1)]
    cut = min(spaces, key=lambda place: abs(place - middle), default=middle)
    cut = cut if abs(cut - middle) * 4 <= part.stop - part.start else middle
    halves = (replace(part, stop=cut), replace(part, start=cut))
    return [half for half in (_trimmed(text, half) for half in halves) if half.start < half.stop]


def _trimmed(text: str, part: Chunk) -> Chunk:
    """The span without whitespace around it."""
    inner = text[part.start : part.stop]
    start = part.start + len(inner) - len(inner.lstrip())
    return replace(part, start=start, stop=start + len(inner.strip()))
