"""vicinal.hub.card."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.hub.card import KINDS, Card, Score, kind_of, mean, parse_card, read_card

CARD = """---
language: [en, no]
license: mit
base_model: microsoft/mpnet-base
datasets:
- s2orc
- ms_marco
model-index:
- name: a-model
  results:
  - task: {type: Retrieval}
    dataset: {type: mteb/scifact, name: MTEB SciFact, config: default, split: test, revision: null}
    metrics:
    - {type: map_at_10, value: 66.1}
    - {type: ndcg_at_10, value: 71.28}
  - task: {type: Retrieval}
    dataset: {type: nfcorpus, name: MTEB NFCorpus, config: default, split: test}
    metrics:
    - {type: ndcg_at_10, value: 34.3}
    - {type: main_score, value: 34.26}
  - task: {type: semantic-similarity, name: Semantic Similarity}
    dataset: {type: sts-dev, name: sts dev}
    metrics:
    - {type: pearson_cosine, value: 0.87, name: Pearson Cosine}
    - {type: spearman_cosine, value: "0.88", name: Spearman Cosine}
  - task: {type: Classification}
    dataset: {type: mteb/banking77, name: MTEB Banking77Classification, split: validation}
    metrics:
    - {type: f1, value: 80.0}
    - {type: accuracy, value: 81.5}
---

# A model
"""


def test_a_card() -> None:
    card = parse_card(CARD)
    assert (card.languages, card.licence, card.flaw) == (("en", "no"), "mit", "")
    assert (card.base_models, card.datasets) == (("microsoft/mpnet-base",), ("s2orc", "ms_marco"))
    assert card.scores == (
        Score("Retrieval", "SciFact", "ndcg_at_10", 71.28),
        Score("Retrieval", "NFCorpus", "main_score", 34.26),
        Score("STS", "sts dev", "spearman_cosine", 88.0),
        Score("Classification", "Banking77Classification, validation", "accuracy", 81.5),
    )
    assert mean(card.scores, "Retrieval") == (pytest.approx((71.28 + 34.26) / 2), 2)
    assert mean(card.scores) == (pytest.approx((71.28 + 34.26 + 88 + 81.5) / 4), 4)
    assert mean(card.scores, "Clustering") is None
    assert parse_card(CARD.replace("\n", "\r\n")) == card


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("# A model\n", "its card has no block of YAML between lines of ---"),
        ("---\na: [\n---\n", "the YAML of its card cannot be read: while parsing a flow node"),
        ("---\na: 2020-99-99\n---\n", "the YAML of its card cannot be read: month must be in 1..12"),
        ("---\n- a\n---\n", "the YAML of its card is no mapping but a list"),
        ("---\nmodel-index: [{name: a}]\n---\n", r"the results (model-index) of its card are not as they should be"),
        ("---\nmodel-index: 3\n---\n", "are not as they should be (TypeError: 'int' object is not iterable)"),
    ],
)
def test_malformed(text: str, flaw: str) -> None:
    card = parse_card(text)
    assert flaw in card.flaw
    assert "\n" not in card.flaw
    assert card.scores == ()


def test_what_can_be_read_of_a_malformed_card_is_kept() -> None:
    damaged = CARD.replace("  - task: {type: semantic-similarity, name: Semantic Similarity}", "  - task: null")
    card = parse_card(damaged)
    assert (card.licence, len(card.scores)) == ("mit", 2)
    assert "model-index" in card.flaw


@pytest.mark.parametrize("scale", [1, 100])
def test_a_threshold_says_nothing_of_the_scale(scale: float) -> None:
    text = CARD.replace(
        '    - {type: spearman_cosine, value: "0.88", name: Spearman Cosine}\n',
        f"    - {{type: spearman_cosine, value: {0.88 * scale}}}\n"
        "    - {type: dot_accuracy_threshold, value: 20.5}\n",
    ).replace("value: 0.87", f"value: {0.87 * scale}")
    (score,) = [score for score in parse_card(text).scores if score.task == "sts dev"]
    assert score.value == pytest.approx(88)


def test_results_without_a_number() -> None:
    def one(*metrics: dict[str, Any], kind: str = "STS") -> tuple[Score, ...]:
        return read_card(
            {}, [{"results": [{"task": {"type": kind}, "dataset": {"name": "d"}, "metrics": metrics}]}]
        ).scores

    assert one({"type": "cos_sim_spearman", "value": None}) == ()
    assert one({"type": "cos_sim_spearman", "value": float("nan")}) == ()
    assert one({"type": "cos_sim_spearman", "value": True}) == ()
    assert one({"type": "somebody's", "value": 3}) == ()
    assert one({"type": "somebody's", "value": 3}, kind="somebody's") == (Score("somebody's", "d", "somebody's", 3.0),)


def test_kinds() -> None:
    assert all(kind_of(kind) == kind for kind in KINDS)
    assert [kind_of(name) for name in ("pair-classification", "Bitext Mining", "text-to-image")] == [
        "PairClassification", "BitextMining", None
    ]  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["results", "task", "type", "dataset", "name", "metrics", "value", "x"]), inner
        )
    ),
    max_leaves=20,
)


@given(JSON, JSON)
def test_whatever_a_listing_holds(data: Any, index: Any) -> None:
    assert isinstance(read_card(data, index), Card)
