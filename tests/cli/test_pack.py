"""Tests of `vicinal pack`."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vicinal.loading.locate import Located

Run = Callable[..., Any]


def test_a_folder_becomes_a_wheel(run: Run, tmp_path: Path, small: Path) -> None:
    result = run("pack", small, "-o", tmp_path / "out", "--id", "acme/tiny", "--version", "2.1.0")
    assert (result.exit_code, result.stderr) == (0, "")
    wheel = Path(result.stdout.rstrip("\n"))
    assert wheel == tmp_path / "out" / "vicinal_model_acme_tiny-2.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read("vicinal_model_acme_tiny/model/model.safetensors")
    assert content == (small / "model.safetensors").read_bytes()


def test_a_model_of_the_hub_tells_its_id_and_revision(
    run: Run, tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def locate(name: str, *, revision: str | None) -> Located:
        asked.append((name, revision))
        return Located(small, "acme/tiny", "hub cache", "0123abc")

    monkeypatch.setattr("vicinal.loading.locate.locate", locate)
    result = run("pack", "acme/tiny", "-o", tmp_path, "--revision", "v2", "--dtype", "bfloat16")
    assert result.exit_code == 0
    assert asked == [("acme/tiny", "v2")]
    with zipfile.ZipFile(result.stdout.rstrip("\n")) as archive:
        statement = json.loads(archive.read("vicinal_model_acme_tiny/model/vicinal_model.json"))
    assert (statement["id"], statement["revision"], statement["dtype"]) == ("acme/tiny", "0123abc", "bfloat16")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "a folder does not tell the model's id"),
        (("--id", "acme/tiny", "--version", "new"), 2, "version must be in the normal form of PEP 440"),
        (("--id", "a b"), 2, "model_id must be like 'organisation/name'"),
    ],
)
def test_wrong_calls(run: Run, tmp_path: Path, small: Path, options: tuple[str, ...], code: int, message: str) -> None:
    result = run("pack", small, "-o", tmp_path, *options)
    assert result.exit_code == code
    assert message in result.stderr


def test_a_model_that_is_not_whole(run: Run, tmp_path: Path, small: Path) -> None:
    shutil.copytree(small, tmp_path / "model", ignore=shutil.ignore_patterns("model.safetensors"))
    result = run("pack", tmp_path / "model", "-o", tmp_path / "out", "--id", "acme/none")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: the model at {tmp_path}/model is not complete; missing: ")
    assert not (tmp_path / "out").exists()
