"""mine_hard_negatives against sentence-transformers' on the same model, and its properties and errors."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.mining.conftest import texts
from vicinal.errors import CacheError, InvalidData, MissingExtra, TrainingWarning, Unavailable
from vicinal.util import mine_hard_negatives

OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_negatives": 1},
    {"num_negatives": 7, "range_min": 2},
    {"range_min": 3, "range_max": 9, "num_negatives": 4},
    {"range_min": 30, "range_max": 60, "num_negatives": 10},
    {"max_score": 0.7},
    {"min_score": 0.4, "num_negatives": 6},
    {"absolute_margin": 0.1},
    {"absolute_margin": 0.0, "max_score": 0.6, "min_score": 0.1},
    {"relative_margin": 0.05, "num_negatives": 5},
    {"relative_margin": 0.3, "absolute_margin": 0.05, "range_min": 1},
    {"sampling_strategy": "random", "num_negatives": 2, "range_max": 12},
    {"sampling_strategy": "random", "max_score": 0.5, "num_negatives": 4},
    {"query_prompt": "apple law ", "corpus_prompt": "tax "},
    {"query_prompt_name": "odd", "corpus_prompt_name": "odd"},
    {"corpus": texts(70, 8, 11), "num_negatives": 8},
    {"corpus": texts(70, 8, 11), "relative_margin": 0.1, "faiss_batch_size": 7},
    {"anchor_column_name": "answer", "positive_column_name": "query"},
]


def both(dataset: Any, model: Any, peer: Any, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns that each makes."""
    from sentence_transformers.util import mine_hard_negatives as reference

    made = []
    for mine, one in ((mine_hard_negatives, model), (reference, peer)):
        random.seed(5)
        own = {name: value[one is peer] if name == "cross_encoder" else value for name, value in options.items()}
        made.append(mine(dataset, one, verbose=False, **own).to_dict())
    return made[0], made[1]


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Texts and labels equal, scores close."""
    assert list(ours) == list(theirs)
    for name, column in ours.items():
        if name in ("score", "scores"):
            assert len(column) == len(theirs[name])
            for a, b in zip(column, theirs[name], strict=True):
                np.testing.assert_allclose(a, b, atol=2e-6)
        else:
            assert column == theirs[name]
    assert len(ours["query"]) > 0


@pytest.mark.parametrize("output_scores", [False, True])
@pytest.mark.parametrize("output_format", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
def test_every_form_is_the_peers(dataset: Any, model: Any, peer: Any, output_format: str, output_scores: bool) -> None:
    for options in ({}, {"relative_margin": 0.2, "num_negatives": 4}):
        assert_same(*both(dataset, model, peer, output_format=output_format, output_scores=output_scores, **options))


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_every_option_is_the_peers(dataset: Any, model: Any, peer: Any, options: dict[str, Any]) -> None:
    assert_same(*both(dataset, model, peer, output_format="labeled-list", output_scores=True, **options))


def test_positives_included_are_the_peers(dataset: Any, model: Any, peer: Any) -> None:
    ours, theirs = both(dataset, model, peer, include_positives=True, num_negatives=5, output_scores=True)
    assert_same(ours, theirs)
    negatives = zip(*(ours[f"negative_{i}"] for i in range(1, 6)), strict=True)
    assert any(answer in row for answer, row in zip(ours["answer"], negatives, strict=True))


@pytest.mark.parametrize(
    "options", [{"max_score": 0.6}, {"min_score": 0.3}, {"absolute_margin": 0.02}, {"relative_margin": 0.05}], ids=repr
)
def test_rescored_by_a_cross_encoder_as_the_peers(
    dataset: Any, model: Any, peer: Any, cross_encoder: Any, options: dict[str, Any]
) -> None:
    options = {"num_negatives": 2, "output_scores": True, "range_max": 6, **options}
    assert_same(*both(dataset, model, peer, cross_encoder=cross_encoder, **options))


def test_one_document_for_every_query(model: Any, peer: Any) -> None:
    import datasets

    pairs = datasets.Dataset.from_dict({"query": texts(6, 4, 20), "answer": texts(6, 6, 21)})
    assert_same(*both(pairs, model, peer, output_format="n-tuple", num_negatives=5))


@pytest.mark.parametrize("function", ["cosine", "dot", "euclidean", "manhattan"])
def test_by_every_similarity(dataset: Any, model: Any, peer: Any, function: str) -> None:
    before = model.similarity_fn_name, peer.similarity_fn_name
    model.similarity_fn_name = peer.similarity_fn_name = function
    try:
        assert_same(*both(dataset, model, peer, output_scores=True, absolute_margin=0.05))
    finally:
        model.similarity_fn_name, peer.similarity_fn_name = before


@pytest.mark.parametrize("function", ["cosine", "euclidean"])
def test_faiss_finds_the_same(dataset: Any, model: Any, function: str) -> None:
    pytest.importorskip("faiss")
    model.similarity_fn_name = function
    try:
        for options in ({"faiss_batch_size": 4}, {"absolute_margin": 0.1}, {"num_negatives": 39}):
            own = {"output_scores": True, "output_format": "labeled-list", "verbose": False, **options}
            plain = mine_hard_negatives(dataset, model, **own)
            assert mine_hard_negatives(dataset, model, use_faiss=True, **own).to_dict() == plain.to_dict()
    finally:
        model.similarity_fn_name = "cosine"


def test_no_positive_is_mined_and_thresholds_hold(dataset: Any, model: Any) -> None:
    mined = mine_hard_negatives(
        dataset, model, output_scores=True, verbose=False, absolute_margin=0.1, max_score=0.8, min_score=-0.5
    )
    own = {(row["query"], row["answer"]) for row in dataset}
    for row in mined:
        positive, negative = row["scores"]
        assert (row["query"], row["negative"]) not in own
        assert -0.5 <= negative <= min(0.8, positive - 0.1)


def test_vectors_are_kept(dataset: Any, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"verbose": False, "output_scores": True, "cache_folder": tmp_path / "kept"}
    plain = mine_hard_negatives(dataset, model, verbose=False, output_scores=True)
    assert mine_hard_negatives(dataset, model, **own).to_dict() == plain.to_dict()
    files = sorted(path.name.partition("_")[0] for path in (tmp_path / "kept").iterdir())
    assert files == ["corpus", "query"]
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "encode", lambda *_, **__: pytest.fail("encoded again"))
        assert mine_hard_negatives(dataset, model, **own).to_dict() == plain.to_dict()
    mine_hard_negatives(dataset, model, query_prompt="tax ", **own)
    assert len(list((tmp_path / "kept").iterdir())) == 3  # the documents' are the same
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CacheError, match=r"cannot be read .* remove it, and the vectors are computed again"):
        mine_hard_negatives(dataset, model, **own)


def test_kept_vectors_need_a_known_model(dataset: Any, peer: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SentenceTransformer has no fingerprint; leave cache_folder out"):
        mine_hard_negatives(dataset, peer, cache_folder=tmp_path, verbose=False)


def test_in_processes(dataset: Any, model: Any) -> None:
    plain = mine_hard_negatives(dataset, model, verbose=False)
    assert mine_hard_negatives(dataset, model, verbose=False, use_multi_process=["cpu"]).to_dict() == plain.to_dict()


def test_the_table(dataset: Any, model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    mined = mine_hard_negatives(dataset, model, max_score=0.5, range_min=1, range_max=12, num_negatives=9)
    out, err = capsys.readouterr()
    lines = err[err.index("30 queries with 42 pairs, 40 documents, ranks 1 to ") :].splitlines()
    assert out == ""
    assert lines[1].split() == ["Positive", "Negative", "Difference"]
    assert lines[2].split() == ["Count", "42", str(len(mined))]
    assert [line.split()[0] for line in lines[3:10]] == ["Mean", "Median", "Std", "Min", "25%", "75%", "Max"]
    assert lines[10].startswith("max_score=0.5 removed ")
    assert lines[11].startswith(f"{42 * 9 - len(mined)} of {42 * 9} rows")
    assert lines[11].endswith("other values of range_max, range_min, max_score would find more.")


def test_nothing_found_is_an_empty_data_set(dataset: Any, model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for output_format in ("triplet", "n-tuple", "labeled-list"):
        assert len(mine_hard_negatives(dataset, model, max_score=-2, output_format=output_format)) == 0
    assert len(mine_hard_negatives(dataset, model, max_score=-2, output_format="labeled-pair", verbose=False)) == 42


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_negatives": 0}, "num_negatives must be an integer of at least 1, not 0"),
        ({"range_min": -1}, "range_min must be an integer of at least 0, not -1"),
        ({"range_min": 5, "range_max": 5}, "range_min=5 and range_max=5 leave 0 candidates a query, too few for"),
        ({"range_max": 2}, "leave 2 candidates a query, too few for num_negatives=3"),
        ({"sampling_strategy": "best"}, "sampling_strategy must be one of 'random', 'top', not 'best'"),
        ({"output_format": "pairs"}, "output_format must be one of 'triplet', .*, not 'pairs'"),
        ({"faiss_batch_size": 0}, "faiss_batch_size must be a positive integer, not 0"),
        ({"anchor_column_name": "nope"}, "anchor_column_name='nope' is none of the data set's columns: query, answer"),
        ({"positive_column_name": "query"}, "would both come from the column 'query'"),
        ({"positive_column_name": "id"}, r"column 'id', row 0, is 0 \(int\), not a text"),
        ({"corpus": ["a", None]}, r"corpus, row 1, is None \(NoneType\), not a text"),
    ],
)
def test_what_cannot_be(dataset: Any, model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mine_hard_negatives(dataset, model, verbose=False, **options)


def test_what_is_no_data_set_of_pairs(dataset: Any, model: Any) -> None:
    with pytest.raises(TypeError, match=r"takes a datasets.Dataset with its rows, not list"):
        mine_hard_negatives([("a", "b")], model)
    with pytest.raises(InvalidData, match="has no rows"):
        mine_hard_negatives(dataset.select([]), model)
    with pytest.raises(InvalidData, match=r"needs a column of queries and one of documents; the data set has \['id'\]"):
        mine_hard_negatives(dataset.select_columns(["id"]), model)


def test_a_scorer_of_several_labels(dataset: Any, model: Any) -> None:
    class Several:
        def predict(self, pairs: list[Any], **_: Any) -> Any:
            return np.zeros((len(pairs), 3))

    with pytest.raises(ValueError, match=r"must give one score a pair, but gives an array of shape \(\d+, 3\)"):
        mine_hard_negatives(dataset, model, cross_encoder=Several(), max_score=1, verbose=False)


def test_what_has_no_effect_is_told(dataset: Any, model: Any) -> None:
    with pytest.warns(TrainingWarning, match="cross_encoder is not used"):
        mine_hard_negatives(dataset, model, cross_encoder=object(), verbose=False)
    with pytest.warns(TrainingWarning, match="may remove them again"):
        mine_hard_negatives(dataset, model, include_positives=True, range_min=1, verbose=False)


def test_faiss_cannot_everything(dataset: Any, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    pytest.importorskip("faiss")
    model.similarity_fn_name = "manhattan"
    try:
        with pytest.raises(Unavailable, match="this model compares by manhattan distance"):
            mine_hard_negatives(dataset, model, use_faiss=True, verbose=False)
    finally:
        model.similarity_fn_name = "cosine"
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"use_faiss=True needs faiss, .* pip install 'vicinal\[faiss\]'"):
        mine_hard_negatives(dataset, model, use_faiss=True, verbose=False)


def test_older_names(dataset: Any, model: Any) -> None:
    own = {"verbose": False, "num_negatives": 2}
    with pytest.warns(DeprecationWarning, match="as_triplets is an older name"):
        tuples = mine_hard_negatives(dataset, model, as_triplets=False, **own)
    assert tuples.column_names == ["query", "answer", "negative_1", "negative_2"]
    with pytest.warns(DeprecationWarning, match="give output_format='n-tuple', output_scores=True"):
        scored = mine_hard_negatives(dataset, model, output_format="n-tuple-scores", **own)
    assert scored.column_names == ["query", "answer", "negative_1", "negative_2", "scores"]
    with pytest.warns(DeprecationWarning, match="margin is an older name; give absolute_margin"):
        older = mine_hard_negatives(dataset, model, margin=0.2, **own)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert older.to_dict() == mine_hard_negatives(dataset, model, absolute_margin=0.2, **own).to_dict()
