"""Augmented SBERT: a cross-encoder labels pairs of sentences, and a bi-encoder learns from them."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import datasets
import numpy as np
from transformers import set_seed

from vicinal.cross_encoder import CrossEncoder
from vicinal.errors import InvalidData, ModelWarning
from vicinal.evaluation.measuring import Task
from vicinal.extras import require
from vicinal.losses import CosineSimilarityLoss
from vicinal.recipes.base import Run
from vicinal.recipes.labels import as_labels, teacher_scores
from vicinal.recipes.runs import Outcome, Say, Schedule, enough, planned, recipe, said, train
from vicinal.recipes.scores import kept
from vicinal.retrieval.lexical import Bm25
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.similarity import pairwise_cos_sim, semantic_search
from vicinal.training.cross_encoder import CrossEncoderTrainer
from vicinal.training.trainer import SentenceTransformerTrainer

logger = logging.getLogger("vicinal")

Sampling = Literal["random", "bm25", "semantic", "bm25+semantic"]
SAMPLINGS = ("random", "bm25", "semantic", "bm25+semantic")
SCHEDULE = Schedule(epochs=1, batch_size=32, learning_rate=2e-5)
TEACHER_SCHEDULE = Schedule(epochs=6, batch_size=16, learning_rate=5e-5)
_LEAST = 25
"""Gold pairs from which on a fifth of them is held out."""


class Scored(NamedTuple):
    """Two texts and how alike they are, from 0 to 1."""

    a: str
    b: str
    score: float


def augment(
    student: SentenceTransformer,
    output: str | Path,
    *,
    gold: Sequence[Scored] = (),
    sentences: Sequence[str] = (),
    teacher: CrossEncoder | None = None,
    teacher_base: str | None = None,
    sampling: Sampling = "bm25+semantic",
    per_sentence: int = 5,
    strata: int = 10,
    silver: int | None = None,
    blend: bool = True,
    schedule: Schedule = SCHEDULE,
    teacher_schedule: Schedule = TEACHER_SCHEDULE,
    tasks: Sequence[Task] = (),
    say: Say = logger.info,
) -> Outcome:
    """Train a bi-encoder on few labelled pairs, and on many more that a cross-encoder labels (Augmented SBERT).

    In the domain: a cross-encoder is trained on the gold pairs, and labels pairs of their sentences (and of
    `sentences`); the bi-encoder learns gold and silver together. The table's "before" is the same bi-encoder trained on
    the gold pairs alone. Across domains: without gold pairs, `teacher` is a cross-encoder from elsewhere, and the
    table's "before" is the bi-encoder as it was.

    Data: 1,000 gold pairs or more, or a cross-encoder; some thousand sentences. Cost: the cross-encoder's training,
    `per_sentence` pairs a sentence to be scored, and an epoch over them. Source: Thakur et al. 2021, arXiv:2010.08240;
    labels of two models together: Hinton et al. 2015, arXiv:1503.02531.

    Args:
        student: the bi-encoder to start from; it is left as it is.
        output: folder of the new model; a killed run goes on there.
        gold: pairs with scores that people gave, from 0 to 1.
        sentences: more sentences of the domain.
        teacher: a cross-encoder of one label; None trains one on the gold pairs. Labels are what its activation makes
            of its scores, or where it has none their sigmoid.
        teacher_base: what that one starts from: a name or folder; None for the student's own network.
        sampling: which pairs are labelled: "random", "bm25" (each sentence and its nearest by words), "semantic"
            (by the student's vectors), or both. Random pairs are nearly all unlike.
        per_sentence: pairs of each sentence.
        strata: so many equal parts has the range of scores, of which each keeps as many silver pairs as the others
            where it has them (the labels of near pairs pile up at one end); 1 keeps all pairs.
        silver: how many silver pairs are kept, at most; None is all, or what the strata leave.
        blend: with gold pairs, a fifth of them is held out; cross-encoder and bi-encoder are trained on the others, and
            the labels are that mean of both's scores which fits the held-out pairs best. A cross-encoder that learnt
            from few pairs is often worse than the bi-encoder, and both together better than either. False labels by
            the cross-encoder alone.
        schedule, teacher_schedule: of bi-encoder and cross-encoder.
        tasks: what the model is measured on.
        say: is told how it goes.

    Raises:
        ValueError: neither gold pairs nor a teacher, or an argument is none of its values.
        InvalidData: a training text is measured on, or there are too few sentences. MissingExtra: "bm25" needs bm25s.
    """
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling must be one of {', '.join(map(repr, SAMPLINGS))}, not {sampling!r}")
    for name, value in (
        ("per_sentence", per_sentence),
        ("strata", strata),
        ("silver", 1 if silver is None else silver),
    ):
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} must be a positive integer, not {value!r}")
    if "bm25" in sampling:
        require("bm25", f"sampling={sampling!r}")  # said now, not when a cross-encoder has been trained
    if not gold and teacher is None:
        raise ValueError("give gold=, scored pairs to train a cross-encoder on, or teacher=, one that was trained")
    gold = list(map(Scored._make, gold))
    if wrong := [row for row in gold if not 0 <= row.score <= 1]:
        raise InvalidData(f"scores must be from 0 to 1, but {wrong[0].a!r} and {wrong[0].b!r} have {wrong[0].score}")
    texts = list(dict.fromkeys([*(text for row in gold for text in row[:2]), *sentences]))
    enough(texts, 3, "augment()")
    flat = [*(f"{row.a}\0{row.b}\0{row.score}" for row in gold), *texts]
    settings = said(
        schedule, student, flat, recipe="augment", teacher=None if teacher is None else teacher.fingerprint,
        teacher_base=teacher_base, sampling=sampling, per_sentence=per_sentence, strata=strata, silver=silver,
        blend=blend, teacher_schedule=planned(teacher_schedule),
    )  # fmt: skip
    seed = schedule.seed

    def make(run: Run) -> SentenceTransformer:
        held, rest = held_out(gold, seed) if blend else ([], gold)
        if blend and gold and not held:
            say(f"{len(gold)} gold pairs are too few to hold out some: the cross-encoder labels alone")
        judge = trained_judge(student, rest, teacher_base, teacher_schedule, run, say) if teacher is None else teacher
        known = {frozenset(row[:2]) for row in gold}
        pairs = kept(
            run.checkpoints / "pairs.json", lambda: sample_pairs(texts, student, sampling, per_sentence, known, seed)
        )
        say(f"labelling {len(pairs):,} pairs ({sampling})")
        raw = teacher_scores(judge, [(a, b) for a, b in pairs], run.checkpoints / "scores", say)
        scores = as_labels(judge, raw, say)
        if held:
            helper = learned(student, rest, longer(schedule, len(rest)), run, "helper", say)
            weight = judge_weight(judge, helper, held)
            say(f"labels: {weight:.2f} of the cross-encoder's score, {1 - weight:.2f} of the bi-encoder's")
            scores = weight * scores + (1 - weight) * cosines(helper, pairs)
        scores = np.clip(scores, 0, 1)
        chosen = by_stratum(scores, strata, silver, seed)
        say(f"silver pairs: {len(chosen):,}; mean score {scores[chosen].mean():.2f}")
        made = [Scored(pairs[i][0], pairs[i][1], float(scores[i])) for i in chosen.tolist()]
        return learned(student, [*gold, *made], schedule, run, "silver", say)

    def before(run: Run) -> SentenceTransformer:
        return learned(student, gold, longer(schedule, len(gold)), run, "gold", say) if gold else student

    training = {"gold": (row[:2] for row in gold), "sentences": ([text] for text in sentences)}
    return recipe(Path(output), settings, training, tasks, before, make, say)


def longer(schedule: Schedule, rows: int, least: int = 100) -> Schedule:
    """At least so many steps, which one epoch over few gold pairs does not have: up to 4 epochs, or those planned."""
    steps = max(1, -(-rows // schedule.batch_size))
    return replace(schedule, epochs=max(schedule.epochs, min(4.0, least / steps)))


def learned(
    student: SentenceTransformer, rows: Sequence[Scored], schedule: Schedule, run: Run, part: str, say: Say
) -> SentenceTransformer:
    """A copy of the student, trained so that cosine is the score."""
    made = copy.deepcopy(student)
    loss = CosineSimilarityLoss(made)
    train(SentenceTransformerTrainer, made, _data(rows), loss, schedule, run, say, part)
    return made


def held_out(gold: Sequence[Scored], seed: int) -> tuple[list[Scored], list[Scored]]:
    """A fifth of the pairs, drawn at random since files have orders of their own, and the rest; none of too few."""
    if len(gold) < _LEAST:
        return [], list(gold)
    order = np.random.default_rng(seed).permutation(len(gold)).tolist()
    fifth = len(gold) // 5
    return [gold[i] for i in order[:fifth]], [gold[i] for i in sorted(order[fifth:])]


def cosines(model: SentenceTransformer, pairs: Sequence[Sequence[str]]) -> Any:
    """Of each pair, (n,)."""
    vectors = model.encode([text for pair in pairs for text in pair], truncation="ignore")  # equal texts once
    return pairwise_cos_sim(vectors[::2], vectors[1::2])


def judge_weight(judge: CrossEncoder, helper: SentenceTransformer, held: Sequence[Scored]) -> float:
    """How much of a mean of both's scores is the judge's, so that it fits held-out pairs best (least squares)."""
    pairs = [(row.a, row.b) for row in held]
    other = cosines(helper, pairs)
    apart = as_labels(judge, judge.predict(pairs, truncation="ignore", activation_fn="Identity")) - other
    wanted = np.array([row.score for row in held]) - other
    return float(np.clip(apart @ wanted / max(apart @ apart, 1e-12), 0, 1))


def trained_judge(
    student: SentenceTransformer, gold: Sequence[Scored], base: str | None, schedule: Schedule, run: Run, say: Say
) -> CrossEncoder:
    """A cross-encoder that was trained on the gold pairs; one that a killed run had made already is read."""
    folder = run.checkpoints / "teacher"
    if (folder / "done").exists():
        return CrossEncoder(str(folder))
    if base is None:
        student.save(run.checkpoints / "network")
        base = str(run.checkpoints / "network")
    set_seed(schedule.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)  # the head is new, and is about to be trained
        judge = CrossEncoder(base, num_labels=1)
    say(f"training a cross-encoder on {len(gold):,} gold pairs")
    train(CrossEncoderTrainer, judge, _data(gold), None, schedule, run, say, "teacher")
    judge.save(folder)
    (folder / "done").touch()
    return judge


def _data(rows: Sequence[Scored]) -> datasets.Dataset:
    a, b, scores = zip(*rows, strict=True)
    return datasets.Dataset.from_dict({"sentence1": list(a), "sentence2": list(b), "score": list(map(float, scores))})


# ---- which pairs ---------------------------------------------------------------------------------------------------


def sample_pairs(
    texts: Sequence[str],
    model: SentenceTransformer | None,
    sampling: Sampling,
    per_sentence: int,
    known: set[frozenset[str]] | frozenset[frozenset[str]] = frozenset(),
    seed: int = 0,
) -> list[tuple[str, str]]:
    """Pairs of different texts, each once in either order.

    Args:
        texts: different ones.
        model: for "semantic".
        sampling: "random", "bm25", "semantic" or "bm25+semantic".
        per_sentence: other texts of each text.
        known: pairs that are not wanted.
        seed: of "random".
    """
    if sampling == "random":
        drawn = np.random.default_rng(seed).integers(0, len(texts), (len(texts), per_sentence))
        ways = [drawn.tolist()]
    else:
        ways = _nearest(texts, model, sampling, per_sentence + 1)  # itself is the nearest
    seen = set(known)
    pairs = []
    for i, others in enumerate(zip(*ways, strict=True)):
        for j in (place for way in others for place in way):
            both = frozenset((texts[i], texts[j]))
            if i != j and both not in seen:
                seen.add(both)
                pairs.append((texts[i], texts[j]))
    return pairs


def _nearest(texts: Sequence[str], model: Any, sampling: Sampling, k: int) -> list[list[list[int]]]:
    """By each way of the sampling, the texts nearest to each."""
    ways = []
    if "bm25" in sampling:
        words = Bm25(texts)
        ways.append([[place for place, _ in words.best(text, k)] for text in texts])
    if "semantic" in sampling:
        if model is None:
            raise ValueError('sampling="semantic" needs a model')
        vectors = model.encode(list(texts), normalize_embeddings=True, truncation="ignore")
        ways.append([[hit["corpus_id"] for hit in hits] for hits in semantic_search(vectors, vectors, top_k=k)])
    return ways


def by_stratum(scores: Any, strata: int, most: int | None, seed: int = 0) -> Any:
    """Places of scores such that each part of their range has as many as the others, where it has them; rising.

    Args:
        scores: (n,) from 0 to 1.
        strata: equal parts of that range; 1 keeps `most` at random.
        most: how many are kept; None is half of them, or all where `strata` is 1.

    >>> import numpy as np
    >>> by_stratum(np.array([0.0, 0.01, 0.02, 0.03, 0.95]), 2, 2).tolist()[-1]
    4
    """
    if strata < 1:
        raise ValueError(f"strata must be 1 or more, not {strata}")
    scores = np.asarray(scores)
    if most is None:
        most = len(scores) if strata == 1 else len(scores) // 2
    order = np.random.default_rng(seed).permutation(len(scores))
    part = np.minimum((scores * strata).astype(int), strata - 1)
    members = [order[part[order] == i] for i in range(strata)]
    share = _share([len(rows) for rows in members], most)
    return np.sort(np.concatenate([rows[:share] for rows in members]))


def _share(counts: Sequence[int], most: int) -> int:
    """The largest number such that parts of these sizes, none taken beyond it, give no more than `most` together."""
    left = most
    for i, count in enumerate(sorted(counts)):
        if count * (len(counts) - i) >= left:
            return left // (len(counts) - i)
        left -= count
    return max(counts, default=0)
