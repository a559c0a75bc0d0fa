"""Settings of a training run: what is taken, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vicinal.errors import DataNotFound, InvalidData

config = pytest.importorskip("vicinal.recipes.config")

PLAIN: dict[str, Any] = {"model": "m", "output": "o", "data": [{"path": "a/faq.csv", "task": "retrieval"}]}


def with_data(**more: Any) -> dict[str, Any]:
    return {**PLAIN, "data": [{**PLAIN["data"][0], **more}]}


def test_what_is_not_said_has_its_default() -> None:
    found = config.parse(PLAIN)
    assert found.data == [config.DataConfig("a/faq.csv", "faq", "retrieval")]
    assert (found.dev, found.test, found.seed, found.sampling, found.leaks) == ([], [], 42, "proportional", "refuse")


def test_equal_names_are_told_apart() -> None:
    data = [{"path": f"{place}/faq.csv", "task": "retrieval"} for place in "abc"]
    data[1]["name"] = "faq-2"
    assert [one.name for one in config.parse({**PLAIN, "data": data}).data] == ["faq", "faq-2", "faq-3"]


def test_evaluation_as_a_list_is_the_test() -> None:
    found = config.parse({**PLAIN, "evaluation": [{"path": "x.tsv"}]})
    assert [one.name for one in found.test] == ["x"]
    assert found.dev == []


def test_a_file_and_what_goes_before_it(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "model: m\noutput: o\ndata:\n- {path: a.csv, loss: mnr}\ntraining: {max_steps: 3, learning_rate: 2e-5}\n"
    )
    found = config.read_config(path, {"seed": 3, "training": {"max_steps": 5}})
    assert found.training == {"max_steps": 5, "learning_rate": 2e-5}  # YAML takes 2e-5 for a text
    assert found.seed == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "m", "output": "o"}, "settings needs 'data'"),
        ({**PLAIN, "epoch": 3}, r"settings has no 'epoch': there are model, output, data"),
        ({**PLAIN, "evalation": []}, r"settings has no 'evalation': did you mean evaluation\?"),
        ({**PLAIN, "data": []}, r"settings\.data has no data set"),
        ({**PLAIN, "data": {"path": "x"}}, r"settings\.data must be a list, each .*, not \{'path': 'x'\}"),
        (with_data(weigth=2), r"settings\.data\[0\] has no 'weigth': did you mean weight\?"),
        (with_data(weight=0), r"settings\.data\[0\]\.weight must be above 0, not 0\.0"),
        (with_data(weight="much"), r"settings\.data\[0\]\.weight must be a number, not 'much'"),
        (with_data(weight=True), r"settings\.data\[0\]\.weight must be a number, not True"),
        (with_data(weight=float("nan")), r"settings\.data\[0\]\.weight must be above 0, not nan"),
        ({**PLAIN, "seed": -1}, r"settings\.seed must be from 0 to below 2\*\*32, not -1"),
        ({**PLAIN, "training": {"num_train_epochs": 0}}, r"training\.num_train_epochs must be above 0, not 0"),
        ({**PLAIN, "training": {"learning_rate": -1}}, r"training\.learning_rate must be above 0, not -1"),
        (with_data(limit=0), r"settings\.data\[0\]\.limit must be 1 or more, not 0"),
        (with_data(limit=1.5), r"settings\.data\[0\]\.limit must be a whole number, not 1\.5"),
        (with_data(columns="a,b"), r"settings\.data\[0\]\.columns must be a list, each a text, not 'a,b'"),
        (with_data(task="retreival"), r"task must be one of retrieval, duplicates, .*: did you mean retrieval\?"),
        (with_data(task=None), r"settings\.data\[0\] needs a task \(retrieval, .*\) or a loss"),
        (with_data(batch_sampler="dups"), r"batch_sampler must be one of batch_sampler, no_duplicates"),
        ({**PLAIN, "sampling": "even"}, r"settings\.sampling must be one of proportional, round_robin, not 'even'"),
        ({**PLAIN, "sampling": {"temp": 2}}, r"settings\.sampling has no 'temp': there is temperature"),
        ({**PLAIN, "sampling": {"temperature": 0}}, r"settings\.sampling\.temperature must be above 0, not 0"),
        ({**PLAIN, "instructions": {"faq": "x"}}, r"settings\.instructions has no 'faq': there are retrieval"),
        ({**PLAIN, "instructions": {"nli": {"query": "x"}}}, r"settings\.instructions\.nli must be a text"),
        ({**PLAIN, "instructions": {"retrieval": {"querys": "x"}}}, r"has no 'querys': did you mean query\?"),
        ({**PLAIN, "leaks": "keep"}, r"settings\.leaks must be one of refuse, drop, not 'keep'"),
        ({**PLAIN, "dtype": "int8"}, r"settings\.dtype must be one of float32, bfloat16, not 'int8'"),
        ({**PLAIN, "max_seq_length": 0}, r"settings\.max_seq_length must be 1 or more, not 0"),
        ({**PLAIN, "training": {"epochs": 2}}, r"settings\.training has no 'epochs'"),
        ({**PLAIN, "training": {"max_steps": "x"}}, r"settings\.training\.max_steps must be a whole number, not 'x'"),
        ({**PLAIN, "training": {"output_dir": "x"}}, r"training\.output_dir is not set here: it is `output`"),
        ({**PLAIN, "training": {"bf16": True}}, r"training\.bf16 is not set here: it is `dtype`"),
        ({**PLAIN, "evaluation": [{"path": "x", "task": "nli"}]}, r"settings\.evaluation\.test\[0\]\.task must be one"),
        ({**PLAIN, "evaluation": {"tset": []}}, r"settings\.evaluation has no 'tset': did you mean test\?"),
        ({**PLAIN, "evaluation": "x"}, r"settings\.evaluation must be a mapping of names to values, not 'x'"),
        ({**PLAIN, "evaluation": [{"path": "a", "name": "x"}, {"path": "b", "name": "x"}]}, "has two named 'x'"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidData, match=message) as caught:
        config.parse(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("model: [", "is no YAML: "), ("- a", "must be a mapping of names to values"), ("1: x", "must be a mapping"),
     ("", "must be a mapping"), ("model: m\ntraining: 3\n", r"config\.yaml\.training must be a mapping")],
)  # fmt: skip
def test_what_is_no_file_of_settings(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InvalidData, match=message):
        config.read_config(path, {"training": {"max_steps": 1}})
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidData, match="is not UTF-8"):
        config.read_config(path)
    with pytest.raises(DataNotFound, match=r"there is no settings file nowhere\.yaml"):
        config.read_config("nowhere.yaml")
