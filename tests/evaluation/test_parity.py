"""Every evaluator gives what sentence-transformers' gives for the same model: metrics, files, cards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.against import same
from tests.evaluation.encoder import Encoder, words
from vicinal import evaluation as ours

peer = pytest.importorskip("sentence_transformers.sentence_transformer.evaluation")
peer_base = pytest.importorskip("sentence_transformers.base.evaluation")

FIRST, SECOND, THIRD = words(1, 60), words(2, 60), words(3, 60)
SECOND = [f"{a.rsplit(' ', 2)[0]} {b}" if i % 3 else b for i, (a, b) in enumerate(zip(FIRST, SECOND, strict=True))]
SCORES = [round(float(x), 1) for x in np.random.default_rng(0).uniform(0, 5, 60)]  # with ties
ALL = ["cosine", "dot", "euclidean", "manhattan"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "dev", "main_similarity": "dot"},
        {"similarity_fn_names": ALL, "name": "sts"},
        {"similarity_fn_names": ALL, "main_similarity": "euclidean"},
        {"truncate_dim": 7, "name": "short"},
        {"precision": "int8", "similarity_fn_names": ALL},
        {"precision": "uint8"},
        {"precision": "ubinary", "similarity_fn_names": ["dot", "manhattan"]},
        {"precision": "binary", "similarity_fn_names": ["dot", "manhattan"], "name": "bits"},
    ],
)
def test_embedding_similarity(options: dict[str, Any], tmp_path: Path) -> None:
    args = (FIRST, SECOND, SCORES)
    same(
        ours.EmbeddingSimilarityEvaluator(*args, **options),
        peer.EmbeddingSimilarityEvaluator(*args, **options),
        (Encoder(), Encoder()),
        tmp_path,
    )


@pytest.mark.parametrize(
    "options", [{}, {"name": "dup"}, {"similarity_fn_names": ALL, "name": "dup", "truncate_dim": 9}]
)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_binary_classification(options: dict[str, Any], share: float, tmp_path: Path) -> None:
    labels = [int(x < share) for x in np.random.default_rng(3).random(60)]
    args = ([*FIRST[:40], *FIRST[:20]], [*SECOND[:40], *SECOND[:20]], labels)  # twice the same pairs: ties
    same(
        ours.BinaryClassificationEvaluator(*args, **options),
        peer.BinaryClassificationEvaluator(*args, **options),
        (Encoder(), Encoder()),
        tmp_path,
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "t", "similarity_fn_names": ALL, "margin": 0.05},
        {"similarity_fn_names": ["dot", "cosine"], "margin": {"dot": 1.0}, "main_similarity_function": "dot"},
        {"main_distance_function": "euclidean", "truncate_dim": 5},
    ],
)
def test_triplet(options: dict[str, Any], tmp_path: Path) -> None:
    args = (FIRST, SECOND, THIRD)
    same(
        ours.TripletEvaluator(*args, **options),
        peer.TripletEvaluator(*args, **options),
        (Encoder(), Encoder()),
        tmp_path,
    )


QUERIES = {f"q{i}": text for i, text in enumerate(words(4, 30))}
CORPUS = {f"d{i * 7 % 90}": text for i, text in enumerate([*words(5, 80), *words(5, 10)])}  # the last ten twice: ties
RELEVANT = {
    f"q{i}": {
        f"d{j}" for j in np.random.default_rng(i).choice(95, int(1 + i % 5 * 4), replace=False)
    }  # some are missing
    for i in range(0, 30, 2)
} | {"q1": set()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "ir", "mrr_at_k": [1, 20], "ndcg_at_k": [3, 100], "accuracy_at_k": [2], "map_at_k": [5, 10]},
        {"corpus_chunk_size": 13, "name": "chunks", "truncate_dim": 11},
        {"query_prompt": "find this", "corpus_prompt_name": "passage", "name": "prompts"},
        {"map_at_k": [500], "precision_recall_at_k": [500], "name": "more than there are"},
    ],
)
def test_information_retrieval(options: dict[str, Any], tmp_path: Path) -> None:
    args = (QUERIES, CORPUS, RELEVANT)
    models = (Encoder(), Encoder())
    mine = ours.InformationRetrievalEvaluator(*args, **options, write_predictions=True)
    other = peer.InformationRetrievalEvaluator(*args, **options, write_predictions=True)
    same(mine, other, models, tmp_path)
    for path in (tmp_path / "theirs").glob("*.jsonl"):
        found, wanted = (
            [json.loads(line) for line in (tmp_path / who / path.name).read_text().splitlines()]
            for who in ("ours", "theirs")
        )
        for row, expected in zip(found, wanted, strict=True):
            assert (row["query_id"], row["query"]) == (expected["query_id"], expected["query"])
            assert [hit["corpus_id"] for hit in row["results"]] == [hit["corpus_id"] for hit in expected["results"]]
            scores = [hit["score"] for hit in row["results"]]
            assert scores == pytest.approx([hit["score"] for hit in expected["results"]], abs=1e-6)


def test_information_retrieval_with_functions_and_a_model_for_the_corpus(tmp_path: Path) -> None:
    from sentence_transformers import util as peer_util

    from vicinal import util

    args = (QUERIES, CORPUS, RELEVANT)
    names = {"cosine": "cos_sim", "dot": "dot_score", "euclidean": "euclidean_sim"}
    for main in (None, "dot"):
        mine, other = (
            kind(*args, name="f", main_score_function=main,
                 score_functions={name: getattr(module, function) for name, function in names.items()})
            for kind, module in (
                (ours.InformationRetrievalEvaluator, util), (peer.InformationRetrievalEvaluator, peer_util)
            )
        )  # fmt: skip
        same(mine, other, (Encoder(), Encoder()), tmp_path / str(main), corpus_model=Encoder(seed=3))
        vectors = Encoder(seed=5).encode(list(CORPUS.values()))
        import torch

        got = mine(Encoder(), corpus_embeddings=vectors)
        assert got == pytest.approx(other(Encoder(), corpus_embeddings=torch.from_numpy(vectors)), abs=1e-9)


SAMPLES = [
    {
        "query": query,
        "positive": words(20 + i, 1 + i % 3) if i % 4 else words(20 + i, 1)[0],
        "negative": words(60 + i, 3 + i % 12),
    }
    for i, query in enumerate(words(6, 20))
] + [{"query": "no positive", "positive": [], "negative": ["red"]}]


@pytest.mark.parametrize("options", [{}, {"at_k": 3, "name": "r"}, {"use_batched_encoding": False, "truncate_dim": 6}])
def test_reranking(options: dict[str, Any], tmp_path: Path) -> None:
    same(ours.RerankingEvaluator(SAMPLES, **options), peer.RerankingEvaluator(SAMPLES, **options),
         (Encoder(), Encoder()), tmp_path)  # fmt: skip


def test_reranking_with_ties_and_the_dot_product(tmp_path: Path) -> None:
    from sentence_transformers import util as peer_util

    from vicinal import util

    samples = {i: {**row, "negative": [*row["negative"], *row["negative"]]} for i, row in enumerate(SAMPLES)}
    mine = ours.RerankingEvaluator(samples, similarity_fct=util.dot_score)
    other = peer.RerankingEvaluator(samples, similarity_fct=peer_util.dot_score)
    same(mine, other, (Encoder(), Encoder()), tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "m", "add_transitive_closure": True},
        {"max_pairs": 150, "top_k": 4},
        {"truncate_dim": 8, "top_k": 3},
    ],
)
@pytest.mark.parametrize("as_dict", [False, True])
def test_paraphrase_mining(options: dict[str, Any], as_dict: bool, tmp_path: Path) -> None:
    sentences = {f"s{i}": text for i, text in enumerate([*FIRST, *SECOND[:30]])}
    pairs = [(f"s{i}", f"s{60 + i}") for i in range(0, 30, 2)] + [("s1", "s2"), ("s2", "s3"), ("s3", "absent")]
    given: dict[str, Any] = {"duplicates_list": pairs}
    if as_dict:
        one_way: dict[str, dict[str, bool]] = {}
        for a, b in pairs:
            one_way.setdefault(a, {"s50": False})[b] = True
        given = {"duplicates_dict": one_way}
    symmetric: dict[str, Any] = {a: dict.fromkeys(sentences, False) for a in sentences}  # as the peer needs it
    for a, b in pairs:
        if b in sentences:
            symmetric[a][b] = symmetric[b][a] = True

    same(
        ours.ParaphraseMiningEvaluator(sentences, **given, **options),
        peer.ParaphraseMiningEvaluator(sentences, **({"duplicates_dict": symmetric} if as_dict else given), **options),
        (Encoder(), Encoder()),
        tmp_path,
    )


@pytest.mark.parametrize("options", [{}, {"name": "de-en", "truncate_dim": 6}])
def test_translation(options: dict[str, Any], tmp_path: Path) -> None:
    args = ([*FIRST, FIRST[0]], [*SECOND, SECOND[0]])
    same(ours.TranslationEvaluator(*args, **options), peer.TranslationEvaluator(*args, **options),
         (Encoder(), Encoder()), tmp_path)  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"name": "x", "truncate_dim": 5}])
def test_mse(options: dict[str, Any], tmp_path: Path) -> None:
    teacher = Encoder(seed=9)
    same(
        ours.MSEEvaluator(FIRST, SECOND, teacher, **options),
        peer.MSEEvaluator(FIRST, SECOND, teacher, **options),
        (Encoder(), Encoder()),
        tmp_path,
        tolerance=1e-4,  # the error is some hundreds, and the peer computes it in float32
    )


@pytest.mark.parametrize("options", [{}, {"name": "langs", "truncate_dim": 5}])
def test_mse_from_dataframe(options: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"en": a, "de": b, "fr": c if i % 3 else " "} for i, (a, b, c) in enumerate(zip(FIRST, SECOND, THIRD))]  # noqa: B905
    args = (rows, Encoder(seed=9), [("en", "de"), ("en", "fr"), ("de", "fr")])
    mine, other = ours.MSEEvaluatorFromDataFrame(*args, **options), peer.MSEEvaluatorFromDataFrame(*args, **options)
    models = (Encoder(), Encoder())
    got = mine(models[0], str(tmp_path / "ours"), 1, 2)
    assert got == pytest.approx(other(models[1], str(tmp_path / "theirs"), 1, 2), rel=1e-6)
    assert (mine.csv_file, mine.csv_headers) == (other.csv_file, other.csv_headers)
    assert (mine.primary_metric, mine.description) == (other.primary_metric, other.description)


def test_sequential(tmp_path: Path) -> None:
    def made(library: Any, sequential: Any, **options: Any) -> Any:
        return sequential(
            [
                library.EmbeddingSimilarityEvaluator(FIRST, SECOND, SCORES, name="a"),
                library.TripletEvaluator(FIRST, SECOND, THIRD, name="b"),
                lambda model, output_path, epoch, steps: 0.25,
            ],
            **options,
        )

    for options in ({}, {"main_score_function": lambda scores: float(np.mean(scores[:2]))}):
        mine = made(ours, ours.SequentialEvaluator, **options)
        other = made(peer, peer_base.SequentialEvaluator, **options)
        folder = tmp_path / str(len(options))
        same(mine, other, (Encoder(), Encoder()), folder)


def test_minilm(minilm: Any, tmp_path: Path) -> None:
    """The evaluators agree on a real model too, which the peer's calls in its own way."""

    class Wrapped(Encoder):
        def encode(self, sentences: Any, task: str = "", **options: Any) -> Any:
            import torch

            vectors = minilm.encode(sentences, **{**options, "precision": options.get("precision") or "float32"})
            return vectors if options.get("convert_to_numpy", True) else [torch.tensor(row) for row in vectors]

    first = [f"A man is playing the {thing}." for thing in ("guitar", "flute", "piano", "drums", "harp", "trumpet")]
    second = [f"Someone plays a {thing}." for thing in ("guitar", "recorder", "violin", "keyboard", "lyre", "horn")]
    third = [
        "A cat sleeps.",
        "Taxes rise.",
        "It rains in Paris.",
        "She bakes bread.",
        "Stocks fell.",
        "The bus is late.",
    ]
    models = (Wrapped(), Wrapped())
    scores = [5, 4, 1, 3, 4, 3.5]
    for name, args in (
        ("EmbeddingSimilarityEvaluator", (first * 2, [*second, *third], [*scores, *[0] * 6])),
        ("BinaryClassificationEvaluator", (first * 2, [*second, *third], [1] * 6 + [0] * 6)),
        ("TripletEvaluator", (first, second, third)),
        ("TranslationEvaluator", (first, second)),
    ):
        same(getattr(ours, name)(*args), getattr(peer, name)(*args), models, tmp_path / name)
    queries = {str(i): text for i, text in enumerate(first)}
    corpus = {str(i): text for i, text in enumerate([*second, *third])}
    args = (queries, corpus, {str(i): {str(i), str((i * 5) % 12)} for i in range(6)})
    found = same(
        ours.InformationRetrievalEvaluator(*args), peer.InformationRetrievalEvaluator(*args), models, tmp_path / "ir"
    )
    assert ours.InformationRetrievalEvaluator(*args)(minilm) == pytest.approx(found, abs=1e-9)
