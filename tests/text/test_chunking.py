"""Chunks of texts, counted in words and signs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vicinal.text.chunking import Chunk, chunk

AROUND = 2


def count(texts: Sequence[str]) -> NDArray[np.int64]:
    """Words of four letters at most, signs, and two tokens around."""
    return np.array([len(re.findall(r"\w{1,4}|[^\w\s]", text)) + AROUND for text in texts], np.int64)


def read(text: str, limit: int, overlap: int = 0) -> list[str]:
    return [part.read(text) for part in chunk(text, count, limit, overlap)]


def test_a_text_that_fits_is_one_chunk() -> None:
    assert chunk("a b c", count, 5) == [Chunk(0, 5)]
    assert chunk("", count, 3) == [Chunk(0, 0)]


def test_paragraphs_stay_whole_where_they_fit() -> None:
    assert read("a b c.\n\nd e f.\n\ng h.", 8 + AROUND) == ["a b c.\n\nd e f.", "g h."]


def test_then_sentences_then_words() -> None:
    assert read("Aa b cc. Dd e ff. Gg hh.", 5 + AROUND) == ["Aa b cc.", "Dd e ff.", "Gg hh."]
    assert read("a b c d e f g", 3 + AROUND) == ["a b c", "d e f", "g"]
    assert read("abcdefghijklmnop", 2 + AROUND) == ["abcdef", "ghijkl", "mnop"]


def test_a_heading_goes_with_what_follows_and_stands_above_the_rest() -> None:
    text = "# A\n\n## B\n\nOne two three. Four five six. Nine ten six one.\n\n## C\n\nSeven eight."
    assert read(text, 16 + AROUND) == [
        "# A\n\n## B\n\nOne two three. Four five six.",
        "A > B\n\nNine ten six one.",
        "A\n\n## C\n\nSeven eight.",
    ]
    for part in chunk(text, count, 16 + AROUND):
        assert not re.search(r"## \w\s*$", text[part.start : part.stop]), "a heading is alone at the end"


def test_a_new_section_begins_a_chunk_once_one_is_filled() -> None:
    text = "# A\n\none two three four five.\n\n# B\n\nsix seven eight nine ten."
    assert read(text, 16 + AROUND) == ["# A\n\none two three four five.", "# B\n\nsix seven eight nine ten."]


def test_code_stays_whole_where_it_fits() -> None:
    code = "```\na b\n\nc d\n```"
    text = f"one two three four.\n\n{code}\n\nfive six."
    assert code in "".join(read(text, 12 + AROUND))
    assert any(part.count("```") == 2 for part in read(text, 12 + AROUND))


def test_overlap_repeats_whole_sentences() -> None:
    text = "Aa b cc. Dd e ff. Gg h ii. Jj k ll."
    assert read(text, 8 + AROUND, overlap=4) == ["Aa b cc. Dd e ff.", "Dd e ff. Gg h ii.", "Gg h ii. Jj k ll."]
    assert read(text, 8 + AROUND, overlap=3) == ["Aa b cc. Dd e ff.", "Gg h ii. Jj k ll."]


@pytest.mark.parametrize(("limit", "overlap"), [(10, 5), (10, -1), (2, 1)])
def test_an_overlap_of_more_than_half_is_refused(limit: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=r"overlap must be from 0 to half of the \d+ tokens of a chunk, not"):
        chunk("a b c d e f g h i j k l", count, limit, overlap)


def test_a_limit_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="a limit of 2 tokens leaves no room for the character 'a'"):
        chunk("a b c", count, AROUND)


words = st.text(st.sampled_from("abé字"), min_size=1, max_size=9)
pieces = st.sampled_from([" ", "\n", "\n\n", ". ", "! ", "\n# ", "\n\n## ", "\n- ", "\n```\n", "\n===\n", ",", "\t"])
texts = st.lists(st.one_of(words, pieces), max_size=60).map("".join)


@given(texts, st.integers(3, 30), st.integers(0, 5))
@example(". a,aa,aa", 4, 2)  # one that is halved repeats nothing
@example("a" * 27 + ",\n```\naaaaa " + "a" * 17, 6, 3)  # nor more than the last half before it
def test_every_chunk_fits_and_together_they_are_the_text(text: str, room: int, overlap: int) -> None:
    overlap = min(overlap, room // 2)
    chunks = chunk(text, count, room + AROUND, overlap)
    assert chunks
    reached, starts = 0, []
    for part in chunks:
        assert 0 <= part.start <= part.stop <= len(text)
        assert not text[reached : part.start].strip(), "something is left out"
        assert part.stop >= reached
        reached = part.stop
        starts.append(part.start)
    assert not text[reached:].strip()
    assert starts == sorted(set(starts)), "every chunk begins later than the one before"
    assert all(count([part.read(text)])[0] <= room + AROUND for part in chunks)
    if not overlap:
        assert all(a.stop <= b.start for a, b in pairwise(chunks))
