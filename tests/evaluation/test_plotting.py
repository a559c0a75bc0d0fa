"""Curves of an evaluator's file and of a run's log."""

from __future__ import annotations

from pathlib import Path

import pytest

from vicinal.errors import InvalidData
from vicinal.evaluation.plotting import Curve, check_picture, plot_curves, read_curves

EVALUATOR = "epoch,steps,cosine_ap,cosine_f1\n0,10,0.5,0.25\n1,20,0.75,0.5\n"
LOG = (
    "step,epoch,seconds,name,value\n1,0.5,0.1,loss,2.0\n1,0.5,0.1,learning_rate,1e-05\n"
    "2,1.0,0.2,loss,1.0\n2,1.0,0.3,eval_ap,0.5\n"
)


def test_both_forms_give_curves(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(EVALUATOR)
    assert read_curves(tmp_path / "a.csv") == {
        "cosine_ap": Curve([10, 20], [0, 1], [0.5, 0.75]),
        "cosine_f1": Curve([10, 20], [0, 1], [0.25, 0.5]),
    }
    (tmp_path / "log.csv").write_text(LOG)
    curves = read_curves(tmp_path / "log.csv")
    assert curves["loss"] == Curve([1, 2], [0.5, 1], [2, 1])
    assert curves["eval_ap"] == Curve([2], [1], [0.5])


def test_a_picture_has_the_curves_by_name(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    import matplotlib

    (tmp_path / "log.csv").write_text(LOG)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        plot_curves(tmp_path / "log.csv", tmp_path / "all.svg")
        plot_curves(tmp_path / "log.csv", tmp_path / "one.svg", ["learning_rate"])
    every, one = ((tmp_path / f"{name}.svg").read_text() for name in ("all", "one"))
    assert ">loss<" in every
    assert ">eval_ap<" in every
    assert ">learning_rate<" not in every
    assert ">learning_rate<" in one
    with pytest.raises(InvalidData, match=r"log\.csv has no 'los'; it has loss, learning_rate, eval_ap"):
        plot_curves(tmp_path / "log.csv", tmp_path / "x.png", ["los"])
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,3\n", "is no file of an evaluator, .*, nor a run's log.csv: it begins with"),
        ("", "it begins with"),
        ("epoch,steps,ap\n", "has no row yet"),
        ("epoch,steps,ap\n0,1\n", r"x\.csv:2 must be 3 cells, with numbers"),
        ("epoch,steps,ap\n0,1,high\n", r"x\.csv:2 must be 3 cells, with numbers"),
        ("step,epoch,seconds,name,value\n1,0.5\n", r"x\.csv:2 must be 5 cells, with numbers"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InvalidData, match=message):
        read_curves(tmp_path / "x.csv")


def test_what_cannot_become_a_picture_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"must end in \.png, \.svg, \.pdf, not 'curve.gif'"):
        check_picture(tmp_path / "curve.gif")
    with pytest.raises(InvalidData, match="no folder: make it first"):
        check_picture(tmp_path / "none" / "curve.png")
