"""Tests of `vicinal models`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import Hub, Repository, isolate, model_files

Run = Callable[..., Any]
NAME = "someone/a-model"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    isolate(monkeypatch, tmp_path)
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repositories[NAME] = Repository()
        yield hub


def test_known(run: Run, no_network: None) -> None:
    result = run("models", "known", "MULTILINGUAL", "fast")
    assert (result.exit_code, result.stderr) == (0, "")
    heads, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert heads[:4] == ["model", "kind", "dims", "tokens"]
    assert ["sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", "encoder", "384", "128"] in [
        row[:4] for row in rows
    ]
    found = json.loads(run("models", "known", "/all-minilm-l6-v2", "--json").stdout)
    assert [(model["name"], model["dims"], model["without_torch"]) for model in found] == [
        ("sentence-transformers/all-MiniLM-L6-v2", 384, True)
    ]


def test_download_list_remove(run: Run, hub: Hub, tmp_path: Path) -> None:
    commit = hub.repositories[NAME].commit(model_files())
    result = run("models", "download", NAME)
    folder = tmp_path / "hf" / "hub" / "models--someone--a-model" / "snapshots" / commit
    assert (result.exit_code, result.stdout) == (0, f"{folder}\n")
    result = run("models", "download", NAME, "--json")
    assert json.loads(result.stdout) == {
        "model": NAME, "folder": str(folder), "revision": commit, "source": "hub cache"
    }  # fmt: skip
    lines = [line.split("\t") for line in run("models", "list").stdout.splitlines()]
    assert lines[1][:2] == [NAME, "hub cache"]
    assert lines[1][4] == "yes: network bert"
    assert lines[-1][0] == "vicinal-static-en"
    found = json.loads(run("models", "list", "--json").stdout)
    assert (found[0]["model"], found[0]["revisions"], found[0]["missing"]) == (NAME, 1, [])
    result = run("models", "remove", NAME)
    assert (result.exit_code, result.stderr) == (0, f"{NAME}: 0.0 MB are free\n")
    result = run("models", "remove", NAME)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: there is no {NAME} in the hub cache ")


def test_download_refuses_what_does_not_run(run: Run, hub: Hub) -> None:
    hub.repositories[NAME].commit(model_files() | {"config.json": b'{"model_type": "llava"}'})
    result = run("models", "download", NAME)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "model_type 'llava' has no network here" in result.stderr
    assert "model.safetensors" not in hub.fetched()
