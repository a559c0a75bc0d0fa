"""vicinal.hub.listing and asking, against a hub on the loopback interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import Hub
from vicinal.errors import HubError
from vicinal.hub.listing import LOOKED, search


def entry(name: str, score: float | None = None, **other: Any) -> dict[str, Any]:
    """A model as the hub lists it."""
    results = [
        {
            "task": {"type": "Retrieval"},
            "dataset": {"type": "mteb/scifact", "name": "MTEB SciFact", "config": "default", "split": "test"},
            "metrics": [{"type": "ndcg_at_10", "value": score, "verified": False}],
        }
    ]
    return {
        "_id": "64cf5d2e1d9f1a0d9b5a1b1c",
        "id": name,
        "cardData": {"license": "mit", "language": ["en"], "tags": ["mteb"]},
        "config": {"architectures": ["BertModel"], "model_type": "bert", "tokenizer_config": {"pad_token": "[PAD]"}},
        "downloads": 1000,
        "gated": False,
        "lastModified": "2024-02-22T03:36:23.000Z",
        "likes": 7,
        "model-index": None if score is None else [{"name": name, "results": results}],
        "pipeline_tag": "feature-extraction",
        "safetensors": {"parameters": {"I64": 512, "F32": 33_360_000}, "total": 33_360_512},
        "siblings": [{"rfilename": "config.json"}, {"rfilename": "model.safetensors"}],
        "tags": ["sentence-transformers", "safetensors", "bert", "mteb", "en", "license:mit"],
        **other,
    }


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited for."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


def test_what_is_told_of_a_model(hub: Hub) -> None:
    hub.listing = [entry("a/small", 71.3, gated="manual")]
    found = search("small", kind="Retrieval", language="de", token=False)
    (model,) = found.models
    assert (model.name, model.downloads, model.likes, model.modified, model.gated) == (
        "a/small",
        1000,
        7,
        "2024-02-22",
        True,
    )
    assert (model.bytes, model.parameters) == (4 * 33_360_000 + 8 * 512, 33_360_512)
    assert (model.card.licence, model.card.languages, model.card.scores[0].value) == ("mit", ("en",), 71.3)
    assert (model.support.runs, model.support.how) == (True, "network bert")
    (asked,) = hub.queries
    assert (asked["search"], asked["filter"], asked["sort"]) == (
        ["small"],
        ["sentence-transformers", "de"],
        ["downloads"],
    )
    assert {"cardData", "config", "model-index", "safetensors", "siblings"} <= set(asked["expand"])
    assert hub.log == ["GET /api/models"]


def test_by_score_over_pages(hub: Hub) -> None:
    hub.page = 2
    hub.listing = [entry("a/1", 50.0), entry("a/2"), entry("a/3", 70.0), entry("a/4", 60.0), entry("a/5", 10.0)]
    found = search("", sort="score", limit=4, token=False)
    assert [model.name for model in found.models] == ["a/3", "a/4", "a/1", "a/5"]
    assert (found.looked, len(hub.log)) == (5, 3)


def test_no_page_more_than_needed(hub: Hub) -> None:
    hub.page = 2
    hub.listing = [entry(f"a/{i}") for i in range(5)]
    assert [model.name for model in search("", limit=2, token=False).models] == ["a/0", "a/1"]
    assert len(hub.log) == 1
    hub.page, hub.listing = 100, [entry(f"a/{i}") for i in range(500)]
    assert search("", sort="score", limit=200, token=False).looked == LOOKED


def test_by_size(hub: Hub) -> None:
    def sized(name: str, count: int, kind: str = "F16") -> dict[str, Any]:
        return entry(name, safetensors={"parameters": {kind: count}, "total": count})

    hub.listing = [
        sized("a/large", 1000),
        sized("a/small", 10),
        entry("a/unknown", safetensors=None),
        sized("a/x", 1, "Q4"),
    ]
    found = search("", sort="size", max_bytes=100, token=False)
    assert ([model.name for model in found.models], found.looked, found.without_size) == (["a/small"], 4, 2)
    names = [model.name for model in search("", sort="size", token=False).models]
    assert names == ["a/small", "a/large", "a/unknown", "a/x"]


def test_rerankers(hub: Hub) -> None:
    hub.listing = [entry("a/vectors"), entry("a/pairs", pipeline_tag="text-ranking"),
                   entry("a/mpnet", pipeline_tag="text-ranking", config={"model_type": "t5"})]  # fmt: skip
    assert [model.name for model in search("", token=False).models] == ["a/vectors"]
    found = search("", rerankers=True, token=False)
    assert hub.queries[-1]["pipeline_tag"] == ["text-ranking"]
    assert [model.support.runs for model in found.models if model.name != "a/vectors"] == [True, False]


@pytest.mark.parametrize(
    "damage",
    [
        {"cardData": "nothing"}, {"cardData": {"tags": 3, "language": {"a": 1}}}, {"model-index": [{"name": 1}]},
        {"config": None}, {"siblings": [3, {}]}, {"safetensors": {"parameters": [1]}}, {"tags": None}, {"likes": None},
    ],
    ids=str,
)  # fmt: skip
def test_malformed_cards_do_not_stop_a_listing(hub: Hub, damage: dict[str, Any]) -> None:
    hub.listing = [entry("a/1", **damage), entry("a/2", 60.0)]
    one, two = search("", token=False).models
    assert (one.name, two.card.scores[0].value) == ("a/1", 60.0)
    assert ("model-index" in one.card.flaw) == ("model-index" in damage)


def test_waits_as_long_as_the_hub_asks(hub: Hub, naps: list[float]) -> None:
    hub.first = [(429, b"", {"Retry-After": "7"}, -1), (429, b"", {}, -1)]
    hub.listing = [entry("a/1")]
    assert search("", token=False).looked == 1
    assert naps == [7, 60]


def test_waits_neither_for_ever_nor_for_hours(hub: Hub, naps: list[float]) -> None:
    hub.everywhere = (429, b"", {"Retry-After": "7"}, -1)
    with pytest.raises(HubError, match=rf"^{hub.url} has had too many requests .*\(429\): try again in 7 seconds$"):
        search("", token=False)
    assert naps == [7, 7, 7]
    hub.everywhere = (429, b"", {"Retry-After": "3600"}, -1)
    with pytest.raises(HubError, match="try again in 3600 seconds"):
        search("", token=False)
    assert naps == [7, 7, 7]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((500, b"sorry", {}, -1), "answered 500 for its list of models"),
        ((200, b"<html>Please log in</html>", {}, -1), "did not answer like a hub; is something between"),
        ((200, b'{"error": "no"}', {}, -1), "did not answer like a hub: it gave no list"),
        ((200, b"[3]", {}, -1), "did not answer like a hub: it gave no list"),
        ((200, b"[]", {"Link": '<http://elsewhere.invalid/x>; rel="next"'}, -1), "sends on to 'http://elsewhere.invalid/x'"),
    ],
)  # fmt: skip
def test_answers_that_are_none(hub: Hub, answer: Any, text: str) -> None:
    hub.everywhere = answer
    with pytest.raises(HubError, match=text) as caught:
        search("", token=False)
    assert "\n" not in str(caught.value)


def test_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="is not asked for its list of models, because HF_HUB_OFFLINE is set: unset"):
        search("", token=False)
    assert hub.log == []


def test_hub_down(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as hub:
        pass
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    with pytest.raises(HubError, match=f"fetching its list of models at {hub.url} failed .*Check the connection"):
        search("", token=False)
