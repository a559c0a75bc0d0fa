"""Filters against plain Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal import Index, SentenceTransformer
from vicinal.errors import InvalidFilter

NAMES = ("a", "b", "and not")
values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, -1.0, 2.0, 2.5]),
    st.sampled_from(["", "x", "Y", "é"]),
)  # fmt: skip
comparable = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, 2.5]), st.sampled_from(["", "x", "Y", "é"]))


def kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return type(value).__name__
    return "number" if isinstance(value, (int, float)) else "text" if isinstance(value, str) else "other"


def meets(facts: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether metadata meet a filter, as the documentation says it."""

    def compared(name: str, operator: str, wanted: Any) -> bool:
        if operator == "exists":
            return (name in facts) is wanted
        if operator == "in":
            return any(compared(name, "=", one) for one in wanted)
        if operator in ("nin", "!="):
            return not compared(name, {"nin": "in", "!=": "="}[operator], wanted)
        if name not in facts or kind(facts[name]) != kind(wanted):
            return False
        value: Any = facts[name]
        if isinstance(value, str):
            value, wanted = value.encode(), wanted.encode()
        return {
            "=": lambda: value == wanted, "<": lambda: value < wanted, "<=": lambda: value <= wanted,
            ">": lambda: value > wanted, ">=": lambda: value >= wanted,
        }[operator]()  # fmt: skip

    def one(name: str, wanted: Any) -> bool:
        if name == "and":
            return all(meets(facts, part) for part in wanted)
        if name == "or":
            return any(meets(facts, part) for part in wanted)
        if name == "not":
            return not meets(facts, wanted)
        tests = wanted if isinstance(wanted, dict) else {"=": wanted}
        return all(compared(name, operator, value) for operator, value in tests.items())

    return all(one(name, wanted) for name, wanted in where.items())


tests = st.one_of(
    st.fixed_dictionaries({"exists": st.booleans()}),
    st.dictionaries(st.sampled_from(["=", "!="]), values, min_size=1),
    st.dictionaries(st.sampled_from(["<", "<=", ">", ">="]), comparable, min_size=1),
    st.dictionaries(st.sampled_from(["in", "nin"]), st.lists(values, max_size=3), min_size=1),
)
simple = st.dictionaries(st.sampled_from(NAMES), st.one_of(values, tests), max_size=2)
wheres = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"and": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"or": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def filled(
    model: SentenceTransformer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Index, list[dict[str, Any]]]]:
    rng = np.random.default_rng(0)
    pool = [None, True, False, -3, 0, 1, 2, 2.5, 0.5, -1.0, "", "x", "Y", "é", [1], {"x": 1}]
    facts = [
        {name: pool[rng.integers(len(pool))] for name in NAMES if rng.random() < 0.7} for _ in range(200)
    ]  # fmt: skip
    index = Index.create(Path(tmp_path_factory.mktemp("filters")) / "index", model)
    index.add(["apple"] * 200, [str(i) for i in range(200)], facts, vectors=rng.standard_normal((200, 13)))
    yield index, facts
    index.close()


@given(wheres)
@settings(max_examples=150, deadline=None)
def test_a_filter_is_what_plain_python_says(filled: tuple[Index, list[dict[str, Any]]], where: dict[str, Any]) -> None:
    index, facts = filled
    found = {hit.id for hit in index.search(np.ones(13), 200, where)}
    assert found == {str(i) for i, one in enumerate(facts) if meets(one, where)}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ([], "a filter must be a mapping such as"),
        ({"a": {"like": "x"}}, "'like' on 'a' is no operator: use one of ="),
        ({"a": {}}, "the filter on 'a' is empty"),
        ({"a": {"<": None}}, "'<' on 'a' compares numbers or texts, not None"),
        ({"a": {"<": True}}, "'<' on 'a' compares numbers or texts, not True or False"),
        ({"a": {"in": "xyz"}}, "'in' on 'a' takes a list of values, not 'xyz'"),
        ({"a": {"exists": 1}}, "'exists' on 'a' takes True or False, not 1"),
        ({"a": [1]}, r"'a' is compared with a text, .* None, not with \[1\]; {'a': {'in': \[\.\.\.\]}} means one"),
        ({"a": float("nan")}, "compared with nan, which nothing equals"),
        ({"a": 1 << 70}, "takes more than 64 bits"),
        ({"a": "\ud800"}, "half of a surrogate pair"),
        ({"or": {"a": 1}}, "'or' takes a list of filters"),
        ({1: 2}, "a field's name must be a text, not 1"),
        ({"a": {"in": list(range(40_000))}}, "a filter may hold 30,000 values, this one has 40,002"),
    ],
)
def test_what_is_no_filter(index: Index, where: Any, message: str) -> None:
    with pytest.raises(InvalidFilter, match=message):
        index.search("apple", where=where)


def test_wide_filters(index: Index) -> None:
    assert len(index.search("apple", 9, {"n": {"in": list(range(20_000))}})) == 2
    assert len(index.search("apple", 9, {"or": [{"n": i} for i in range(3000)]})) == 2


def test_a_filter_sees_what_is_written_later(index: Index, create: Callable[..., Index]) -> None:
    assert len(index.search("apple", 9, {"n": 5})) == 0
    index.add(["apple"], metadata=[{"n": 5}])
    assert len(index.search("apple", 9, {"n": 5})) == 1
