"""Where a text may be divided: sections under headings, blocks (paragraphs, code), sentences and lines.

Markdown as people write it (headings, fenced code, lists); of a plain text the blank lines and sentences are left.
Positions are character offsets into the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_ITEM = re.compile(r"[ \t]*([-*+•]|\d{1,4}[.)]|\|)[ \t]")
_END = re.compile(r"[.!?…]+[\"'”’)\]*_]*|[。！？]+[」』”’）]*")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|e\.g|i\.e|etc|vs|cf|al|Dr|Mr|Mrs|Ms|Prof|St|No|Fig|Eq|Sec|Vol|pp?)\.$"
)


@dataclass(frozen=True)
class Block:
    """A paragraph, a heading or a piece of code.

    Attributes:
        start, stop: its first character and the one after its last.
        level: of a heading, 1 to 6; 0 is none.
        title: of a heading.
        code: whether it is fenced code.
    """

    start: int
    stop: int
    level: int = 0
    title: str = ""
    code: bool = False


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a text, in order; between them is nothing but whitespace."""
    first: int | None = None  # where the paragraph begins
    lines = 0  # that it has
    last = 0
    fence = ""
    for start, stop in _lines(text):
        line = text[start:stop]
        if fence:
            last = stop
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                yield Block(first or 0, last, code=True)
                first, fence = None, ""
            continue
        opened = _FENCE.match(line)
        heading = None if opened else _HEADING.match(line)
        under = _UNDERLINE.match(line) if first is not None and lines == 1 else None
        if under and first is not None:
            yield Block(first, stop, 1 if under[1][0] == "=" else 2, text[first:last].strip())
            first = None
        elif opened or heading or not line.strip():
            if first is not None:
                yield Block(first, last)
                first = None
            if heading:
                yield Block(start, stop, len(heading[1]), heading[2].rstrip().rstrip("#").rstrip())
            elif opened:
                first, last, fence = start, stop, opened[1]
        elif first is None:
            first, last, lines = start, stop, 1
        else:
            last, lines = stop, lines + 1
    if first is not None:
        yield Block(first, last, code=bool(fence))


def _lines(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every line, the line break left out."""
    start = 0
    while start < len(text):
        stop = text.find("\n", start)
        stop = len(text) if stop < 0 else stop
        yield start, stop
        start = stop + 1


def sentences(text: str, block: Block) -> Iterator[tuple[int, int]]:
    """The parts of a block: a heading whole, code and lists by lines, a paragraph by sentences.

    Yields:
        Start and end, whitespace around left out; what lies between is whitespace.
    """
    cuts = [block.start, block.stop]
    if not block.level:
        for start, stop in _lines(text[block.start : block.stop]):
            line = text[block.start + start : block.start + stop]
            if block.code or _ITEM.match(line):
                cuts.append(block.start + start)
        if not block.code:
            cuts += _ends(text, block)
    cuts = sorted(set(cuts))
    for first, last in pairwise(cuts):
        part = text[first:last]
        if inner := part.strip():
            begin = first + len(part) - len(part.lstrip())
            yield begin, begin + len(inner)


def _ends(text: str, block: Block) -> Iterator[int]:
    """Where sentences end."""
    for found in _END.finditer(text, block.start, block.stop):
        if found[0][0] in "。！？" or not _goes_on(text, block, found):
            yield found.end()


def _goes_on(text: str, block: Block, found: re.Match[str]) -> bool:
    """Whether what looks like the end of a sentence is none."""
    after = text[found.end() : min(found.end() + 8, block.stop)]
    if not after[:1].isspace():
        return True
    short = _ABBREVIATION.search(text, max(block.start, found.start() - 8), found.start() + 1)
    return found[0][0] == "." and (after.lstrip()[:1].islower() or short is not None)
