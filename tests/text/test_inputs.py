"""What `encode` is given: every accepted form, every refused one with what is said about it."""

from __future__ import annotations

import array
import re
from collections import OrderedDict, UserDict, deque
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vicinal.errors import InvalidInput, PromptWarning
from vicinal.loading.spec import Route, Spec, StaticEmbedding
from vicinal.text.inputs import read, resolve_prompt, stream

ROUTE = Route((StaticEmbedding(3, 2),), ("",), None)
SPEC = Spec({"": ROUTE}, prompts={"query": "query: ", "document": "", "list": "- "})
DEFAULT = Spec({"": ROUTE}, prompts=SPEC.prompts, default_prompt_name="query")
ROUTER = Spec({"query": ROUTE, "document": ROUTE}, default_route=None)


class Label(str):
    """A text of a type of its own."""


def texts(inputs: Any, spec: Spec = SPEC, **options: Any) -> list[Any]:
    return read(spec, inputs, **{"prompt": None, "prompt_name": None, "task": None, **options})[0]


@pytest.mark.parametrize(
    ("inputs", "wanted", "single"),
    [
        ("a", ["a"], True),
        ("", [""], True),
        (np.str_("a"), ["a"], True),
        (np.array("a"), ["a"], True),
        (Label("a"), ["a"], True),
        ({"text": "a"}, ["a"], True),
        (UserDict(text="a"), ["a"], True),
        (OrderedDict(text="a"), ["a"], True),
        ([], [], False),
        ((), [], False),
        (np.array([], dtype=str), [], False),
        (["a", "b"], ["a", "b"], False),
        (("a", "b"), ["a", "b"], False),
        (deque(["a", "b"]), ["a", "b"], False),
        (np.array(["a", "bc"]), ["a", "bc"], False),
        (np.array(["a", "bc"], object), ["a", "bc"], False),
        (pd.Series(["a", "b"], index=[7, 3]), ["a", "b"], False),
        (pd.Index(["a", "b"]), ["a", "b"], False),
        (pd.Series(["a", "b"], dtype="category"), ["a", "b"], False),
        ((text for text in "ab"), ["a", "b"], False),
        (dict.fromkeys("ab").keys(), ["a", "b"], False),
        ([np.str_("a"), Label("b"), "c"], ["a", "b", "c"], False),
        ([{"text": "a"}, {"text": "b"}], ["a", "b"], False),
        (["a", {"text": "b"}], ["a", "b"], False),
        ([("a", "b")], [("a", "b")], False),
        ([["a", "b"], ("c", "d")], [("a", "b"), ("c", "d")], False),
        (np.array([["a", "b"], ["c", "d"]]), [("a", "b"), ("c", "d")], False),
        ([{"text": ("a", "b")}], [("a", "b")], False),
    ],
    ids=lambda value: re.sub(" at 0x.*", "", repr(value)),
)
def test_accepted(inputs: Any, wanted: list[Any], single: bool) -> None:
    found, is_single, prompt, task = read(SPEC, inputs, None, None, None)
    assert found == wanted
    assert {type(text) for text in found} <= {str, tuple}
    assert (is_single, prompt, task) == (single, "", None)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (None, "encode takes a text or a list of texts, not None"),
        (5, "encode takes a text or a list of texts, not of type int"),
        (float("nan"), r"not nan \(a missing value\)"),
        (True, "not of type bool"),
        (b"abc", "not of type bytes: decode it first"),
        (bytearray(b"abc"), "not of type bytearray: decode it first"),
        ({"a"}, "not of type set: a set has no order, make it a list"),
        (frozenset("a"), "not of type frozenset: a set has no order"),
        (np.array(5), "not of type int"),
        ([None], "row 0 is None, not a text; remove it, or make it one"),
        (["a", None], "row 1 is None, not a text"),
        (["a", 5], "row 1 is of type int"),
        (["a", float("nan")], r"row 1 is nan \(a missing value\)"),
        ([b"abc"], "row 0 is of type bytes"),
        (np.array([1.5, 2.5]), "row 0 is of type float"),
        (pd.Series(["a", None, "b"]), "row 1 is (None|nan)"),
        (pd.Series(["a", pd.NA], dtype=object), "row 1 is of type NAType"),
        (array.array("i", [1]), "row 0 is of type int"),
        (range(2), "row 0 is of type int"),
        ([["a"]], r"row 0 is a list of 1 \(str\)"),
        ([("a", "b", "c")], r"row 0 is a tuple of 3 \(str, str, str\), neither a text nor a pair of texts"),
        ([("a", None)], r"row 0 is a tuple of 2 \(str, NoneType\)"),
        ([["a", "b"], "c"], "row 1 is a text, row 0 is not: give one kind a call"),
        (["c", "d", ("a", "b")], "row 2 is a pair, row 0 is not: give one kind a call"),
        ({"query": "a"}, "mappings must have the one key 'text'; found 'query'"),
        ({}, "mappings must have the one key 'text'"),
        ({"text": None}, "row 0 is None"),
        ({"text": "a", "image": "b"}, "found 'image', 'text'"),
        ([{"role": "user", "content": "hello"}], "found 'content', 'role'"),
        ([{"text": "a"}, {"other": "b"}], "found 'other', 'text'"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), r"not a table: give it the column, as in table\['text'\]"),
    ],
    ids=repr,
)
def test_refused(inputs: Any, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        texts(inputs)


def test_an_error_while_a_generator_runs_is_the_callers_own() -> None:
    def broken() -> Any:
        yield "a"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        texts(broken())


def test_the_callers_list_is_left_alone() -> None:
    given = ["a", {"text": "b"}]
    texts(given, prompt="x ")
    assert given == ["a", {"text": "b"}]


def test_a_mapping_may_name_the_route() -> None:
    assert read(ROUTER, {"query": "a"}, None, None, None) == (["a"], True, "", "query")
    assert read(ROUTER, [{"document": "a"}, {"document": "b"}], None, None, "query")[3] == "document"
    assert read(ROUTER, [{"text": "a"}], None, None, "query")[3] == "query"
    for wrong in ([{"query": "a"}, {"document": "b"}], [{"other": "a"}], [{"query": "a"}, "b"]):
        with pytest.raises(InvalidInput, match=r"one key 'text' or one route for all rows \(query, document\); found"):
            read(ROUTER, wrong, None, None, None)


@pytest.mark.parametrize(
    ("spec", "prompt", "name", "wanted"),
    [
        (SPEC, None, None, ""),
        (SPEC, None, "query", "query: "),
        (SPEC, None, "document", ""),
        (SPEC, "mine ", None, "mine "),
        (SPEC, "", None, ""),
        (DEFAULT, None, None, "query: "),
        (DEFAULT, "", None, ""),
        (DEFAULT, None, "document", ""),
        (DEFAULT, "mine ", None, "mine "),
        (DEFAULT, None, "list", "- "),
    ],
)
def test_which_prompt(spec: Spec, prompt: str | None, name: str | None, wanted: str) -> None:
    assert resolve_prompt(spec, prompt, name) == wanted
    found, _, said, _ = read(spec, ["a", "b"], prompt, name, None)
    assert (found, said) == ([f"{wanted}a", f"{wanted}b"], wanted)
    assert texts([("a", "b")], spec, prompt=prompt, prompt_name=name) == [(f"{wanted}a", "b")]


def test_prompt_beats_prompt_name_and_says_so() -> None:
    with pytest.warns(PromptWarning, match=r"both prompt and prompt_name='query' given: prompt is used"):
        assert resolve_prompt(SPEC, "mine ", "query") == "mine "


def test_a_prompt_that_is_not_there() -> None:
    with pytest.raises(
        ValueError, match=r"there is no prompt named 'nope'; this model has 'query', 'document', 'list'"
    ):
        texts("a", prompt_name="nope")
    with pytest.raises(InvalidInput, match="prompt must be a text, not of type int"):
        texts("a", prompt=5)


def test_a_stream_is_drawn_portion_by_portion() -> None:
    drawn: list[int] = []
    rows = stream((drawn.append(i) or str(i) for i in range(100)), "> ", 7)  # type: ignore[func-returns-value]
    assert drawn == []
    assert next(rows) == "> 0"
    assert len(drawn) == 7
    assert list(rows) == [f"> {i}" for i in range(1, 100)]


def test_a_stream_names_the_row() -> None:
    rows = stream(["a"] * 9 + [None], "", 4)
    with pytest.raises(InvalidInput, match="row 9 is None"):
        list(rows)
    with pytest.raises(InvalidInput, match="a set has no order"):
        list(stream({"a"}, "", 4))
    for single in ("a", {"text": "a"}):
        with pytest.raises(InvalidInput, match="a stream is an iterable of texts; for a single text use encode"):
            list(stream(single, "", 4))
