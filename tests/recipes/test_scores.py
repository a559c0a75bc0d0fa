"""Learning from a cross-encoder: distilled scores, Augmented SBERT, queries for passages; and from texts alone."""

from __future__ import annotations

import copy
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import tiny
from tests.cross_encoder.conftest import write_classifier
from tests.recipes.models import QUICK, finding, likeness, passages, texts
from vicinal import CrossEncoder, SentenceTransformer
from vicinal.errors import InvalidData, MissingExtra, UnsupportedModel
from vicinal.recipes import queries as q
from vicinal.recipes.augment import (
    SAMPLINGS,
    SCHEDULE,
    Scored,
    augment,
    by_stratum,
    cosines,
    held_out,
    judge_weight,
    longer,
    sample_pairs,
)
from vicinal.recipes.labels import as_labels, teacher_scores
from vicinal.recipes.scores import distil_scores, mined, taught
from vicinal.recipes.unsupervised import adapt

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return SentenceTransformer(tiny.write_bert(tmp_path_factory.mktemp("student")), dtype="float32", threads=1)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> CrossEncoder:
    return CrossEncoder(write_classifier(tmp_path_factory.mktemp("judge")), dtype="float32", threads=1)


def changed(student: SentenceTransformer, folder: Path) -> bool:
    probe = texts(5, 77)
    return bool(np.abs(SentenceTransformer(folder, dtype="float32").encode(probe) - student.encode(probe)).max() > 1e-4)


# ---- scores --------------------------------------------------------------------------------------------------------


def test_scores_are_distilled(student: SentenceTransformer, teacher: CrossEncoder, tmp_path: Path) -> None:
    pairs = list(zip(texts(40, 1), texts(40, 2), strict=True))
    before = student.encode(texts(3, 7))
    outcome = distil_scores(
        teacher, student, pairs, tmp_path / "out", loss="kl", negatives=2, schedule=QUICK, tasks=[likeness(), finding()]
    )
    assert [(row.task, row.metric) for row in outcome.rows] == [("likeness", "spearman"), ("finding", "ndcg@10")]
    assert changed(student, outcome.folder)
    np.testing.assert_array_equal(student.encode(texts(3, 7)), before)


def test_what_a_student_is_taught_is_what_the_teacher_says(
    student: SentenceTransformer, teacher: CrossEncoder, tmp_path: Path
) -> None:
    pairs = list(zip(texts(20, 1), texts(20, 2), strict=True))
    data = taught(teacher, student, pairs, texts(10, 3), 3, 0, tmp_path, print)
    assert data.column_names == ["query", "document", "negative_1", "negative_2", "negative_3", "label"]
    own = dict(pairs)
    for row in data:
        candidates = [row["document"], row["negative_1"], row["negative_2"], row["negative_3"]]
        assert row["document"] == own[row["query"]]
        assert len(set(candidates)) == 4
        said = teacher.predict([(row["query"], text) for text in candidates], activation_fn="Identity")
        np.testing.assert_allclose(row["label"], said, atol=1e-5)
    with pytest.raises(InvalidData, match="no query has 90 negatives"):
        taught(teacher, student, pairs, [], 90, 0, tmp_path / "other", print)


def test_scores_are_asked_for_once(teacher: CrossEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicinal.recipes.labels._PORTION", 8)
    pairs = list(zip(texts(20, 1), texts(20, 2), strict=True))
    found = teacher_scores(teacher, pairs, tmp_path)
    np.testing.assert_allclose(found, teacher.predict(pairs, activation_fn="Identity"), atol=1e-5)
    lines: list[str] = []
    (tmp_path / sorted(os.listdir(tmp_path))[0]).unlink()
    np.testing.assert_array_equal(teacher_scores(teacher, pairs, tmp_path, say=lines.append), found)
    assert len(lines) == 1


def test_labels_are_from_0_to_1(teacher: CrossEncoder) -> None:
    pairs = list(zip(texts(20, 1), texts(20, 2), strict=True))
    raw, said = np.asarray(teacher.predict(pairs, activation_fn="Identity")), list[str]()
    np.testing.assert_allclose(as_labels(teacher, raw, said.append), teacher.predict(pairs), atol=1e-5)
    assert not said
    judge = copy.copy(teacher)
    judge.activation_fn = "Identity"
    np.testing.assert_allclose(as_labels(judge, raw, said.append), 1 / (1 + np.exp(-raw)), atol=1e-5)
    assert said[0].endswith("gives logits: labels are their sigmoid")
    judge.activation_fn = "Tanh"
    with pytest.raises(InvalidData, match=r"gives scores from -0\.\d\d to .*set its activation_fn"):
        as_labels(judge, np.array([-0.7, 0.2], np.float32))


def test_a_teacher_of_several_labels_is_refused(student: SentenceTransformer, tmp_path: Path) -> None:
    judge = CrossEncoder(write_classifier(tmp_path / "judge", labels=3))
    with pytest.raises(UnsupportedModel, match="gives 3 labels a pair"):
        distil_scores(
            judge, student, list(zip(texts(9, 1), texts(9, 2), strict=True)), tmp_path / "out", schedule=QUICK
        )
    with pytest.raises(InvalidData, match="needs pairs"):
        distil_scores(judge, student, [], tmp_path / "no")


def test_what_a_teacher_cannot_begin_with(student: SentenceTransformer, teacher: CrossEncoder, tmp_path: Path) -> None:
    pairs, task, out = list(zip(texts(9, 1), texts(9, 2), strict=True)), likeness(), tmp_path / "out"
    for start in (partial(distil_scores, teacher, student, pairs, out),
                  partial(q.adapt_without_labels, student, passages(), teacher, out)):  # fmt: skip
        with pytest.raises(ValueError, match="loss must be 'margin-mse' or 'kl', not 'margin_mse'"):
            start(loss="margin_mse")
        with pytest.raises(ValueError, match="negatives must be a positive integer, not 0"):
            start(negatives=0)
    with pytest.raises(InvalidData, match="'pairs', row 9"):
        distil_scores(teacher, student, [*pairs, ("x", task.texts[3])], out, tasks=[task])
    with pytest.raises(InvalidData, match="'corpus', row 0"):
        distil_scores(teacher, student, pairs, out, corpus=[task.texts[3]], tasks=[task])
    assert not out.exists()


def test_texts_that_move_between_pairs_and_corpus_are_another_run(
    student: SentenceTransformer, teacher: CrossEncoder, tmp_path: Path
) -> None:
    pairs = list(zip(texts(9, 1), texts(9, 2), strict=True))
    with pytest.raises(InvalidData, match="no query has 90 negatives"):
        distil_scores(teacher, student, pairs, tmp_path / "out", negatives=90)
    flat = [text for pair in pairs[5:] for text in pair]
    with pytest.raises(InvalidData, match=r"other settings \(pairs\)"):
        distil_scores(teacher, student, pairs[:5], tmp_path / "out", corpus=flat, negatives=90)


def test_another_test_set_is_another_run_of_queries(
    student: SentenceTransformer, teacher: CrossEncoder, tmp_path: Path
) -> None:
    """It decides which queries are left out."""
    options = {"negatives": 90, "titles": ["red"] * 24}
    with pytest.raises(InvalidData, match="no query has 90 negatives"):
        q.adapt_without_labels(student, passages(), teacher, tmp_path / "out", **options)
    with pytest.raises(InvalidData, match=r"other settings \(held_out\)"):
        q.adapt_without_labels(student, passages(), teacher, tmp_path / "out", tasks=[finding()], **options)


# ---- Augmented SBERT -----------------------------------------------------------------------------------------------


def gold(count: int = 40) -> list[Scored]:
    return [Scored(a, b, i / count) for i, (a, b) in enumerate(zip(texts(count, 3), texts(count, 4), strict=True))]


def test_gold_pairs_train_a_judge_and_before_is_gold_alone(student: SentenceTransformer, tmp_path: Path) -> None:
    task, said = likeness(), list[str]()
    outcome = augment(
        student, tmp_path / "out", gold=gold(), schedule=QUICK, teacher_schedule=QUICK, tasks=[task], say=said.append
    )
    assert any(line.startswith("training a cross-encoder on 32 gold pairs") for line in said)  # a fifth is held out
    assert {path.name for path in (tmp_path / "out/training").glob("log-*.csv")} == {
        "log-teacher.csv", "log-helper.csv", "log-silver.csv", "log-gold.csv"
    }  # fmt: skip
    assert any(line.startswith("labels: ") for line in said)
    assert outcome.rows[0].before.value != task.measure(student).metrics["spearman"].value
    assert changed(student, outcome.folder)


def test_without_a_blend_the_judge_labels_alone(student: SentenceTransformer, tmp_path: Path) -> None:
    said = list[str]()
    options = {"schedule": QUICK, "teacher_schedule": QUICK, "say": said.append}
    augment(student, tmp_path / "out", gold=gold(), blend=False, **options)
    assert any(line.startswith("training a cross-encoder on 40 gold pairs") for line in said)
    assert not any(line.startswith("labels: ") for line in said)


@pytest.mark.parametrize(("noise", "least", "most"), [((0.0, 0.3), 0.99, 1.0), ((0.3, 0.0), 0.0, 0.01),
                                                      ((0.2, 0.2), 0.4, 0.6)])  # fmt: skip
def test_the_better_of_two_judges_weighs_more(
    student: SentenceTransformer, noise: tuple[float, float], least: float, most: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rng = np.random.default_rng(0)
    true = rng.random(2000)
    first, second = (true + rng.normal(0, scale, 2000) if scale else true for scale in noise)
    rows = [Scored(f"{i}", f"{i}.", score) for i, score in enumerate(true)]
    monkeypatch.setattr("vicinal.recipes.augment.cosines", lambda model, pairs: second)
    monkeypatch.setattr("vicinal.recipes.augment.as_labels", lambda judge, raw: raw)
    judge = SimpleNamespace(predict=lambda pairs, **_: first)
    assert least <= judge_weight(judge, student, rows) <= most  # type: ignore[arg-type]


@given(st.integers(0, 200), st.integers(0, 5))
def test_every_fifth_pair_is_held_out_wherever_it_stood(count: int, seed: int) -> None:
    rows = [Scored(f"{i}", f"{i}.", 0.5) for i in range(count)]
    held, rest = held_out(rows, seed)
    assert sorted([*held, *rest]) == sorted(rows)
    assert len(held) == (count // 5 if count >= 25 else 0)
    assert rest == [row for row in rows if row in rest]


def test_an_order_in_the_file_is_not_one_of_what_is_held_out() -> None:
    """One answer, then four that are none, for each question: every fifth row is an answer."""
    rows = [Scored(f"{i}", f"{i}.", float(i % 5 == 0)) for i in range(500)]
    assert 0.1 < np.mean([row.score for row in held_out(rows, 0)[0]]) < 0.3


def test_too_few_pairs_are_told(student: SentenceTransformer, tmp_path: Path) -> None:
    said = list[str]()
    augment(student, tmp_path / "out", gold=gold(20), schedule=QUICK, teacher_schedule=QUICK, say=said.append)
    assert "20 gold pairs are too few to hold out some: the cross-encoder labels alone" in said


def test_another_training_of_the_judge_is_another_run(student: SentenceTransformer, tmp_path: Path) -> None:
    augment(student, tmp_path / "out", gold=gold(), blend=False, schedule=QUICK, teacher_schedule=QUICK)
    other = replace(QUICK, learning_rate=QUICK.learning_rate * 2)
    with pytest.raises(InvalidData):
        augment(student, tmp_path / "out", gold=gold(), blend=False, schedule=QUICK, teacher_schedule=other)


@pytest.mark.parametrize(("epochs", "rows", "expected"), [(1, 1000, 3.125), (1, 40, 4), (10, 40, 10), (5, 10_000, 5)])
def test_few_gold_pairs_have_more_epochs_never_fewer_than_planned(epochs: float, rows: int, expected: float) -> None:
    assert longer(replace(SCHEDULE, epochs=epochs), rows).epochs == expected


@pytest.mark.parametrize(
    ("wrong", "text"),
    [({"epochs": float("inf")}, "epochs must be positive"), ({"learning_rate": float("nan")}, "learning_rate must be"),
     ({"seed": -1}, "seed must be an integer of 0 or more"), ({"steps": 1.5}, "steps must be an integer of 0"),
     ({"batch_size": 0}, "batch_size must be an integer of 1"), ({"threads": 0}, "threads must be an integer of 1")],
)  # fmt: skip
def test_a_schedule_is_looked_at_first(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        replace(SCHEDULE, **wrong)


def test_cosines_are_those_of_the_model(student: SentenceTransformer) -> None:
    pairs = list(zip(texts(9, 1), texts(9, 2)[::-1], strict=True))
    a, b = (student.encode([pair[i] for pair in pairs], normalize_embeddings=True) for i in (0, 1))
    np.testing.assert_allclose(cosines(student, pairs), (a * b).sum(1), atol=1e-5)


def test_a_judge_from_elsewhere_needs_no_gold(
    student: SentenceTransformer, teacher: CrossEncoder, tmp_path: Path
) -> None:
    task = likeness()
    outcome = augment(
        student,
        tmp_path / "out",
        sentences=texts(30, 5),
        teacher=teacher,
        sampling="random",
        schedule=QUICK,
        tasks=[task],
    )
    assert outcome.rows[0].before.value == task.measure(student).metrics["spearman"].value
    assert changed(student, outcome.folder)


def test_what_augmenting_cannot_begin_with(student: SentenceTransformer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give gold="):
        augment(student, tmp_path / "out", sentences=texts(9))
    with pytest.raises(InvalidData, match=r"scores must be from 0 to 1, but 'a' and 'b' have 4.5"):
        augment(student, tmp_path / "out", gold=[Scored("a", "b", 4.5)])
    for name in ("strata", "per_sentence", "silver"):
        with pytest.raises(ValueError, match=f"{name} must be a positive integer, not 0"):
            augment(student, tmp_path / "out", gold=gold(), **{name: 0})
    with pytest.raises(ValueError, match="sampling must be one of 'random'"):
        augment(student, tmp_path / "out", gold=gold(), sampling="all")  # type: ignore[arg-type]
    task = likeness()
    with pytest.raises(InvalidData, match="'gold', row 40"):
        augment(student, tmp_path / "out", gold=[*gold(), Scored(task.texts[0], "x", 1)], tasks=[task])


def test_a_missing_bm25s_is_told_before_a_judge_is_trained(
    student: SentenceTransformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    gold = [Scored(a, b, 0.5) for a, b in zip(texts(30, 1), texts(30, 2), strict=True)]
    with pytest.raises(MissingExtra, match=r"sampling='bm25\+semantic' needs bm25s.*vicinal\[bm25\]"):
        augment(student, tmp_path / "made", gold=gold)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_sampled_pairs_are_new_and_different(student: SentenceTransformer, sampling: str) -> None:
    pool = texts(30, 6)
    known = {frozenset(pair) for pair in sample_pairs(pool, student, "semantic", 1)}
    pairs = sample_pairs(pool, student, sampling, 3, known)  # type: ignore[arg-type]
    seen = {frozenset(pair) for pair in pairs}
    assert len(seen) == len(pairs) > 20
    assert not seen & known
    assert all(a != b and {a, b} <= set(pool) for a, b in pairs)
    if sampling == "semantic":  # nearest by hand
        vectors = student.encode(pool)
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -9)
        for i, text in enumerate(pool):
            nearest = pool[int(scores[i].argmax())]
            assert frozenset((text, nearest)) in known


@given(st.lists(st.floats(0, 1), max_size=80), st.integers(1, 12), st.integers(0, 90))
def test_no_stratum_has_more_than_another_that_has_them(scores: list[float], strata: int, most: int) -> None:
    chosen = by_stratum(np.array(scores), strata, most).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= most
    part = [min(int(score * strata), strata - 1) for score in scores]
    has = [part.count(i) for i in range(strata)]
    kept = [sum(part[row] == i for row in chosen) for i in range(strata)]
    share = max(kept, default=0)
    assert all(k == min(h, share) for k, h in zip(kept, has, strict=True))
    if chosen != list(range(len(scores))):  # one more of each would be too many
        assert sum(min(h, share + 1) for h in has) > most


# ---- queries -------------------------------------------------------------------------------------------------------

PASSAGE = "# Red apples\n\nThe tax on apples is green. Every law has a query about tax tax tax. The red one is old.\n"


def test_each_kind_of_pseudo_query() -> None:
    def only(kind: str, **more: int) -> list[tuple[str, str]]:
        found = q.pseudo_queries([PASSAGE, "the law is on and order"], ["A title", ""], kinds=[kind], **more)
        assert all(one.source == PASSAGE for one in found)
        return [(one.text, one.passage) for one in found]

    assert only("title") == [("A title", PASSAGE.strip())]
    assert only("heading") == [("Red apples", PASSAGE.partition("\n\n")[2].strip())]
    (key,) = only("key")
    assert key[0] == "Every law has a query about tax tax tax."
    assert key[0] not in key[1]
    crops = only("crop", per_passage=4)
    assert len(crops) == 4
    for text, rest in crops:
        assert text in PASSAGE
        assert 4 <= len(text.split()) <= 12
        assert len(text.split()) + len(rest.split()) == len(PASSAGE.split())
    assert crops == only("crop", per_passage=4) != only("crop", per_passage=4, seed=1)
    with pytest.raises(ValueError, match="kinds must be among 'title', 'heading', 'key', 'crop', not 'poem'"):
        q.pseudo_queries([PASSAGE], kinds=["poem"])
    with pytest.raises(ValueError, match="1 titles were given for 2 passages"):
        q.pseudo_queries([PASSAGE, "b"], ["a"])


def test_passages_alone_adapt_a_model(student: SentenceTransformer, teacher: CrossEncoder, tmp_path: Path) -> None:
    said: list[str] = []
    outcome = q.adapt_without_labels(
        student, passages(), teacher, tmp_path / "out", titles=["red"] * 24, schedule=QUICK, tasks=[finding()],
        say=said.append,
    )  # fmt: skip
    assert any(line.startswith("kept 50 of 72 queries") for line in said)
    assert changed(student, outcome.folder)


def test_the_best_queries_are_kept_and_their_source_is_no_negative(
    student: SentenceTransformer, teacher: CrossEncoder, tmp_path: Path
) -> None:
    found = q.pseudo_queries(passages(), per_passage=2)
    kept = q.best_share(teacher, found, 0.5, tmp_path, print)
    scores = {
        query: float(teacher.predict(query[:2], activation_fn="Identity", truncation="ignore")) for query in found
    }
    assert len(kept) == len(found) // 2
    assert min(scores[query] for query in kept) >= max(scores[query] for query in set(found) - set(kept)) - 1e-5
    pairs = [(query.text, query.source) for query in kept]
    columns = mined(student, pairs, passages(), 2, 0, print)
    for query, source, *negatives in zip(*columns.values(), strict=True):
        assert (query, source) in pairs
        assert source not in negatives
    with pytest.raises(InvalidData, match="no queries were found"):
        q.best_share(teacher, [], 0.5, tmp_path, print)


def test_a_generator_writes_queries_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *tiny.VOCABULARY[5:]])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    config = transformers.T5Config(
        vocab_size=len(vocabulary), d_model=12, d_kv=4, d_ff=17, num_layers=1, num_heads=3, decoder_start_token_id=0
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path / "t5")
    monkeypatch.setattr(q, "_PORTION", 4)
    pool, said = texts(10, 1), list[str]()
    made = q.generated_queries(pool, str(tmp_path / "t5"), tmp_path / "kept", per_passage=2, longest=6, say=said.append)
    assert len(said) == 3
    assert 10 <= len(made) <= 20
    assert {one.source for one in made} <= set(pool)
    again = q.generated_queries(
        pool, str(tmp_path / "t5"), tmp_path / "kept", per_passage=2, longest=6, say=said.append
    )
    assert again == made
    assert len(said) == 3


# ---- texts alone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["simcse", "ct"])
def test_texts_alone_train_a_model(student: SentenceTransformer, tmp_path: Path, method: str) -> None:
    outcome = adapt(student, texts(40, 8), tmp_path / "out", method=method, schedule=QUICK, tasks=[likeness()])  # type: ignore[arg-type]
    assert changed(student, outcome.folder)
    assert len(outcome.rows) == 1


def test_methods_that_cannot(student: SentenceTransformer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="method must be one of 'tsdae', 'simcse', 'ct', not 'magic'"):
        adapt(student, texts(9), tmp_path / "out", method="magic")  # type: ignore[arg-type]
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = SentenceTransformer(tiny.write_bert(tmp_path / "still", config=still))
    with pytest.raises(UnsupportedModel, match="has no dropout"):
        adapt(model, texts(9), tmp_path / "out", method="simcse")
    with pytest.raises(InvalidData, match="needs at least 2 texts, but got 1"):
        adapt(student, ["a", " ", "a"], tmp_path / "out")
