from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vicinal.store.cache.keys import Keys

KEYS = Keys("space", "float32", 0)
words = st.text(st.characters(), max_size=6)


def test_keys_are_the_texts_in_their_context() -> None:
    texts = ["", "a", "b", "ab", "a\x00", "\x00a", "\u00e4", "a\u0308", "\ud800", "space", "text"]
    pairs = [("", "a"), ("a", ""), ("a", "b"), ("ab", ""), ("", "ab")]
    contexts = [KEYS, Keys("spac", "efloat32", 0), Keys("space", "bfloat16", 0), Keys("space", "float32", 1)]
    found = [key for keys in contexts for key in [*keys(texts), *keys(pairs)]]
    assert len(set(found)) == len(found)
    assert {len(key) for key in found} == {16}
    assert Keys("space", "float32", 0)(texts) == KEYS(texts)
    assert KEYS([]) == []


@given(st.tuples(words, words), st.tuples(words, words))
def test_pairs_do_not_run_together(one: tuple[str, str], other: tuple[str, str]) -> None:
    a, b = KEYS([one, other])
    assert (a == b) == (one == other)
