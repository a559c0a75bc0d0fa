"""Small functions of `util`."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import write_bert
from vicinal import LoggingHandler, util

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sentence_transformers import util as theirs


def test_beside_the_peer(tmp_path: Path) -> None:
    folder = str(write_bert(tmp_path / "model"))
    (tmp_path / "other").mkdir()
    for path in (folder, str(tmp_path / "other")):
        given: dict[str, Any] = {"local_files_only": True}
        assert util.is_sentence_transformer_model(path, **given) == theirs.is_sentence_transformer_model(path, **given)
    assert not util.is_sentence_transformer_model("nobody/nothing", local_files_only=True)
    for thing in (torch.nn.ReLU(), logging.getLogger("a"), tmp_path):
        assert util.fullname(thing) == theirs.fullname(thing)
    assert util.get_device_name() == theirs.get_device_name()
    assert util.import_from_string("torch.nn.ReLU") is torch.nn.ReLU
    assert util.is_training_available()
    assert util.is_datasets_available()


def test_a_batch_moves() -> None:
    batch = {"a": torch.zeros(2), "b": "text"}
    assert util.batch_to_device(batch, "meta") is batch
    assert batch["a"].device.type == "meta"  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["nothing", "nowhere.at_all", "math.nothing"])
def test_names_that_lead_nowhere(path: str) -> None:
    with pytest.raises(ImportError, match=path.rpartition(".")[2] if path != "nowhere.at_all" else "nowhere"):
        util.import_from_string(path)


def test_a_file_is_fetched_whole_or_not_at_all(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("here")
    util.http_get(source.as_uri(), tmp_path / "folder" / "target")
    assert (tmp_path / "folder" / "target").read_text() == "here"
    with pytest.raises(OSError, match="absent"):
        util.http_get((tmp_path / "absent").as_uri(), tmp_path / "folder" / "target")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["target"]
    assert (tmp_path / "folder" / "target").read_text() == "here"


def test_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("tests.helpers")
    logger.propagate = False
    logger.addHandler(LoggingHandler())
    logger.warning("a line")
    assert "a line" in capsys.readouterr().out
