"""The loop that texts go through: portions, windows, order."""

from __future__ import annotations

from itertools import count, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal import SentenceTransformer, engine


def length(text):
    return len(text) if isinstance(text, str) else sum(map(len, text))


_TEXTS = st.lists(st.one_of(st.text(max_size=30), st.tuples(st.text(max_size=9), st.text(max_size=9))), max_size=80)


@pytest.fixture
def small(monkeypatch):
    """Portions of 20 texts or 300 characters, windows of 6."""
    monkeypatch.setattr(engine, "_PORTION", 20)
    monkeypatch.setattr(engine, "_CHARACTERS", 300)
    monkeypatch.setattr(engine, "_WINDOW", 6)


@given(texts=_TEXTS)
@settings(max_examples=60)
def test_portions_are_consecutive_and_bounded(texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_PORTION", 20)
        patch.setattr(engine, "_CHARACTERS", 300)
        portions = list(engine.portions(iter(texts)))
    assert [text for portion in portions for text in portion] == texts
    for portion in portions:
        assert 1 <= len(portion) <= 20
        assert sum(map(length, portion[:-1])) < 300  # only the last may pass the bound


@given(texts=_TEXTS)
@settings(max_examples=60)
def test_windows_hold_every_text_once_longest_first(texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_PORTION", 20)
        patch.setattr(engine, "_WINDOW", 6)
        windows = list(engine._sorted(iter(texts)))
    rows = [row for numbers, _ in windows for row in numbers.tolist()]
    assert sorted(rows) == list(range(len(texts)))
    for numbers, portion in windows:
        assert portion == [texts[row] for row in numbers.tolist()]
    whole = [w for w in windows if len(w[1]) == 6][:2]
    if len(texts) >= 20:
        assert min(map(length, whole[0][1])) >= max(map(length, whole[1][1]))


def test_vectors_do_not_depend_on_windows(small):
    rng = np.random.default_rng(0)
    words = ["red", "green", "apple", "tax", "law", "sea", "stone", "night"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 40))) for _ in range(130)]
    model = SentenceTransformer()
    together = model.encode(texts)
    for i in range(0, len(texts), 7):
        np.testing.assert_allclose(together[i], model.encode(texts[i]), atol=1e-6)
    np.testing.assert_allclose(np.stack(list(model.encode_iter(texts))), together, atol=1e-6)


def test_a_stream_is_drawn_a_portion_at_a_time(small):
    drawn = count()
    stream = SentenceTransformer().encode_iter(f"text {next(drawn)}" for _ in iter(int, 1))
    assert len(list(islice(stream, 3))) == 3
    assert next(drawn) <= 1024  # what the input check takes at once, of an endless iterator
