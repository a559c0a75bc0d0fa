"""Tests of vicinal.cli.terminal."""

from __future__ import annotations

import warnings

import pytest

from vicinal.cli import terminal
from vicinal.errors import TextTooLong, TruncationWarning


def test_naming_puts_places_for_rows() -> None:
    places = ["a.txt:7", "a.txt:8", "b.txt:1"]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        with terminal.naming(places):
            warnings.warn('row 2 (900 tokens), row 0 (4). Say truncation="ignore".', TruncationWarning, stacklevel=1)
            warnings.warn("of row 0, 1 and 3 more", TruncationWarning, stacklevel=1)
    assert [str(warning.message) for warning in found] == [
        "b.txt:1 (900 tokens), a.txt:7 (4). Say --truncation ignore.",
        "of a.txt:7, a.txt:8 and 3 more",
    ]
    with pytest.raises(TextTooLong, match=r"^text b\.txt:1 is long$"), terminal.naming(places):
        raise TextTooLong("text row 2 is long")


def test_warnings_of_a_kind_are_shown_three_times_and_then_announced(capsys: pytest.CaptureFixture[str]) -> None:
    shown = terminal.Warnings(lambda *args: pytest.fail("not vicinal's"))
    for i in range(6):
        shown(TruncationWarning(f"number {i}"), TruncationWarning, "file.py", 3)
    assert capsys.readouterr().err.splitlines() == [
        "warning: number 0",
        "warning: number 1",
        "warning: number 2",
        "warning: there is more of this kind (TruncationWarning), which is not shown",
    ]


def test_other_warnings_are_left_to_python() -> None:
    given = []
    terminal.Warnings(lambda *args: given.append(args[1]))(UserWarning("x"), UserWarning, "file.py", 3)
    assert given == [UserWarning]


def test_one_line() -> None:
    assert terminal.one_line(" a\tb\r\nc \x1b[31md\x9b ") == "a b c  [31md"


def test_no_progress_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress(lambda: pytest.fail("counted for nothing")) as done:
        done(5)
    assert capsys.readouterr() == ("", "")
