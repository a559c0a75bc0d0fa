"""A reranker trained end to end: what it learns, what it leaves behind, what it refuses, and a run that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import tiny
from vicinal import CrossEncoder, Pipeline, Retriever, SentenceTransformer
from vicinal.errors import FolderBusy, InvalidData
from vicinal.evaluation.files import RetrievalSet, read_beir
from vicinal.recipes import reranker
from vicinal.recipes.base import last_checkpoint
from vicinal.recipes.judging import best_weight, compare, judge
from vicinal.recipes.reranker import Settings, check_unseen, read_pairs, train_reranker
from vicinal.store.files import locked

WORDS = [word for word in tiny.VOCABULARY if word.isalpha()]
SMALL: dict[str, Any] = {
    "negatives": 2, "depth": 8, "relative_margin": None, "batch_size": 8, "learning_rate": 3e-3, "save_steps": 4,
}  # fmt: skip


def texts(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(2, 7))) for _ in range(count)]


PAIRS = list(zip(texts(24, 0), texts(24, 1), strict=True))


def retrieval_set(queries: list[str], documents: list[str]) -> RetrievalSet:
    """Query i is answered by document i, and half by the one after it."""
    relevant = {f"q{i}": {f"d{i}": 2.0, f"d{(i + 1) % len(documents)}": 1.0} for i in range(len(queries))}
    return RetrievalSet(
        "set/test",
        {f"q{i}": text for i, text in enumerate(queries)},
        {f"d{i}": text for i, text in enumerate(documents)},
        relevant,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # so that little data teaches something
    return tiny.write_bert(tmp_path_factory.mktemp("encoder"), config=still)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(folder, dtype="float32")


def test_it_learns_what_it_is_taught(tmp_path: Path, encoder: SentenceTransformer) -> None:
    before = encoder.fingerprint
    told = [(query, f"apple {passage}") for query, passage in PAIRS]
    others = [text.replace("apple", "law") for text in texts(60, 3)]
    options = {**SMALL, "depth": 60, "epochs": 24, "corpus": others, "candidates": 10}
    test = retrieval_set(texts(6, 5), texts(12, 6))
    model, (found,) = train_reranker(encoder, told, tmp_path / "run", test=[test], **options)
    assert encoder.fingerprint == before
    assert model.backend == "openvino"
    unseen = texts(30, 11)
    right, wrong = (model.predict([(query, f"{word} red") for query in unseen]) for word in ("apple", "law"))
    assert right.mean() > wrong.mean() + 0.2
    assert found.name == "set/test"
    assert found.before.shape == found.after.shape == (6,)
    assert found.difference.value == pytest.approx(found.after.mean() - found.before.mean())
    assert 0 < found.difference.p <= 1
    assert str(found).startswith("set/test: nDCG@10 of 6 queries, the best 10 reranked alone\n  encoder alone  0.")

    card = (tmp_path / "run/model/README.md").read_text()
    assert "BinaryCrossEntropyLoss" in card
    assert "base_ndcg@10" in card
    assert str(tmp_path) not in card
    again, (same,) = train_reranker(encoder, iter(told), tmp_path / "run", test=[test], **options)
    assert again.fingerprint == model.fingerprint == CrossEncoder(tmp_path / "run/model").fingerprint
    np.testing.assert_allclose(same.after, found.after)


def test_a_comparison_is_what_plain_loops_say(encoder: SentenceTransformer, tmp_path: Path) -> None:
    from tests.cross_encoder.conftest import write_classifier

    scorer = CrossEncoder(write_classifier(tmp_path / "scorer"), dtype="float32")
    test = retrieval_set(texts(5, 5), texts(15, 6))
    found = compare(encoder, scorer, test, candidates=11)
    documents = list(test.corpus.values())
    vectors = encoder.encode(documents)
    for i, query in enumerate(test.queries.values()):
        order = sorted(range(15), key=lambda d: -float(encoder.similarity(encoder.encode(query), vectors)[0, d]))
        best = order[:11]
        again = sorted(best, key=lambda d: -float(scorer.predict((query, documents[d]))))
        for ranking, value in ((order[:10], found.before[i]), (again[:10], found.after[i])):
            gains = [test.relevant[f"q{i}"].get(f"d{d}", 0) for d in ranking]
            dcg = sum(gain / np.log2(rank + 2) for rank, gain in enumerate(gains))
            assert value == pytest.approx(dcg / (2 + 1 / np.log2(3)), abs=1e-6)


def test_a_weight_is_chosen_by_other_queries(encoder: SentenceTransformer, tmp_path: Path) -> None:
    from tests.cross_encoder.conftest import write_classifier

    scorer = CrossEncoder(write_classifier(tmp_path / "scorer"), dtype="float32")
    test = retrieval_set(texts(8, 5), texts(30, 6))
    judged = judge(encoder, scorer, test, candidates=12)
    chosen = best_weight([judged])
    assert judged.ndcg(chosen).mean() == max(judged.ndcg(weight / 20).mean() for weight in range(21))
    assert best_weight([judged], [0.3, 0.3]) == 0.3
    np.testing.assert_allclose(judged.ndcg(1), judged.ndcg(None))  # alone
    pipeline = Pipeline(Retriever(encoder, list(test.corpus.values())), scorer, 12, 10, weight=0.4)
    for i, query in enumerate(test.queries.values()):
        gains = [test.relevant[f"q{i}"].get(f"d{hit.id}", 0) for hit in pipeline(query)]
        dcg = sum(gain / np.log2(rank + 2) for rank, gain in enumerate(gains))
        assert judged.ndcg(0.4)[i] == pytest.approx(dcg / (2 + 1 / np.log2(3)), abs=1e-6)
    with pytest.raises(ValueError, match="a weight is chosen among some, by at least one set"):
        best_weight([])
    few = retrieval_set(texts(3, 5), texts(12, 6))
    with pytest.raises(InvalidData, match="3 of 3 queries of set/test stand in weigh too"):
        train_reranker(encoder, PAIRS, tmp_path / "run", test=[few], weigh=[test])


def test_queries_of_the_test_set_are_refused(tmp_path: Path, encoder: SentenceTransformer) -> None:
    test = retrieval_set(["tax  LAW", *texts(3, 5)], texts(8, 6))
    with pytest.raises(InvalidData, match=r"1 of 4 queries of set/test stand in the training pairs too.*'tax  LAW'"):
        train_reranker(encoder, [*PAIRS, ("Tax law ", "red")], tmp_path / "run", test=[test])
    assert not (tmp_path / "run").exists()
    check_unseen([("tax law red", "red")], test)


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ([], "there are no pairs to train on"),
        ([("a", "b"), ("a", None)], "pair 1 must be two texts, a query and a passage, not .'a', None."),
        ([("a", " ")], "pair 0 must be two texts"),
        ([("red", "law")] * 3, "no negative is found among 3 pairs: give more passages as corpus"),
    ],
)
def test_pairs_that_teach_nothing(pairs: Any, text: str, tmp_path: Path, encoder: SentenceTransformer) -> None:
    with pytest.raises(InvalidData, match=text):
        train_reranker(encoder, pairs, tmp_path / "run", **SMALL)


def test_settings_are_looked_at_first(tmp_path: Path, encoder: SentenceTransformer) -> None:
    with pytest.raises(ValueError, match="negatives must be a positive integer, not 0"):
        Settings(negatives=0)
    with pytest.raises(ValueError, match="depth=3 is too few to draw 4 negatives from"):
        Settings(depth=3)
    with pytest.raises(ValueError, match="candidates must be at least the 10 that nDCG@10 looks at, not 9"):
        train_reranker(encoder, PAIRS, tmp_path / "run", candidates=9)
    with pytest.raises(ValueError, match=r"epochs must be above 0, not nan"):
        Settings(epochs=float("nan"))
    with pytest.raises(ValueError, match="seed must be an integer from 0"):
        Settings(seed=-1)


def test_a_model_of_somebody_elses_is_no_result(tmp_path: Path, encoder: SentenceTransformer) -> None:
    encoder.save(tmp_path / "run" / "model")
    with pytest.raises(InvalidData, match="holds something else: name another folder"):
        train_reranker(encoder, PAIRS, tmp_path / "run", **SMALL)
    (tmp_path / "busy").mkdir()
    with locked(tmp_path / "busy"), pytest.raises(FolderBusy):
        train_reranker(encoder, PAIRS, tmp_path / "busy", **SMALL)


_KILLED = """
import os, signal, sys
import torch
from tests.recipes.test_reranker import PAIRS, SMALL
from vicinal import SentenceTransformer
from vicinal.recipes import reranker

torch.set_num_threads(1)

class Dying(reranker.CrossEncoderTrainer):
    def training_step(self, *args, **options):
        if self.state.global_step == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(*args, **options)

reranker.CrossEncoderTrainer = Dying
reranker.train_reranker(SentenceTransformer(sys.argv[1], dtype="float32"), PAIRS, sys.argv[2], **SMALL)
"""


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    encoder = SentenceTransformer(tiny.write_bert(tmp_path / "encoder"), dtype="float32")  # with dropout
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "encoder"), str(tmp_path / "killed")]
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    checkpoints = tmp_path / "killed/checkpoints"
    assert last_checkpoint(checkpoints) == checkpoints / "checkpoint-4"
    (half := checkpoints / "checkpoint-999").mkdir()
    (half / "trainer_state.json").write_text('{"global_step": 99')  # as a kill while it was written leaves it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for run in ("killed", "whole"):
        train_reranker(encoder, PAIRS, tmp_path / run, **SMALL)
    torch.set_num_threads(threads)
    whole, killed = ((tmp_path / run / "model/model.safetensors").read_bytes() for run in ("whole", "killed"))
    assert whole == killed
    with pytest.raises(InvalidData, match="holds a run with another learning_rate: give the same to go on with it"):
        train_reranker(encoder, PAIRS, tmp_path / "killed", **{**SMALL, "learning_rate": 1e-4})
    with pytest.raises(InvalidData, match="holds a run with another pairs, texts"):
        train_reranker(encoder, PAIRS[1:], tmp_path / "killed", **SMALL)


def write_beir(folder: Path, splits: dict[str, list[tuple[str, str, int]]]) -> Path:
    queries, documents = texts(8, 7), texts(20, 8)
    for name, rows in (("queries", queries), ("corpus", documents)):
        folder.mkdir(exist_ok=True)
        lines = [json.dumps({"_id": f"{name[0]}{i}", "text": text}) for i, text in enumerate(rows)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    (folder / "qrels").mkdir()
    for split, rows in splits.items():
        body = "".join(f"{q}\t{d}\t{grade}\n" for q, d, grade in rows)
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{body}")
    return folder


def test_as_a_program(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = [("q0", "c0", 1), ("q1", "c1", 2), ("q1", "c2", 0), ("q2", "c3", 1)]
    at = write_beir(
        tmp_path / "set", {"train": train, "test": [("q6", "c9", 1), ("q7", "c8", 1)], "dev": [("q5", "c7", 1)]}
    )
    pairs, corpus = read_pairs(str(at))
    assert len(pairs) == 3  # a grade of 0 is no answer
    assert len(corpus) == 20
    (table := tmp_path / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS))
    (more := tmp_path / "more.txt").write_text("\n".join(texts(5, 9)))
    arguments = [str(table), str(at), "--corpus", str(more), "--output", str(tmp_path / "run"), "--encoder",
                 str(folder), "--test", f"{at}:test", "--weigh", f"{at}:dev", "--candidates", "10", "--negatives", "1",
                 "--depth", "40", "--max-length", "16"]  # fmt: skip
    reranker.main(arguments)
    printed = capsys.readouterr().out
    assert "set/test: nDCG@10 of 2 queries, the best 10 reranked alone\n" in printed
    assert "set/test: nDCG@10 of 2 queries, the best 10 reranked with a weight of 0." in printed
    assert "set/test, beside the encoder" in (tmp_path / "run/model/README.md").read_text()
    assert CrossEncoder(tmp_path / "run/model").max_length == 16
    assert json.loads((tmp_path / "run/run.json").read_text())["pairs"] == 27
    assert read_beir(at, "test").queries.keys() == {"q6", "q7"}
