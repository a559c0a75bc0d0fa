"""Tests of `vicinal models`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub.test_details import files
from tests.hub.test_listing import entry
from tests.hub_server import Hub, Repository, isolate, model_files
from vicinal.cli.hub import _bytes

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


def test_search(run: Run, hub: Hub) -> None:
    hub.listing = [entry("a/1", 60.5), entry("b/2", **{"model-index": 3}), entry("c/3", safetensors=None)]
    result = run("models", "search", "x", "--task", "retrieval", "--max-size", "500MB", "--sort", "score")
    assert result.exit_code == 0
    assert result.stderr == "3 models were looked at; of 1 the hub does not tell the size\n"
    heads, one, two = [line.split("\t") for line in result.stdout.splitlines()]
    assert heads[:3] == ["model", "score", "size"]
    assert one == ["a/1", "60.50 (1)", "133 MB", "mit", "en", "1000", "2024-02-22", "yes: network bert"]
    assert two[0] == "b/2"
    assert "results (model-index) of its card are not as they should be" in two[-1]
    found = json.loads(run("models", "search", "x", "--json").stdout)
    assert [(model["name"], model["score"], model["tasks"]) for model in found["models"]] == [
        ("a/1", 60.5, 1), ("b/2", None, 0), ("c/3", None, 0)
    ]  # fmt: skip
    hub.listing = []
    assert run("models", "search", "x").stderr == "0 models were looked at, none of them is as asked\n"


def test_search_that_is_not_understood(run: Run, hub: Hub) -> None:
    result = run("models", "search", "x", "--task", "speech")
    assert (result.exit_code, "'speech' is none of Retrieval, Reranking" in " ".join(result.stderr.split())) == (
        2,
        True,
    )
    result = run("models", "search", "x", "--max-size", "small")
    assert (result.exit_code, "'small' is no size" in result.stderr) == (2, True)
    assert hub.log == []


@pytest.mark.parametrize(
    ("text", "count"), [("500MB", 500_000_000), ("1.5 gb", 1_500_000_000), ("90", 90), ("2K", 2000)]
)
def test_sizes(text: str, count: int) -> None:
    assert _bytes(text) == count


def test_show_and_compare(run: Run, hub: Hub) -> None:
    hub.repositories[NAME].commit(files())
    hub.repositories["b/other"] = Repository()
    hub.repositories["b/other"].commit(files(**{"README.md": b"no card"}))
    result = run("models", "show", NAME)
    assert (result.exit_code, result.stderr) == (0, "")
    for line in (
        "dimensions     40",
        "licence        mit",
        "prompt         query: 'query: '",
        "score          Retrieval: 52.77, mean of 2",
        "                 SciFact: 71.28 (ndcg_at_10)",
    ):
        assert line in result.stdout.splitlines()
    assert json.loads(run("models", "show", NAME, "--json").stdout)["card"]["scores"][0]["value"] == 71.28
    result = run("models", "compare", NAME, NAME)
    assert "Retrieval, mean of 2\t52.77\t52.77\n  NFCorpus\t34.26\t34.26\n" in result.stdout
    result = run("models", "compare", NAME, "b/other")
    assert result.stderr == (
        "b/other: its card has no block of YAML between lines of ---\nthere is no task that all of their cards report\n"
    )
    found = json.loads(run("models", "compare", NAME, NAME, "--json").stdout)
    assert found["means"]["Retrieval"]["tasks"] == 2
    assert run("models", "compare", NAME).exit_code == 2


def test_one_line_for_what_goes_wrong(run: Run, hub: Hub) -> None:
    result = run("models", "show", "nobody/nothing")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("error: there is no nobody/nothing at ")
