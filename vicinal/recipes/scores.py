"""A cross-encoder into a bi-encoder: what the slow model says of mined candidates, the fast one must say too."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import datasets

from vicinal.errors import InvalidData, TruncationWarning
from vicinal.evaluation.measuring import Task
from vicinal.losses import DistillKLDivLoss, MarginMSELoss
from vicinal.recipes.base import Run
from vicinal.recipes.labels import teacher_scores
from vicinal.recipes.runs import Outcome, Say, Schedule, recipe, said, train
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.similarity import pairwise_cos_sim, pairwise_dot_score
from vicinal.store.files import write_json
from vicinal.training.mining.mine import mine_hard_negatives
from vicinal.training.trainer import SentenceTransformerTrainer

logger = logging.getLogger("vicinal")

ScoreLoss = Literal["margin-mse", "kl"]
SCHEDULE = Schedule(epochs=1, batch_size=16, learning_rate=2e-5, warmup=0.1)


def distil_scores(
    teacher: Any,
    student: SentenceTransformer,
    pairs: Iterable[tuple[str, str]],
    output: str | Path,
    *,
    corpus: Sequence[str] = (),
    loss: ScoreLoss = "margin-mse",
    negatives: int = 4,
    skip: int = 0,
    scale: float | None = None,
    schedule: Schedule = SCHEDULE,
    tasks: Sequence[Task] = (),
    say: Say = logger.info,
) -> Outcome:
    """Teach a bi-encoder the scores of a cross-encoder, over queries, their documents and mined negatives.

    The student finds each query's nearest other documents; the teacher scores them and the query's own; the student is
    trained so that its margins ("margin-mse": Hofstätter et al. 2020, arXiv:2010.02666) or its distribution over the
    candidates ("kl": Lin et al. 2020, arXiv:2010.11386) become the teacher's. A negative that is an answer in truth is
    scored as one, so false negatives do little harm.

    Data: pairs of a query and a document that answers it; without labels, see `queries`. Cost: the corpus is encoded
    once; the teacher scores (1 + negatives) pairs a query, and that is most of it.

    Args:
        teacher: a `CrossEncoder` of one label that ranks better than the student.
        student: what is taught; it is left as it is.
        pairs: (query, document).
        output: folder of the new model; a killed run goes on there.
        corpus: further documents, of which negatives may be.
        loss: "margin-mse" or "kl".
        negatives: of each query.
        skip: so many of a query's nearest documents are no negatives.
        scale: what the student's similarity is multiplied with, to be of the teacher's size; None is 20 for cosine and
            1 for dot products.
        schedule: of the training.
        tasks: what the student is measured on before and after.
        say: is told how it goes.

    Raises:
        InvalidData: a training text is measured on, there are no pairs, or nothing was mined. UnsupportedModel: the
            teacher gives several labels. ValueError: an argument is none of its values.
    """
    check(loss, negatives)
    rows = list(dict.fromkeys(pairs))
    if not rows:
        raise InvalidData("distil_scores() needs pairs of a query and a document, but got none")
    flat = [*(text for row in rows for text in row), *corpus]
    settings = said(
        schedule, student, flat, recipe="scores", teacher=teacher.fingerprint, loss=loss, negatives=negatives,
        skip=skip, scale=scale, pairs=len(rows),
    )  # fmt: skip

    def make(run: Run) -> SentenceTransformer:
        model = copy.deepcopy(student)
        data = taught(teacher, model, rows, corpus, negatives, skip, run.checkpoints, say)
        learn_scores(model, data, loss, scale, schedule, run, say)
        return model

    training: dict[str, Iterable[Iterable[str]]] = {"pairs": rows, "corpus": ([text] for text in corpus)}
    return recipe(Path(output), settings, training, tasks, lambda _: student, make, say)


def check(loss: str, negatives: int) -> None:
    """Raise ValueError where an argument is none of its values."""
    if loss not in ("margin-mse", "kl"):
        raise ValueError(f"loss must be 'margin-mse' or 'kl', not {loss!r}")
    if type(negatives) is not int or negatives < 1:
        raise ValueError(f"negatives must be a positive integer, not {negatives!r}")


def taught(
    teacher: Any, model: SentenceTransformer, pairs: Sequence[tuple[str, str]], corpus: Sequence[str], negatives: int,
    skip: int, folder: Path, say: Say, shown: Mapping[tuple[str, str], str] | None = None,
) -> datasets.Dataset:  # fmt: skip
    """Queries, documents, mined negatives and the teacher's score of each candidate ("label", the document's first).

    Mined negatives are kept in the folder, and so are scores.

    Args:
        shown: of a pair, what stands for its document once negatives are mined.

    Raises:
        InvalidData: no query has so many negatives.
    """
    found = kept(folder / "negatives.json", lambda: mined(model, pairs, corpus, negatives, skip, say))
    if shown is not None:
        found["document"] = [shown[pair] for pair in zip(found["query"], found["document"], strict=True)]
    names = [name for name in found if name != "query"]
    queries, candidates = found["query"], [found[name] for name in names]
    if not queries:
        raise InvalidData(
            f"no query has {negatives} negatives: give more documents (corpus=), or ask for fewer negatives"
        )
    scored = [pair for column in candidates for pair in zip(queries, column, strict=True)]
    scores = teacher_scores(teacher, scored, folder / "scores", say=say)
    labels = scores.reshape(len(candidates), len(queries)).T
    return datasets.Dataset.from_dict({**found, "label": labels.tolist()})


def mined(
    model: SentenceTransformer, pairs: Sequence[tuple[str, str]], corpus: Sequence[str], negatives: int, skip: int,
    say: Say,
) -> dict[str, list[str]]:  # fmt: skip
    """Columns query, document, negative_1, ...: of the queries that have so many negatives."""
    say(f"mining {negatives} negatives for each of {len(pairs):,} pairs")
    columns = {"query": [query for query, _ in pairs], "document": [document for _, document in pairs]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # the student reads no more than that ever
        data = mine_hard_negatives(
            datasets.Dataset.from_dict(columns), model, corpus=list(corpus) or None, num_negatives=negatives,
            range_min=skip, output_format="n-tuple", verbose=False,
        )  # fmt: skip
    return {name: list(data[name]) for name in data.column_names}


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What a JSON file holds; made, and written whole, where it is not there yet."""
    if path.exists():
        return json.loads(path.read_text("utf-8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    found = make()
    write_json(path, found)
    return found


def learn_scores(
    model: SentenceTransformer, data: datasets.Dataset, loss: ScoreLoss, scale: float | None, schedule: Schedule,
    run: Run, say: Say,
) -> None:  # fmt: skip
    """Train on columns of a query and its candidates, and the teacher's scores."""
    cosine = model.similarity_fn_name != "dot"
    factor = (20.0 if cosine else 1.0) if scale is None else scale
    similarity = partial(scaled, pairwise_cos_sim if cosine else pairwise_dot_score, factor)
    kind: Any = MarginMSELoss if loss == "margin-mse" else DistillKLDivLoss
    train(SentenceTransformerTrainer, model, data, kind(model, similarity_fct=similarity), schedule, run, say)


def scaled(function: Callable[[Any, Any], Any], scale: float, a: Any, b: Any) -> Any:
    """A similarity, times a number."""
    return scale * function(a, b)
