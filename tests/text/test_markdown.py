"""Where a text may be divided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.text.markdown import Block, blocks, sentences

PAGE = """\
# Returns

Within 30 days. See e.g. the label, Dr. Smith said. It costs 3.5 euros!

Underlined
----------

```python
# no heading

x = 1
```
- first item
- second item

##Not a heading
### Deep ###
"""


def shown(text: str) -> list[tuple[str, int, bool]]:
    """(text, level, code) of each block."""
    return [(text[block.start : block.stop], block.level, block.code) for block in blocks(text)]


def parts(text: str) -> list[str]:
    """The sentences and lines of a text of one block."""
    (block,) = blocks(text)
    return [text[start:stop] for start, stop in sentences(text, block)]


def test_blocks_of_a_page() -> None:
    assert shown(PAGE) == [
        ("# Returns", 1, False),
        ("Within 30 days. See e.g. the label, Dr. Smith said. It costs 3.5 euros!", 0, False),
        ("Underlined\n----------", 2, False),
        ("```python\n# no heading\n\nx = 1\n```", 0, True),
        ("- first item\n- second item", 0, False),
        ("##Not a heading", 0, False),
        ("### Deep ###", 3, False),
    ]
    assert [block.title for block in blocks(PAGE) if block.level] == ["Returns", "Underlined", "Deep"]


def test_code_that_is_never_closed_goes_to_the_end() -> None:
    assert shown("~~~\na\n\n```\nb\n") == [("~~~\na\n\n```\nb", 0, True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three!", ["One.", "Two?", "Three!"]),
        ("See e.g. this, Dr. Smith. It costs 3.5 euros.", ["See e.g. this, Dr. Smith.", "It costs 3.5 euros."]),
        ("He said 'no.' Then he left.", ["He said 'no.'", "Then he left."]),
        ("你好。再见！", ["你好。", "再见！"]),
        ("intro:\n- one\n- two", ["intro:", "- one", "- two"]),
        ("wrapped\nline", ["wrapped\nline"]),
        ("```\na\nb\n```", ["```", "a", "b", "```"]),
        ("# A heading. With a stop.", ["# A heading. With a stop."]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert parts(text) == expected


texts = st.text(st.sampled_from("ab .!?\n\t#`-*=1。 é"), max_size=200)


@given(texts)
def test_all_but_whitespace_is_in_some_block_and_in_some_sentence(text: str) -> None:
    last = 0
    for block in blocks(text):
        assert last <= block.start < block.stop <= len(text)
        assert not text[last : block.start].strip()
        at = block.start
        for start, stop in sentences(text, block):
            assert at <= start < stop <= block.stop
            assert not text[at:start].strip()
            at = stop
        assert not text[at : block.stop].strip()
        last = block.stop
    assert not text[last:].strip()


def test_a_block_knows_its_place() -> None:
    assert list(blocks("\n\n  # Title\nbody")) == [Block(2, 11, 1, "Title"), Block(12, 16)]
